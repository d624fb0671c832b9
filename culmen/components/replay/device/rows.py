"""Rows in device memory: rings of a static size, and windows gathered from them.

As in the in-process table, small leaves of a row share one record of words (`stream/batch.py` makes a Sample
from a batch of records), and large ones have a ring of their own. Stacks of frames are stored whole.
Nothing here depends on items.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.replay.device import masking
from culmen.components.replay.device.masking import Active
from culmen.components.replay.stream.batch import WORD
from culmen.components.replay.stream.batch import BatchLayout
from culmen.components.replay.stream.batch import Field
from culmen.components.replay.stream.batch import is_small
from culmen.components.replay.stream.batch import record_type
from culmen.components.replay.stream.row_spec import Half
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.windows import kept_paths
from culmen.core.experience import Window
from culmen.core.types import Nest
from culmen.core.types import Sample
from culmen.core.types import TimeStep


class RowLeaves:
    """The leaves of a row of all lanes that a table stores; checks what is written to them."""

    def __init__(
        self,
        row_spec: RowSpec,
        num_lanes: int,
        window: Window,
        version_shape: tuple[int, ...] = (),
        rule: int = 0,
    ) -> None:
        """Plans what is stored.

        Args:
            row_spec: of the stream.
            num_lanes: B.
            window: its `fields` are stored.
            version_shape: of a version, as of `culmen.core.experience.version_shape`.
            rule: the place of the rule that draws, whose updates a sample's version counts.
        Raises: ValueError that names an unknown path in `Window.fields`.
        """
        stored = set(kept_paths(window, list(row_spec.leaves)))
        self.num_lanes = num_lanes
        self.version_shape, self.rule = version_shape, rule
        self.row_spec = row_spec
        self._timestep_half = row_spec.timestep
        self._decision_half = row_spec.decision
        # Stacks of frames are treated as ordinary arrays here.
        self.timestep, self.decision = (
            [leaf._replace(num_frames=1) for leaf in half.leaves if leaf.path in stored]
            for half in (self._timestep_half, self._decision_half)
        )
        self.all = {leaf.path: leaf for leaf in self.timestep + self.decision}

    def of_timestep(self, timestep: TimeStep) -> dict[str, jax.Array]:
        """[B, ...] by path, with step_type. Raises: ValueError that names a leaf that does not fit."""
        nests = (timestep.reward, timestep.discount, timestep.observation)
        self._timestep_half.check(nests, self.num_lanes)
        return {
            'step_type': jnp.asarray(timestep.step_type, jnp.int32),
            **self._stored(self._timestep_half, nests),
        }

    def of_decision(self, action: Nest, extras: Nest, version: Any) -> dict[str, jax.Array]:
        """[B, ...] by path, with version. Raises: ValueError that names a leaf that does not fit."""
        self._decision_half.check((action, extras), self.num_lanes)
        return {
            'version': jnp.full((self.num_lanes, *self.version_shape), version, jnp.int32),
            **self._stored(self._decision_half, (action, extras)),
        }

    def _stored(self, half: Half, nests: tuple[Nest, ...]) -> dict[str, jax.Array]:
        values = jax.tree_util.tree_leaves(nests)
        return {
            leaf.path: jnp.asarray(value, leaf.dtype)
            for leaf, value in zip(half.leaves, values)
            if leaf.path in self.all
        }


class Record:
    """The small leaves of a row, joined to words: those of the time step, then those of the decision."""

    def __init__(self, leaves: RowLeaves) -> None:
        """Args: leaves: of a row."""
        word = np.dtype(np.int32)
        small: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {'step_type': (word, ())}
        small |= {leaf.path: (leaf.dtype, leaf.shape) for leaf in leaves.timestep if is_small(leaf)}
        num_timestep = len(small)
        small |= {'version': (word, leaves.version_shape)}
        small |= {leaf.path: (leaf.dtype, leaf.shape) for leaf in leaves.decision if is_small(leaf)}
        record, self.fields = record_type(small)
        self.num_words = record.itemsize // WORD
        self.of_timestep = list(self.fields)[:num_timestep]
        self.of_decision = list(self.fields)[num_timestep:]

    def words(
        self, values: Mapping[str, jax.Array], paths: Sequence[str] | None = None
    ) -> jax.Array:
        """int32[B, words] of leaves [B, ...] by path. Args: paths: of adjacent fields; None: all."""
        paths = list(self.fields) if paths is None else paths
        return jnp.concatenate([_to_words(values[p], self.fields[p]) for p in paths], axis=1)


class RingState(NamedTuple):
    """Rings of rows; the slots are written in a cycle."""

    words: jax.Array  # int32[num_ticks, B, words of a record]
    large: dict[str, jax.Array]  # [num_ticks, B, ...] by path
    slot: jax.Array  # int32[]: of the newest tick
    active: Active = None  # as in `masking`


class Ring:
    """Rings for the rows of a fixed number of ticks. A row's number is `slot * B + lane`."""

    def __init__(self, leaves: RowLeaves, num_ticks: int) -> None:
        """Raises: ValueError if the rows can't be counted in 32 bits."""
        self._leaves = leaves
        self.num_ticks = num_ticks
        self.num_rows = num_ticks * leaves.num_lanes
        if self.num_rows >= 2**31:
            raise ValueError(
                f'a table on the device must have fewer than 2^31 rows, got {self.num_rows}: '
                f'lower capacity, or use the local launcher.'
            )
        self._record = Record(leaves)
        self.fields = self._record.fields
        self.stride = leaves.num_lanes

    def init(self) -> RingState:
        """The empty rings; the first tick opens slot 0."""
        shape = (self.num_ticks, self._leaves.num_lanes)
        return RingState(
            jnp.zeros((*shape, self._record.num_words), jnp.int32),
            {
                leaf.path: jnp.zeros((*shape, *leaf.shape), leaf.dtype)
                for leaf in self._leaves.all.values()
                if not is_small(leaf)
            },
            jnp.int32(self.num_ticks - 1),
        )

    def lane_of(self, state: RingState, rows: jax.Array) -> jax.Array:
        """int32[N]: the lanes of rows."""
        del state
        return rows % self._leaves.num_lanes

    def open(self, state: RingState, timestep: TimeStep) -> RingState:
        """Opens the row of every lane, over the oldest tick."""
        state = state._replace(slot=(state.slot + masking.count(state.active, 1)) % self.num_ticks)
        return self._write(state, self._leaves.of_timestep(timestep), self._record.of_timestep)

    def close(self, state: RingState, action: Nest, extras: Nest, version: Any) -> RingState:
        """Closes the rows."""
        values = self._leaves.of_decision(action, extras, version)
        return self._write(state, values, self._record.of_decision)

    def _write(self, state: RingState, values: dict[str, jax.Array], small: list[str]) -> RingState:
        words = self._record.words(values, small)[None]
        begin = (state.slot, 0, self.fields[small[0]].begin)
        if state.active is not None:
            old = jax.lax.dynamic_slice(state.words, begin, words.shape)
            words = jnp.where(state.active, words, old)
        large = {
            path: masking.write(state.active, state.large[path], value, state.slot)
            for path, value in values.items()
            if path not in self.fields
        }
        return state._replace(
            words=jax.lax.dynamic_update_slice(state.words, words, begin),
            large={**state.large, **large},
        )


class RowLayout(Protocol):
    """Where the rows of windows are. The state of rows has `words` and `large`, with two axes in front."""

    fields: dict[str, Field]  # of the record
    num_rows: int
    stride: int  # from a row of a window to the next

    def lane_of(self, state: Any, rows: jax.Array) -> jax.Array:
        """int32[N]: the lanes of rows."""
        ...


class RowGather:
    """Windows of one kind, gathered from rows."""

    def __init__(
        self, layout: RowLayout, leaves: RowLeaves, window: Window, with_lengths: bool
    ) -> None:
        """Args: with_lengths: whether windows may be short or padding."""
        self._rows = layout
        self._length = window.length
        self._with_lengths = with_lengths
        self._layout = BatchLayout(
            leaves.row_spec,
            layout.fields,
            window,
            with_lengths=with_lengths,
            with_probability=True,
            rule=leaves.rule,
        )
        self._large = [(plan.path, plan.times) for plan in self._layout.large]

    def __call__(
        self,
        state: Any,
        rows: jax.Array,
        lengths: jax.Array | None,
        probability: jax.Array,
        size: jax.Array,
    ) -> Sample:
        """Gathers windows.

        Args:
            rows: int32[N], the numbers of their first rows.
            lengths: int32[N], in transitions; None: all are whole.
            probability: float32[N].
            size: int32[], items in the table.
        """
        steps = jnp.arange(self._length + 1, dtype=jnp.int32)[None]
        if lengths is None:
            lengths = jnp.full(rows.shape, self._length, jnp.int32)
        # Beyond its end a short window repeats its last row.
        at = rows[:, None] + jnp.minimum(steps, lengths[:, None]) * self._rows.stride
        at = jnp.where(at >= self._rows.num_rows, at - self._rows.num_rows, at)
        take = lambda ring, at: ring.reshape(-1, *ring.shape[2:]).at[at].get(mode='clip')
        arrays = [take(state.words, at), size]
        arrays += [lengths] if self._with_lengths else []
        arrays.append(probability)
        for path, times in self._large:
            arrays.append(take(state.large[path], at if times is None else at[:, times]))
        sample: Sample = self._layout.unpack(arrays, lane=self._rows.lane_of(state, rows))
        mask = jnp.broadcast_to(sample.steps.mask, (len(rows), self._length))
        return sample._replace(steps=sample.steps._replace(mask=mask))


def _to_words(leaf: jax.Array, field: Field) -> jax.Array:
    """A leaf [B, ...] as int32[B, words], with the same bits for any dtype."""
    leaf = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
    flat = leaf.reshape(len(leaf), -1)
    share = WORD // flat.dtype.itemsize
    if share == 1:
        return jax.lax.bitcast_convert_type(flat, jnp.int32)
    missing = field.num_words * share - flat.shape[1]
    flat = jnp.pad(flat, ((0, 0), (0, missing))).reshape(len(leaf), -1, share)
    return jax.lax.bitcast_convert_type(flat, jnp.int32)
