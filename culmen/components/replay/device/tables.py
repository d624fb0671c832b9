"""The tables of an experience on the device, as functions for the compiled loop.

A table's state has two parts: rows, which each tick writes once, and items, which every update may change.
The loop over the updates of a tick carries only the items, so that rows are never copied.
"""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.replay.device import masking
from culmen.components.replay.device.cutting import Cut
from culmen.components.replay.device.cutting import CutState
from culmen.components.replay.device.items import DeviceQueueItems
from culmen.components.replay.device.items import DeviceReplayItems
from culmen.components.replay.device.items import New
from culmen.components.replay.device.rows import Ring
from culmen.components.replay.device.rows import RingGather
from culmen.components.replay.device.rows import RingState
from culmen.components.replay.device.rows import RowLeaves
from culmen.components.replay.device.unrolls import UnrollRows
from culmen.components.replay.device.unrolls import Unrolls
from culmen.components.replay.stream.priorities import none_taken
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.windows import meets
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import mirror
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.experience import unmirror
from culmen.core.types import LAST
from culmen.core.types import Nest
from culmen.core.types import Sample
from culmen.core.types import TimeStep


class TablesState(NamedTuple):
    """States by name of a table."""

    rows: dict[str, Any]
    items: dict[str, Any]


class DeviceTables:
    """The stream of B lanes and batches of its windows, as pure functions, for one table or a dict."""

    def __init__(self, experience: Experience, row_spec: RowSpec, num_lanes: int) -> None:
        """Makes the plan; allocates nothing.

        Args:
            experience: a Replay, a Queue, or a dict of them over one stream.
            row_spec: of the stream.
            num_lanes: B.
        Raises: ValueError that names the table, for an experience without a static size and for an unknown
            path in `Window.fields`, `ends` or `first`.
        """
        self._experience = experience
        self._tables: dict[str, Any] = {}
        specs = tables(experience)
        for name, table in specs.items():
            where = table_label(name)
            if isinstance(table, Dataset):
                raise ValueError(f'{where} is a Dataset, which the host reads; no program can.')
            if table.window.start is not None:
                raise ValueError(
                    f'{where} has Window.start, which no compiled program can cut yet; the local '
                    f'launcher can.'
                )
            leaves = RowLeaves(row_spec, num_lanes, table.window)
            # With several tables, batches may have to wait until another table is due.
            lone = len(specs) == 1
            if isinstance(table, Queue) and lone and Unrolls.fit(table, num_lanes):
                self._tables[name] = Unrolls(where, table, leaves)
            else:
                self._tables[name] = RingTable(where, table, leaves)

    def init(self) -> TablesState:
        """Empty tables."""
        states = {name: table.init() for name, table in self._tables.items()}
        return TablesState(
            {name: rows for name, (rows, _) in states.items()},
            {name: items for name, (_, items) in states.items()},
        )

    def observe(self, state: TablesState, timestep: TimeStep) -> TablesState:
        """Opens a row in every lane; windows that end here become items, by lane and by start.

        Args: timestep: of B lanes, leaves [B, ...].
        Raises: ValueError that names a leaf that does not fit, while it is traced.
        """
        return self._each(
            lambda name, table: table.observe(state.rows[name], state.items[name], timestep)
        )

    def act(self, state: TablesState, action: Nest, extras: Nest, version: Any) -> TablesState:
        """Closes the rows; windows that LAST cuts short become items.

        Args:
            action, extras: of B lanes, leaves [B, ...].
            version: int32[], updates that made the parameters that acted.
        Raises: ValueError that names a leaf that does not fit, while it is traced.
        """
        return self._each(
            lambda name, table: table.act(
                state.rows[name], state.items[name], action, extras, version
            )
        )

    def _each(self, function: Any) -> TablesState:
        states = {name: function(name, table) for name, table in self._tables.items()}
        return TablesState(
            {name: rows for name, (rows, _) in states.items()},
            {name: items for name, (_, items) in states.items()},
        )

    @staticmethod
    def lane_axes(rows: dict[str, Any]) -> dict[str, Any]:
        """The axis of the lanes in each leaf of the rows, by which devices share it; None: not shared.

        Rings are not shared, since a draw may take rows of any lane.
        """
        return {
            name: UnrollRows(dict.fromkeys(state.leaves, 1), dict.fromkeys(state.newest, 0))  # type: ignore[arg-type]
            if isinstance(state, UnrollRows)
            else jax.tree_util.tree_map(lambda leaf: None, state)
            for name, state in rows.items()
        }

    def due(self, items: dict[str, Any]) -> jax.Array:
        """bool[]: whether an update is due in every table."""
        return jnp.stack([table.due(items[name]) for name, table in self._tables.items()]).all()

    @property
    def one_update_a_tick(self) -> bool:
        """Whether a tick makes at most one update due, if every due update is made."""
        # In a table that waits for another one, due updates accumulate.
        first, *others = self._tables.values()
        return not others and bool(first.one_update_a_tick)

    def draw(
        self, rows: dict[str, Any], items: dict[str, Any], key: jax.Array
    ) -> tuple[dict[str, Any], Any, Any]:
        """Draws a batch for one update, which must be due, from every table.

        Returns: (items, keys, samples); keys and samples mirror the experience.
        """
        after, keys, samples = {}, {}, {}
        for i, (name, table) in enumerate(self._tables.items()):
            of_table = jax.random.fold_in(key, i) if len(self._tables) > 1 else key
            drawn = table.draw(rows[name], items[name], of_table)
            after[name], keys[name], samples[name] = drawn
        return after, mirror(self._experience, keys), mirror(self._experience, samples)

    def update_priorities(
        self, items: dict[str, Any], keys: Any, priorities: Any
    ) -> dict[str, Any]:
        """Sets raw priorities float[B] of drawn items, or None. Skips items that are gone.

        Raises: ValueError during tracing that names the table, for priorities of a table without any.
        """
        if priorities is None:
            return items
        drawn = unmirror(self._experience, keys)
        after = dict(items)
        for name, raw in unmirror(self._experience, priorities).items():
            if raw is not None:
                table = self._tables[name]
                after[name] = table.update_priorities(items[name], drawn[name], raw)
        return after

    def faults(self, items: dict[str, Any]) -> jax.Array:
        """bool[tables]: whether a table was given something that it refuses (see `complaints`)."""
        return jnp.stack([table.fault(items[name]) for name, table in self._tables.items()])

    @property
    def complaints(self) -> list[str]:
        """What a fault of each table means, in words."""
        return [table.complaint for table in self._tables.values()]

    def drop(
        self, state: TablesState, ticks: int, lost: Sequence[tuple[int, int]]
    ) -> tuple[TablesState, int]:
        """Drops items and open windows that need lost rows, on the host.

        Args:
            ticks: how many ticks have closed rows; the next tick's row is open.
            lost: [start, stop) of ticks, in order.
        Returns: the state, and how many items are dropped.
        """
        items, dropped = dict(state.items), 0
        for name, table in self._tables.items():
            if isinstance(table, RingTable):
                items[name], num = table.drop(state.rows[name], items[name], ticks, lost)
                dropped += num
        return state._replace(items=items), dropped


class RingItems(NamedTuple):
    """The part of a table that updates change, and the state of its Cut."""

    items: Any
    cut: CutState
    whole: jax.Array  # bool[B]: whether a whole window ended in the lane at this tick
    inserted: jax.Array  # int32[]: items inserted at this tick


class RingTable:
    """A Replay or a Queue over a ring of rows."""

    def __init__(self, where: str, table: Replay | Queue, leaves: RowLeaves) -> None:
        window, num_lanes = table.window, leaves.num_lanes
        self._where, self._table = where, table
        self._length, self._num_lanes = window.length, num_lanes
        self._cut = Cut(window, num_lanes)
        max_new = num_lanes * (1 + self._cut.num_short)
        whole = None if self._cut.may_be_short else window.length
        self._items: DeviceReplayItems | DeviceQueueItems
        self._priority = None
        self._all = False
        if isinstance(table, Queue):
            if table.batch_size is None and num_lanes > 1 and not window.cross_episodes:
                raise ValueError(
                    f'{where} must have a batch_size in a compiled program, got None: with one window '
                    f'of every lane, a lane of short episodes would have no bound. The local '
                    f'launcher has none to keep.'
                )
            self._items = DeviceQueueItems(where, table, num_lanes, max_new, whole)
        else:
            self._items = DeviceReplayItems(where, table, max_new, whole)
            self._all = table.draw == 'all'
            self._priority = table.priority if table.prioritised else None
        self.complaint = self._items.complaint
        self.one_update_a_tick = self._items.one_update_a_tick
        self._takes_priorities = isinstance(table, Replay) and table.prioritised
        # If a function gives priorities, windows that LAST cuts short become items with the next row: the
        # function reads the ring, and a read between two writes of a tick would make the compiler copy it.
        self._inserts_short_late = self._priority is not None and self._cut.num_short > 0
        # How far back an item may begin: every lane inserts one for each `apart` rows, with some delay.
        apart = window.period + (not window.cross_episodes)
        reach = (-(-self._items.capacity // num_lanes) + 1) * apart + 2 * window.length + 2
        self._ring = Ring(leaves, reach)
        self._gather = RingGather(self._ring, leaves, window, self._cut.may_be_short or self._all)

    def init(self) -> tuple[RingState, RingItems]:
        no_lane = jnp.zeros(self._num_lanes, bool)
        items = RingItems(self._items.init(), self._cut.init(), no_lane, jnp.int32(0))
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
        of_tick = masking.select(items.items.active, (cut, whole, num), items[1:])
        if late is not None:
            new = jax.tree_util.tree_map(lambda *parts: jnp.concatenate(parts), late, new)
        return rows, RingItems(self._insert(rows, items.items, new), *of_tick)

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
        return rows, items._replace(items=store)

    def _insert_short(self, rows: RingState, items: RingItems) -> RingItems:
        back, real = self._cut.short(items.cut)
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

    def _insert(self, rows: RingState, store: Any, new: New) -> Any:
        priorities = None
        if self._priority is not None:
            lengths = jnp.where(new.real, new.lengths, 0)
            ones = jnp.ones(len(lengths), jnp.float32)
            sample = self._gather(rows, new.rows, lengths, ones, store.size)
            priorities = jnp.asarray(self._priority(sample.steps))
        return self._items.insert(store, new, priorities)

    def due(self, items: RingItems) -> jax.Array:
        return self._items.due(items.items)

    def draw(
        self, rows: RingState, items: RingItems, key: jax.Array
    ) -> tuple[RingItems, Any, Sample]:
        store, drawn = self._items.draw(items.items, key)
        lengths = drawn.lengths if self._cut.may_be_short or self._all else None
        sample = self._gather(rows, drawn.rows, lengths, drawn.probability, drawn.size)
        if self._all:
            sample = _without(sample, drawn.lengths == 0)
        return items._replace(items=store), drawn.keys, sample

    def update_priorities(self, items: RingItems, keys: Any, raw: Any) -> RingItems:
        if not self._takes_priorities:
            raise ValueError(none_taken(self._where, self._table))
        raw = jnp.asarray(raw)
        if raw.shape != keys[0].shape:
            raise ValueError(
                f'priorities of {self._where} must have shape {keys[0].shape}, got {raw.shape}.'
            )
        return items._replace(items=self._items.update_priorities(items.items, keys, raw))

    def fault(self, items: RingItems) -> jax.Array:
        return self._items.fault(items.items)

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
        return items._replace(items=self._items.drop(items.items, gone), cut=cut), int(gone.sum())


def _without(sample: Sample, padding: jax.Array) -> Sample:
    """Sets a sample's padding, bool[B], to zeros, except for the step type, LAST."""

    def clear(leaf: jax.Array) -> jax.Array:
        if leaf.ndim == 0:
            return leaf
        return jnp.where(
            padding.reshape(-1, *[1] * (leaf.ndim - 1)), jnp.zeros((), leaf.dtype), leaf
        )

    cleared: Sample = jax.tree_util.tree_map(clear, sample)
    step_type = jnp.where(padding[:, None], LAST, cleared.steps.step_type)
    return cleared._replace(steps=cleared.steps._replace(step_type=step_type))
