"""A Queue of adjacent unrolls, for on-policy agents: all lanes complete their windows at the same tick.

A batch needs no search: it is the rows since the last batch, and the time step that ended them.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.replay.device import masking
from culmen.components.replay.device.masking import Active
from culmen.components.replay.device.rows import RowLeaves
from culmen.components.replay.stream.batch import plan_leaves
from culmen.components.replay.stream.priorities import none_taken
from culmen.core.experience import Queue
from culmen.core.types import LAST
from culmen.core.types import Nest
from culmen.core.types import Sample
from culmen.core.types import Steps
from culmen.core.types import TimeStep


class UnrollRows(NamedTuple):
    """The rows since the last batch."""

    leaves: dict[str, jax.Array]  # [ticks of a batch, B, ...] by path, of closed rows
    newest: dict[str, jax.Array]  # [B, ...] by path: the time step of the open row
    active: Active = None  # as in `masking`


class UnrollItems(NamedTuple):
    """How much of the batch is written."""

    closed: jax.Array  # int32[]: ticks with closed rows
    is_open: jax.Array  # bool[]: whether the row after them is open
    active: Active = None  # as in `masking`


class Unrolls:
    """A Queue with `cross_episodes`, `period == length`, and batches of whole rounds of the lanes."""

    complaint = ''
    one_update_a_tick = True
    most_updates = 1

    @staticmethod
    def fit(queue: Queue, num_lanes: int) -> bool:
        """Whether this Queue's windows are adjacent unrolls that lanes complete together."""
        window = queue.window
        side_by_side = window.cross_episodes and window.period == window.length
        return side_by_side and (queue.batch_size or num_lanes) % num_lanes == 0

    def __init__(self, where: str, queue: Queue, leaves: RowLeaves) -> None:
        """Args: where: name of the table in errors. leaves: of a row."""
        self._where, self._queue = where, queue
        self._leaves = leaves
        self._num_lanes = leaves.num_lanes
        self._length = queue.window.length
        self._rounds = (queue.batch_size or self._num_lanes) // self._num_lanes
        self._num_ticks = self._rounds * self._length
        plans = plan_leaves(list(leaves.row_spec.leaves), {}, queue.window)
        self._times = {plan.path: plan.times for plan in plans}

    def init(self) -> tuple[UnrollRows, UnrollItems]:
        def zeros(*shape: int) -> dict[str, jax.Array]:
            arrays = {
                leaf.path: jnp.zeros((*shape, *leaf.shape), leaf.dtype)
                for leaf in self._leaves.all.values()
            }
            step_type = jnp.zeros(shape, jnp.int32)
            version = jnp.zeros((*shape, *self._leaves.version_shape), jnp.int32)
            return {'step_type': step_type, 'version': version} | arrays

        newest = zeros(self._num_lanes)
        timestep = {'step_type', *(leaf.path for leaf in self._leaves.timestep)}
        newest = {path: leaf for path, leaf in newest.items() if path in timestep}
        rows = UnrollRows(zeros(self._num_ticks, self._num_lanes), newest)
        return rows, UnrollItems(jnp.int32(0), jnp.bool_(False))

    def observe(
        self, rows: UnrollRows, items: UnrollItems, timestep: TimeStep
    ) -> tuple[UnrollRows, UnrollItems]:
        newest = masking.select(rows.active, self._leaves.of_timestep(timestep), rows.newest)
        is_open = masking.select(items.active, jnp.bool_(True), items.is_open)
        return rows._replace(newest=newest), items._replace(is_open=is_open)

    def act(
        self,
        rows: UnrollRows,
        items: UnrollItems,
        action: Nest,
        extras: Nest,
        version: Any,
    ) -> tuple[UnrollRows, UnrollItems]:
        row = {**rows.newest, **self._leaves.of_decision(action, extras, version)}
        leaves = {
            path: masking.write(rows.active, rows.leaves[path], row[path], items.closed)
            for path in row
        }
        is_open = masking.select(items.active, jnp.bool_(False), items.is_open)
        closed = items.closed + masking.count(items.active, 1)
        return rows._replace(leaves=leaves), items._replace(closed=closed, is_open=is_open)

    def due(self, items: UnrollItems) -> jax.Array:
        return items.is_open & (items.closed == self._num_ticks)

    def draw(
        self, rows: UnrollRows, items: UnrollItems, key: jax.Array
    ) -> tuple[UnrollItems, Any, Sample]:
        del key
        leaves = {path: self._window(rows, path) for path in self._leaves.all}
        reward, discount, observation, action, extras = self._leaves.row_spec.unflatten(leaves)
        step_type = self._batch(rows, 'step_type', self._length + 1)
        mask = step_type[:, :-1] != LAST
        num = self._rounds * self._num_lanes
        version = self._batch(rows, 'version', 1)[:, 0]
        sample = Sample(
            Steps(step_type, reward, discount, observation, action, extras, mask),
            jnp.ones(num, jnp.float32),
            jnp.int32(num),
            version[:, self._leaves.rule] if self._leaves.version_shape else version,
            jnp.tile(jnp.arange(self._num_lanes, dtype=jnp.int32), self._rounds),
        )
        closed = masking.select(items.active, jnp.int32(0), items.closed)
        return items._replace(closed=closed), (), sample

    def _window(self, rows: UnrollRows, path: str) -> jax.Array:
        times = self._times[path]
        leaf = self._batch(rows, path, self._length + (path in rows.newest))
        return leaf if times is None else leaf[:, times]

    def _batch(self, rows: UnrollRows, path: str, length: int) -> jax.Array:
        """The windows of a leaf, batch-major: [rounds * B, length, ...]."""
        leaf = rows.leaves[path]
        if path in rows.newest:
            leaf = jnp.concatenate([leaf, rows.newest[path][None]])
        begins = range(0, self._num_ticks, self._length)
        rounds = [jnp.swapaxes(leaf[begin : begin + length], 0, 1) for begin in begins]
        return rounds[0] if len(rounds) == 1 else jnp.concatenate(rounds)

    def update_priorities(self, items: UnrollItems, keys: Any, raw: Any) -> UnrollItems:
        raise ValueError(none_taken(self._where, self._queue))

    def fault(self, items: UnrollItems) -> jax.Array:
        return jnp.bool_(False)
