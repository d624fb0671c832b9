"""A Replay or a Queue on the device, over a ring of rows that each tick writes once."""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.replay.device import masking
from culmen.components.replay.device.cutting import Cut
from culmen.components.replay.device.cutting import CutState
from culmen.components.replay.device.gates import Gate
from culmen.components.replay.device.item_table import ItemTable
from culmen.components.replay.device.item_table import draws_all
from culmen.components.replay.device.item_table import make_store
from culmen.components.replay.device.items import DeviceQueueItems
from culmen.components.replay.device.items import New
from culmen.components.replay.device.rows import Ring
from culmen.components.replay.device.rows import RingState
from culmen.components.replay.device.rows import RowGather
from culmen.components.replay.device.rows import RowLeaves
from culmen.components.replay.stream.gates import too_long
from culmen.components.replay.stream.windows import meets
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.staleness import waits_at_first
from culmen.core.staleness import windows_at_once
from culmen.core.types import Nest
from culmen.core.types import Sample
from culmen.core.types import TimeStep


class RingItems(NamedTuple):
    """The part of a table that updates change, and the state of its Cut."""

    items: Any
    cut: CutState
    whole: jax.Array  # bool[B]: whether a whole window ended in the lane at this tick
    inserted: jax.Array  # int32[]: items inserted at this tick
    gate: Any = ()  # a GateState, where lanes wait at FIRST


class RingTable(ItemTable):
    """A Replay or a Queue over a ring of rows."""

    def __init__(self, where: str, table: Replay | Queue, leaves: RowLeaves) -> None:
        window, num_lanes = table.window, leaves.num_lanes
        self._length, self._num_lanes = window.length, num_lanes
        self._cut = Cut(window, num_lanes)
        lanes_differ = num_lanes > 1 and not window.cross_episodes
        if isinstance(table, Queue) and table.batch_size is None and lanes_differ:
            raise ValueError(
                f'{where} must have a batch_size in a compiled program, got None: with one window '
                f'of every lane, a lane of short episodes would have no bound. The local '
                f'launcher has none to keep.'
            )
        max_new = num_lanes * (1 + self._cut.num_short)
        whole = None if self._cut.may_be_short else window.length
        store = make_store(where, table, num_lanes, max_new, whole)
        self.gate: Gate | None = None
        if isinstance(table, Queue) and waits_at_first(table, num_lanes):
            self.gate = Gate(table, num_lanes)
        # How far back an item may begin: every lane inserts one for each `apart` rows, with some delay.
        apart = window.period + (not window.cross_episodes)
        reach = (-(-store.capacity // num_lanes) + 1) * apart + 2 * window.length + 2
        if self.gate is not None and windows_at_once(window) > 1:
            assert isinstance(table, Queue) and table.batch_size is not None
            # Episodes that bring fewer windows than lanes allow for may have to come one after another.
            longest = window.period * windows_at_once(window) + 1
            reach = max(reach, (table.batch_size + 1) * longest + 2 * window.length + 2)
        self._ring = Ring(leaves, reach)
        with_lengths = self._cut.may_be_short or draws_all(table)
        gather = RowGather(self._ring, leaves, window, with_lengths)
        super().__init__(where, table, store, gather, self._cut.may_be_short)
        if self.gate is not None:
            # Its Queue always has room: every update that is due is made.
            most = window.period * windows_at_once(window)
            self.complaint = f'{too_long(where, most)}, and one had more.'
        # If a function gives priorities, windows that LAST cuts short become items with the next row: the
        # function reads the ring, and a read between two writes of a tick would make the compiler copy it.
        self._inserts_short_late = self._priority is not None and self._cut.num_short > 0

    def init(self) -> tuple[RingState, RingItems]:
        no_lane = jnp.zeros(self._num_lanes, bool)
        gate = () if self.gate is None else self.gate.init()
        items = RingItems(self._items.init(), self._cut.init(), no_lane, jnp.int32(0), gate)
        return self._ring.init(), items

    def observe(
        self, rows: RingState, items: RingItems, timestep: TimeStep
    ) -> tuple[RingState, RingItems]:
        late = None
        if self._inserts_short_late:
            late = self._windows(rows, *self._cut.short(items.cut))
        rows = self._ring.open(rows, timestep)
        cut, whole = self._cut.observe(items.cut, jnp.asarray(timestep.step_type))
        back = jnp.full(self._num_lanes, self._length, jnp.int32)
        new = New(self._rows_back(rows, back), back, whole)
        num = jnp.sum(whole, dtype=jnp.int32)
        before = items.cut, items.whole, items.inserted
        cut, ended, num = masking.select(items.items.active, (cut, whole, num), before)
        if late is not None:
            new = jax.tree_util.tree_map(lambda *parts: jnp.concatenate(parts), late, new)
        gate = items.gate if self.gate is None else self.gate.add(items.gate, whole)
        return rows, RingItems(self._insert(rows, items.items, new), cut, ended, num, gate)

    def act(
        self,
        rows: RingState,
        items: RingItems,
        action: Nest,
        extras: Nest,
        version: Any,
    ) -> tuple[RingState, RingItems]:
        rows = self._ring.close(rows, action, extras, version)
        if self._cut.num_short and not self._inserts_short_late:
            items = self._insert_short(rows, items)
        store = self._items.close_tick(items.items, jnp.any(items.cut.ended))
        items = items._replace(items=store)
        if self.gate is None:
            return rows, items
        return rows, items._replace(gate=self.gate.close(items.gate, items.cut.ended))

    def _insert_short(self, rows: RingState, items: RingItems) -> RingItems:
        back, real = self._cut.short(items.cut)
        if self.gate is not None:
            brought = jnp.sum(real, axis=1, dtype=jnp.int32)
            items = items._replace(gate=self.gate.add(items.gate, brought))
        store = items.items
        if isinstance(self._items, DeviceQueueItems):
            # Whole windows were inserted before those cut short: insert those that wait again, in order.
            left = jnp.minimum(items.inserted, store.size)
            store = self._items.take_back(store, left)
            rank = jnp.cumsum(items.whole, dtype=jnp.int32)
            again = items.whole & (rank > items.inserted - left)
            whole = jnp.full((self._num_lanes, 1), self._length, jnp.int32)
            back = jnp.concatenate([whole, back], axis=1)
            real = jnp.concatenate([again[:, None], real], axis=1)
        new = self._windows(rows, back, real)
        return items._replace(items=self._insert(rows, store, new))

    def _windows(self, rows: RingState, back: jax.Array, real: jax.Array) -> New:
        """Windows that begin `back` ticks before the newest row and end there."""
        return New(self._rows_back(rows, back).ravel(), back.ravel(), real.ravel())

    def _rows_back(self, rows: RingState, back: jax.Array) -> jax.Array:
        """The rows `back` ticks before the newest: int32[B, ...]."""
        lane = jnp.arange(self._num_lanes, dtype=jnp.int32)
        lane = lane.reshape(-1, *[1] * (back.ndim - 1))
        return (rows.slot - back) % self._ring.num_ticks * self._num_lanes + lane

    def draw(
        self, rows: RingState, items: RingItems, key: jax.Array
    ) -> tuple[RingItems, Any, Sample]:
        items, keys, sample = super().draw(rows, items, key)
        gate = items.gate if self.gate is None else self.gate.draw(items.gate)
        return items._replace(gate=gate), keys, sample

    def fault(self, items: RingItems) -> jax.Array:
        return super().fault(items) if self.gate is None else items.gate.bad

    def drop(
        self, rows: RingState, items: RingItems, ticks: int, lost: Sequence[tuple[int, int]]
    ) -> tuple[RingItems, int]:
        lost = [(begin, end) for begin, end in lost if end > ticks + 1 - self._ring.num_ticks]
        if not lost:
            return items, 0
        places = self._items.places(items.items)
        slots = np.asarray(items.items.rows)[places] // self._num_lanes
        start = ticks - (int(rows.slot) - slots) % self._ring.num_ticks
        lengths: Any = self._length
        if len(items.items.lengths):
            lengths = np.asarray(items.items.lengths)[places]
        gone = meets(start, start + lengths, lost)
        cut = self._cut.skip(items.cut, ticks - lost[-1][1])
        left = min(int(items.inserted), len(gone))
        if gone[len(gone) - left :].any():
            # All waiting windows of this tick began at one tick, and are lost together.
            items = items._replace(
                whole=jnp.zeros_like(items.whole), inserted=jnp.zeros_like(items.inserted)
            )
        if self.gate is not None:
            items = items._replace(gate=self.gate.forget(items.gate, int(gone.sum())))
        return items._replace(items=self._items.drop(items.items, gone), cut=cut), int(gone.sum())
