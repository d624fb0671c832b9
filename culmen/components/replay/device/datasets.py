"""Recorded windows on the device: the Datasets of a compiled loop.

The rows are arrays that no tick changes, so they are an input of the compiled call, beside the state of the
run. Uniform draws are those of a host's reader: it gives the numbers of the next windows to the device before
each call. Draws by priority have the device's own random numbers, from the key of the draw.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.device import masking
from culmen.components.replay.device import sum_tree
from culmen.components.replay.device.masking import Active
from culmen.components.replay.recording.recorded import Draws
from culmen.components.replay.recording.recorded import Recorded
from culmen.components.replay.stream.batch import BatchLayout
from culmen.components.replay.stream.priorities import largest_allowed
from culmen.components.replay.stream.priorities import none_taken
from culmen.components.replay.stream.priorities import out_of_range
from culmen.core.experience import Dataset
from culmen.core.types import Sample

_NUMBERS = 2**19  # numbers of windows that are given at once, about
_LEAST_DRAWS = 64
_UNLIMITED = 2**31 - 1
_TICKS = 4  # for which the given draws suffice in any case


class DatasetRows(NamedTuple):
    """All rows of a Dataset, and its windows."""

    words: jax.Array  # int32[rows, words of a record]
    large: dict[str, jax.Array]  # [rows, ...] by path
    starts: jax.Array  # int32[N]: the first row of each window
    lengths: jax.Array  # int32[N], in transitions; int32[0] if all are whole


class DatasetItems(NamedTuple):
    """What updates change of a Dataset."""

    levels: sum_tree.Levels  # of weights; () for draws without priorities
    bad: jax.Array  # bool[]: whether a priority was out of range
    active: Active = None  # as in `masking`


class Feed(NamedTuple):
    """The windows of a Dataset's next draws, as a host's reader draws them."""

    numbers: jax.Array | NDArray[Any]  # int32[draws, B]
    first: jax.Array | NDArray[Any]  # uint32[]: draws before the first of these, modulo 2^32

    def at(self, draws: jax.Array) -> jax.Array:
        """int32[B]: the windows of a draw. Args: draws: uint32[], the draws before it, modulo 2^32."""
        return self.numbers[(draws - self.first).astype(jnp.int32)]


class DatasetTable:
    """A Dataset of a compiled loop, as pure functions. It is always due."""

    def __init__(
        self, where: str, dataset: Dataset, recorded: Recorded, most_updates: int = 1
    ) -> None:
        """Plans the draws.

        Args:
            where: names the table in errors.
            dataset: of the experience; may hold traced numbers.
            recorded: its rows, read without single frames.
            most_updates: that a tick may make from it; 0: it gives updates before the first action only.
        Raises: ValueError if the rows were read from another source or by another map; that is, if one of
            them depends on a number that is traced.
        """
        read = recorded.dataset
        if not (_is_same(dataset.source, read.source) and _is_same(dataset.map, read.map)):
            raise ValueError(
                f'{where} must have one source and one map for all settings of a program, '
                f'got others than those that were read.'
            )
        self._where, self._dataset, self._recorded = where, dataset, recorded
        self._length, self._num = dataset.window.length, len(recorded)
        self._most_updates = most_updates
        self._with_lengths = recorded.lengths is not None
        rows = recorded.rows
        self._layout = BatchLayout(
            rows.row_spec,
            rows.fields,
            dataset.window,
            with_lengths=self._with_lengths,
            with_probability=True,
        )
        self._large = [(plan.path, plan.times) for plan in self._layout.large]
        exponent = dataset.priority_exponent
        self.complaint = f'{out_of_range(where, exponent)}.'

    def rows(self) -> DatasetRows:
        """The rows as NumPy arrays, for the device."""
        recorded = self._recorded
        lengths = np.zeros(0) if recorded.lengths is None else recorded.lengths
        return DatasetRows(
            recorded.rows.words,  # type: ignore[arg-type]
            {path: recorded.rows.flat[path] for path, _ in self._large},  # type: ignore[misc]
            recorded.starts.astype(np.int32),  # type: ignore[arg-type]
            lengths.astype(np.int32),  # type: ignore[arg-type]
        )

    def init(self) -> DatasetItems:
        """The state before the first update: all raw priorities are 1."""
        levels: sum_tree.Levels = ()
        if self._dataset.prioritised:
            every = jnp.arange(self._num, dtype=jnp.int32)
            levels = sum_tree.write(sum_tree.make(self._num), every, jnp.ones(self._num))
        return DatasetItems(levels, jnp.bool_(False))

    @property
    def is_fed(self) -> bool:
        """Whether draws need a `Feed`."""
        return self._dataset.draw == 'sample' and not self._dataset.prioritised

    @property
    def num_fed(self) -> int:
        """How many draws a Feed holds."""
        at_once = _NUMBERS // self._dataset.batch_size
        return max(at_once, _LEAST_DRAWS, _TICKS * self._most_updates)

    def ticks(self, draws: int) -> int:
        """For how many ticks a number of draws suffices in any case."""
        return draws // self._most_updates if self._most_updates else _UNLIMITED

    def feed(self, draws: Draws, first: int) -> Feed:
        """The windows of the next draws. Args: draws: of the run. first: draws so far."""
        numbers = [draws.integers(count, self._num) for count in range(first, first + self.num_fed)]
        return Feed(np.stack(numbers).astype(np.int32), np.uint32(first % 2**32))  # type: ignore[arg-type]

    def no_feed(self) -> Feed:
        """A Feed that is not filled yet."""
        shape = self.num_fed, self._dataset.batch_size
        return Feed(jnp.zeros(shape, jnp.int32), jnp.uint32(0))

    def make_draws(self, name: str, seed: int) -> Draws:
        """The random numbers of a run. Args: name: of the table. seed: of the experiment's tables."""
        return Draws(name, seed, self._dataset.batch_size)

    def draw(
        self, rows: DatasetRows, items: DatasetItems, key: jax.Array, fed: jax.Array | None
    ) -> tuple[DatasetItems, jax.Array, Sample]:
        """Draws the windows of one update.

        Args:
            rows: as `rows` gives them, on the device.
            items: the state.
            key: of the draw.
            fed: int32[B], the windows of a uniform draw; None: the Dataset is drawn otherwise.
        Returns: (items, int32[B]: the windows, the sample).
        """
        if self._dataset.draw == 'all':
            chosen = jnp.arange(self._num, dtype=jnp.int32)
            probability = jnp.full(self._num, 1.0 / self._num, jnp.float32)
        elif self._dataset.prioritised:
            chosen, probability = self._draw_by_weight(items.levels, key)
        else:
            assert fed is not None
            chosen = fed
            probability = jnp.full(len(chosen), 1.0 / self._num, jnp.float32)
        return items, chosen, self._gather(rows, chosen, probability)

    def _draw_by_weight(
        self, levels: sum_tree.Levels, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        of_weight, of_place = jax.random.split(key)
        num = self._dataset.batch_size
        place = jax.random.randint(of_place, (num,), 0, self._num, jnp.int32)
        found, probability = sum_tree.draw(levels, of_weight, num)
        some = sum_tree.total(levels) > 0
        return jnp.where(some, found, place), jnp.where(some, probability, 1.0 / self._num)

    def _gather(self, rows: DatasetRows, chosen: jax.Array, probability: jax.Array) -> Sample:
        steps = jnp.arange(self._length + 1, dtype=jnp.int32)[None]
        lengths = rows.lengths[chosen] if self._with_lengths else None
        # Beyond its end a short window repeats its last row.
        reach = steps if lengths is None else jnp.minimum(steps, lengths[:, None])
        at = rows.starts[chosen][:, None] + reach
        arrays: list[Any] = [rows.words.at[at].get(mode='clip'), jnp.int32(self._num)]
        arrays += [] if lengths is None else [lengths]
        arrays.append(probability)
        for path, times in self._large:
            rows_at = at if times is None else at[:, times]
            arrays.append(rows.large[path].at[rows_at].get(mode='clip'))
        sample = self._layout.unpack(arrays, jnp.full(len(chosen), -1, jnp.int32))
        mask = jnp.broadcast_to(sample.steps.mask, (len(chosen), self._length))
        return sample._replace(steps=sample.steps._replace(mask=mask))

    def update_priorities(self, items: DatasetItems, keys: Any, raw: Any) -> DatasetItems:
        """Sets raw priorities float[B] of drawn windows. Raises: ValueError if there are none."""
        if not self._dataset.prioritised:
            raise ValueError(none_taken(self._where, self._dataset))
        raw = jnp.asarray(raw, jnp.float32)
        if raw.shape != keys.shape:
            raise ValueError(
                f'priorities of {self._where} must have shape {keys.shape}, got {raw.shape}.'
            )
        exponent = self._dataset.priority_exponent
        most = np.float32(largest_allowed(exponent, in_float32=True))
        good = (raw >= 0) & (raw <= most)  # a NaN fails both
        written = masking.flags(items.active, jnp.ones_like(good))
        places = jnp.where(written, keys, len(items.levels[0]))
        weights = jnp.where(good, raw, 0.0) ** exponent
        return items._replace(
            levels=sum_tree.write(items.levels, places, weights),
            bad=items.bad | jnp.any(~good & written),
        )

    def fault(self, items: DatasetItems) -> jax.Array:
        """bool[]: whether a priority was out of range."""
        return items.bad


def _is_same(a: Any, b: Any) -> bool:
    return a is b or bool(a == b)
