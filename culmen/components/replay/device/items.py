"""The items of a table on the device: which windows wait in it, and which of them are drawn.

An item is its first row, with its number of transitions if an episode can cut it short.
"""

from typing import Any
from typing import NamedTuple
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.device import masking
from culmen.components.replay.device import sum_tree
from culmen.components.replay.device.masking import Active
from culmen.components.replay.stream.priorities import largest_allowed
from culmen.components.replay.stream.priorities import out_of_range
from culmen.components.replay.stream.rate import Rate
from culmen.core.experience import Queue
from culmen.core.experience import Replay

_LARGEST_CREDIT = 2**30


class New(NamedTuple):
    """Windows of a tick, in order. Places that are not `real` are skipped."""

    rows: jax.Array  # int32[M]
    lengths: jax.Array  # int32[M]
    real: jax.Array  # bool[M]


class DrawnRows(NamedTuple):
    """The items of one draw."""

    keys: Any
    rows: jax.Array  # int32[N]
    lengths: jax.Array  # int32[N]; 0: padding
    probability: jax.Array  # float32[N]
    size: jax.Array  # int32[]: items before the draw


class Lengths:
    """The lengths of items, stored only if they can differ."""

    def __init__(self, whole: int | None) -> None:
        self._whole = whole

    def init(self, capacity: int) -> jax.Array:
        return jnp.zeros(capacity if self._whole is None else 0, jnp.int32)

    def put(self, lengths: jax.Array, places: jax.Array, new: New) -> jax.Array:
        if self._whole is not None:
            return lengths
        return lengths.at[places].set(new.lengths, mode='drop')

    def at(self, lengths: jax.Array, places: jax.Array) -> jax.Array:
        if self._whole is not None:
            return jnp.full(places.shape, self._whole, jnp.int32)
        return lengths[places]


class DeviceItemStore(Protocol):
    """The interface of a table's items. States are pytrees."""

    capacity: int
    one_update_a_tick: bool  # whether the windows of a tick make at most one update due
    most_updates: int  # that a tick makes due, if every due update is made

    def init(self) -> Any:
        """The state without items."""
        ...

    def insert(self, state: Any, new: New, priorities: jax.Array | None) -> Any:
        """Adds windows, with raw priorities float[M] or the table's default."""
        ...

    def new_places(self, state: Any, real: jax.Array) -> jax.Array:
        """int32[M]: where `insert` puts windows that are `real`, bool[M]; the capacity: nowhere."""
        ...

    def close_tick(self, state: Any, has_ended: jax.Array) -> Any:
        """Called when all windows of a tick are inserted. Args: has_ended: whether an episode ended there."""
        ...

    def due(self, state: Any) -> jax.Array:
        """bool[]: whether an update is due."""
        ...

    def draw(self, state: Any, key: jax.Array) -> tuple[Any, DrawnRows]:
        """Draws items for one update, which must be due."""
        ...

    def update_priorities(self, state: Any, keys: Any, priorities: jax.Array) -> Any:
        """Sets raw priorities float[N] of drawn items. Skips items that are gone."""
        ...

    def fault(self, state: Any) -> jax.Array:
        """bool[]: whether the table was given something that it refuses (`complaint`)."""
        ...

    def places(self, state: Any) -> NDArray[Any]:
        """int64[size], on the host: the places of the items, the oldest first."""
        ...

    def drop(self, state: Any, lost: NDArray[Any]) -> Any:
        """Drops items, on the host. Args: lost: bool[size], the oldest first."""
        ...

    complaint: str


class ReplayState(NamedTuple):
    """Items in a ring; the oldest are removed first."""

    rows: jax.Array  # int32[capacity]
    lengths: jax.Array  # int32[capacity], or int32[0] if all windows are whole
    next: jax.Array  # int32[]: the place of the next item
    size: jax.Array  # int32[]
    inserted: jax.Array  # uint32[]: items ever, modulo 2^32
    missing: jax.Array  # int32[]: items before the first draw
    credit: jax.Array  # int32[]: credit of the rate; an update takes `cost` of it
    levels: sum_tree.Levels  # of weights; () for uniform draws
    largest: jax.Array  # float32[]: the largest raw priority ever given
    bad: jax.Array  # bool[]: whether a priority was out of range
    active: Active = None  # as in `masking`


class DeviceReplayItems:
    """Items that are kept and drawn many times. Priorities work as in the in-process table."""

    def __init__(self, where: str, replay: Replay, max_new: int, whole: int | None) -> None:
        """Makes the plan; allocates nothing.

        Args:
            max_new: the most windows of a tick.
            whole: the length of every window; None: an episode can cut windows short.
        Raises: ValueError for a rate with too many digits.
        """
        self.capacity = replay.capacity
        self._lengths = Lengths(whole)
        self._replay = replay
        # The formula of `Rate` in whole numbers: an item adds `gain`, an update takes `cost`.
        self._gain, self._cost = Rate.of(replay).gain_and_cost()
        if replay.by_tick:
            self._gain = 0  # a tick in which episodes end adds the cost of an update
        if max_new * self._gain + self._cost >= _LARGEST_CREDIT:
            raise ValueError(
                f'samples_per_insert of {where} must be a simpler fraction on the device, '
                f'got {replay.samples_per_insert}.'
            )
        self.one_update_a_tick = max_new * self._gain <= self._cost
        self.most_updates = max_new * self._gain // self._cost + 1
        exponent = replay.priority_exponent
        self._largest_allowed = np.float32(largest_allowed(exponent, in_float32=True))
        self.complaint = f'{out_of_range(where, exponent)}.'

    def init(self) -> ReplayState:
        zero = jnp.int32(0)
        return ReplayState(
            rows=jnp.zeros(self.capacity, jnp.int32),
            lengths=self._lengths.init(self.capacity),
            next=zero,
            size=zero,
            inserted=jnp.uint32(0),
            missing=jnp.int32(self._replay.min_size),
            credit=zero,
            levels=sum_tree.make(self.capacity) if self._replay.prioritised else (),
            largest=jnp.float32(1.0),
            bad=jnp.bool_(False),
        )

    def insert(self, state: ReplayState, new: New, priorities: jax.Array | None) -> ReplayState:
        num = jnp.sum(masking.flags(state.active, new.real), dtype=jnp.int32)
        slots = self.new_places(state, new.real)
        used = jnp.maximum(num - state.missing, 0)
        state = state._replace(
            rows=state.rows.at[slots].set(new.rows, mode='drop'),
            lengths=self._lengths.put(state.lengths, slots, new),
            next=(state.next + num) % self.capacity,
            size=jnp.minimum(state.size + num, self.capacity),
            inserted=state.inserted + num.astype(jnp.uint32),
            missing=jnp.maximum(state.missing - num, 0),
            credit=jnp.minimum(state.credit + used * self._gain, _LARGEST_CREDIT),
        )
        if not self._replay.prioritised:
            return state
        if priorities is None:
            priorities = jnp.full(new.rows.shape, state.largest)
        return self._weigh(state, slots, priorities, slots < self.capacity)

    def new_places(self, state: ReplayState, real: jax.Array) -> jax.Array:
        real = masking.flags(state.active, real)
        num = jnp.sum(real, dtype=jnp.int32)
        rank = jnp.cumsum(real, dtype=jnp.int32) - 1
        kept = real & (rank >= num - self.capacity)
        return jnp.where(kept, (state.next + rank) % self.capacity, self.capacity)

    def close_tick(self, state: ReplayState, has_ended: jax.Array) -> ReplayState:
        if not self._replay.by_tick:
            return state
        counts = masking.flags(state.active, has_ended & (state.missing == 0) & (state.size > 0))
        return state._replace(credit=state.credit + counts * self._cost)

    def due(self, state: ReplayState) -> jax.Array:
        return (state.credit >= self._cost) & (state.size > 0)

    def draw(self, state: ReplayState, key: jax.Array) -> tuple[ReplayState, DrawnRows]:
        size, num = state.size, self._replay.batch_size
        state = state._replace(credit=state.credit - masking.count(state.active, self._cost))
        if self._replay.draw == 'all':
            age = jnp.arange(self.capacity, dtype=jnp.int32)
            real = age < size
            slots = (state.next - size + age) % self.capacity
            probability = jnp.where(real, 1.0 / size, 0.0).astype(jnp.float32)
            lengths = jnp.where(real, self._lengths.at(state.lengths, slots), 0)
            return state, DrawnRows((), state.rows[slots], lengths, probability, size)
        of_place = of_slot = key
        if self._replay.prioritised:
            of_slot, of_place = jax.random.split(key)
        place = jax.random.randint(of_place, (num,), 0, size, jnp.int32)
        slots = (state.next - size + place) % self.capacity
        probability = jnp.full(num, 1.0 / size, jnp.float32)
        keys: Any = ()
        if self._replay.prioritised:
            by_weight = sum_tree.draw(state.levels, of_slot, num)
            some = sum_tree.total(state.levels) > 0
            slots = jnp.where(some, by_weight[0], slots)
            probability = jnp.where(some, by_weight[1], probability)
            keys = slots, state.next, state.inserted
        lengths = self._lengths.at(state.lengths, slots)
        return state, DrawnRows(keys, state.rows[slots], lengths, probability, size)

    def update_priorities(
        self, state: ReplayState, keys: Any, priorities: jax.Array
    ) -> ReplayState:
        slots, then, inserted = keys
        age = (then - 1 - slots) % self.capacity  # at the draw
        since = jnp.minimum(state.inserted - inserted, self.capacity).astype(jnp.int32)
        here = age + since < self.capacity
        slots = jnp.where(here, slots, self.capacity)
        return self._weigh(state, slots, priorities, jnp.ones_like(here))

    def _weigh(
        self, state: ReplayState, slots: jax.Array, raw: jax.Array, real: jax.Array
    ) -> ReplayState:
        real = masking.flags(state.active, real)
        raw = jnp.asarray(raw, jnp.float32)
        good = (raw >= 0) & (raw <= self._largest_allowed)  # a NaN fails both
        raw = jnp.where(good & real, raw, 0.0)
        written = masking.flags(state.active, slots < self.capacity)
        slots = jnp.where(written, slots, len(state.levels[0]))
        return state._replace(
            levels=sum_tree.write(state.levels, slots, raw**self._replay.priority_exponent),
            largest=jnp.maximum(state.largest, jnp.max(raw)),
            bad=state.bad | jnp.any(~good & real),
        )

    def fault(self, state: ReplayState) -> jax.Array:
        return state.bad

    def places(self, state: ReplayState) -> NDArray[Any]:
        size = int(state.size)
        return (int(state.next) - size + np.arange(size)) % self.capacity

    def drop(self, state: ReplayState, lost: NDArray[Any]) -> ReplayState:
        old = self.places(state)[~lost]
        size, least = len(old), max(self._replay.min_size, 1)
        new = (int(state.next) - size + np.arange(size)) % self.capacity
        levels = state.levels
        if self._replay.prioritised:
            weights = jnp.asarray(np.asarray(levels[0])[old])
            empty = sum_tree.make(self.capacity)
            levels = sum_tree.write(empty, jnp.asarray(new, jnp.int32), weights)
        return state._replace(
            rows=_moved(state.rows, old, new),
            lengths=_moved(state.lengths, old, new),
            size=jnp.int32(size),
            # With fewer than min_size items left, the table waits until it has them, as at the beginning.
            missing=jnp.int32(least - size) if size < least else state.missing,
            levels=levels,
        )


def _moved(values: jax.Array, old: NDArray[Any], new: NDArray[Any]) -> jax.Array:
    """Moves entries to other places. All other places keep their values."""
    array = np.array(values)
    if len(array):
        array[new] = array[old]
    return jnp.asarray(array)


class QueueState(NamedTuple):
    """Items in a ring, in order."""

    rows: jax.Array  # int32[capacity]
    lengths: jax.Array  # int32[capacity], or int32[0] if all windows are whole
    first: jax.Array  # int32[]: the place of the first item
    size: jax.Array  # int32[]
    bad: jax.Array  # bool[]: whether an item found no room
    active: Active = None  # as in `masking`


class DeviceQueueItems:
    """Items that are drawn once, by (tick of the last step, lane, start)."""

    def __init__(
        self, where: str, queue: Queue, num_lanes: int, max_new: int, whole: int | None
    ) -> None:
        """Args: max_new, whole: as for `DeviceReplayItems`."""
        self._lengths = Lengths(whole)
        self._batch_size = num_lanes if queue.batch_size is None else queue.batch_size
        self.capacity = queue.max_size * self._batch_size + max_new
        self.one_update_a_tick = max_new <= self._batch_size
        self.most_updates = max_new // self._batch_size + 1
        self.complaint = (
            f'{where} has more than max_size {queue.max_size} batches waiting, and its actors can not '
            f'wait in one program.'
        )

    def init(self) -> QueueState:
        zero = jnp.int32(0)
        rows = jnp.zeros(self.capacity, jnp.int32)
        lengths = self._lengths.init(self.capacity)
        return QueueState(rows, lengths, zero, zero, jnp.bool_(False))

    def insert(self, state: QueueState, new: New, priorities: jax.Array | None) -> QueueState:
        del priorities
        num = jnp.sum(masking.flags(state.active, new.real), dtype=jnp.int32)
        places = self.new_places(state, new.real)
        size = state.size + num
        return state._replace(
            rows=state.rows.at[places].set(new.rows, mode='drop'),
            lengths=self._lengths.put(state.lengths, places, new),
            size=size,
            bad=state.bad | (size > self.capacity),
        )

    def new_places(self, state: QueueState, real: jax.Array) -> jax.Array:
        real = masking.flags(state.active, real)
        rank = jnp.cumsum(real, dtype=jnp.int32) - 1
        places = (state.first + state.size + rank) % self.capacity
        return jnp.where(real, places, self.capacity)

    def take_back(self, state: QueueState, num: jax.Array) -> QueueState:
        """Removes the last `num` items."""
        return state._replace(size=state.size - masking.count(state.active, num))

    def close_tick(self, state: QueueState, has_ended: jax.Array) -> QueueState:
        del has_ended
        return state

    def due(self, state: QueueState) -> jax.Array:
        return state.size >= self._batch_size

    def draw(self, state: QueueState, key: jax.Array) -> tuple[QueueState, DrawnRows]:
        del key
        num = self._batch_size
        places = (state.first + jnp.arange(num, dtype=jnp.int32)) % self.capacity
        taken = masking.count(state.active, num)
        after = state._replace(first=(state.first + taken) % self.capacity, size=state.size - taken)
        ones = jnp.ones(num, jnp.float32)
        lengths = self._lengths.at(state.lengths, places)
        return after, DrawnRows((), state.rows[places], lengths, ones, state.size)

    def update_priorities(self, state: QueueState, keys: Any, priorities: jax.Array) -> QueueState:
        raise ValueError('a Queue takes no priorities.')

    def fault(self, state: QueueState) -> jax.Array:
        return state.bad

    def places(self, state: QueueState) -> NDArray[Any]:
        return (int(state.first) + np.arange(int(state.size))) % self.capacity

    def drop(self, state: QueueState, lost: NDArray[Any]) -> QueueState:
        old = self.places(state)[~lost]
        new = self.places(state)[: len(old)]
        return state._replace(
            rows=_moved(state.rows, old, new),
            lengths=_moved(state.lengths, old, new),
            size=jnp.int32(len(old)),
        )
