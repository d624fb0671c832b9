"""A table on the device whose windows begin where a row says so (`Window.start`).

Such items may come as rarely as they like, so no ring of ticks is long enough for them. Each window has a
slab of its own instead, `length + 1` rows, and rows that are in no window are not stored. An item that leaves
the table gives its slab to the lane whose window takes its place. So the slabs of the items, with two of each
lane, are all that is ever needed.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.replay.device import masking
from culmen.components.replay.device.item_table import ItemTable
from culmen.components.replay.device.item_table import draws_all
from culmen.components.replay.device.item_table import make_store
from culmen.components.replay.device.items import New
from culmen.components.replay.device.masking import Active
from culmen.components.replay.device.rows import Record
from culmen.components.replay.device.rows import RowGather
from culmen.components.replay.device.rows import RowLeaves
from culmen.components.replay.stream.starts import Starts
from culmen.components.replay.stream.windows import may_be_short
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import Nest
from culmen.core.types import TimeStep


class SlabRows(NamedTuple):
    """The rows of windows, and the open row of every lane."""

    words: jax.Array  # int32[slabs, length + 1, words of a record]
    large: dict[str, jax.Array]  # [slabs, length + 1, ...] by path
    lanes: jax.Array  # int32[slabs]
    newest: dict[str, jax.Array]  # [B, ...] by path: the time step of the open row
    begins: jax.Array  # bool[B]: whether a window begins there, as far as the time step tells
    active: Active = None  # as in `masking`


class SlabItems(NamedTuple):
    """The items, and the window that is open in each lane."""

    items: Any
    open: jax.Array  # int32[B]: the slab of the lane's open window
    spare: jax.Array  # int32[B]: the slab of its next one
    num_rows: jax.Array  # int32[B]: rows of the open window so far; 0: none is open


class Slabs:
    """The layout of slabs. A row's number is `slab * (length + 1) + row in the slab`."""

    def __init__(self, leaves: RowLeaves, num_slabs: int, steps: int) -> None:
        """Args: leaves: of a row. num_slabs: in all. steps: rows of a slab.

        Raises: ValueError if the rows can't be counted in 32 bits.
        """
        self.leaves = leaves
        self.num_slabs, self.steps = num_slabs, steps
        self.num_rows = num_slabs * steps
        if self.num_rows >= 2**31:
            raise ValueError(
                f'a table on the device must have fewer than 2^31 rows, got {self.num_rows}, '
                f'Window.length + 1 for each item: lower capacity or length, or use the local launcher.'
            )
        self.record = Record(leaves)
        self.fields = self.record.fields
        self.stride = 1

    def init(self) -> SlabRows:
        """Empty slabs, before the first row."""
        shape = (self.num_slabs, self.steps)
        num_lanes = self.leaves.num_lanes
        newest = {
            leaf.path: jnp.zeros((num_lanes, *leaf.shape), leaf.dtype)
            for leaf in self.leaves.timestep
        }
        return SlabRows(
            words=jnp.zeros((*shape, self.record.num_words), jnp.int32),
            large={
                path: jnp.zeros((*shape, *leaf.shape), leaf.dtype)
                for path, leaf in self.leaves.all.items()
                if path not in self.fields
            },
            lanes=jnp.zeros(self.num_slabs, jnp.int32),
            newest={'step_type': jnp.zeros(num_lanes, jnp.int32), **newest},
            begins=jnp.zeros(num_lanes, bool),
        )

    def lane_of(self, state: SlabRows, rows: jax.Array) -> jax.Array:
        """int32[N]: the lanes of rows."""
        return state.lanes[rows // self.steps]

    def write(self, state: SlabRows, values: dict[str, jax.Array], at: jax.Array) -> SlabRows:
        """Writes the row of every lane, [B, ...] by path, to `at`, int32[K, B]: K places, or none."""

        def put(slabs: jax.Array, value: jax.Array) -> jax.Array:
            flat = slabs.reshape(self.num_rows, *slabs.shape[2:])
            several = jnp.broadcast_to(value, (len(at), *value.shape))
            return flat.at[at].set(several, mode='drop').reshape(slabs.shape)

        large = {path: put(slabs, values[path]) for path, slabs in state.large.items()}
        return state._replace(words=put(state.words, self.record.words(values)), large=large)


class SlabTable(ItemTable):
    """A Replay or a Queue of windows that begin where a row says so."""

    def __init__(self, where: str, table: Replay | Queue, leaves: RowLeaves) -> None:
        """Args: where: names it in errors. leaves: of a row.

        Raises: ValueError that names `Window.start`, if it is not the path of one bool.
        """
        window, num_lanes = table.window, leaves.num_lanes
        assert window.start is not None
        self._starts = Starts(leaves.row_spec, window.start)
        self._leaves, self._length, self._num_lanes = leaves, window.length, num_lanes
        is_short = may_be_short(window)
        whole = None if is_short else window.length
        store = make_store(where, table, num_lanes, num_lanes, whole)
        self._capacity = store.capacity
        self._slabs = Slabs(leaves, store.capacity + 2 * num_lanes, window.length + 1)
        gather = RowGather(self._slabs, leaves, window, is_short or draws_all(table))
        super().__init__(where, table, store, gather, is_short)

    def init(self) -> tuple[SlabRows, SlabItems]:
        """An empty table."""
        slabs = jnp.arange(self._slabs.num_slabs, dtype=jnp.int32)
        of_items, of_lanes = slabs[: self._capacity], slabs[self._capacity :]
        store = self._items.init()._replace(rows=of_items * self._slabs.steps)
        none = jnp.zeros(self._num_lanes, jnp.int32)
        items = SlabItems(store, of_lanes[: self._num_lanes], of_lanes[self._num_lanes :], none)
        return self._slabs.init(), items

    def observe(
        self, rows: SlabRows, items: SlabItems, timestep: TimeStep
    ) -> tuple[SlabRows, SlabItems]:
        """Opens a row in every lane. A FIRST drops the open window of its lane."""
        begins = self._starts.of_timestep(timestep)
        newest = self._leaves.of_timestep(timestep), begins
        old = rows.newest, rows.begins if begins is not None else None
        timestep_leaves, begins = masking.select(rows.active, newest, old)
        rows = rows._replace(newest=timestep_leaves)
        if begins is not None:
            rows = rows._replace(begins=jnp.asarray(begins, bool))
        is_first = masking.flags(rows.active, timestep_leaves['step_type'] == FIRST)
        return rows, items._replace(num_rows=jnp.where(is_first, 0, items.num_rows))

    def act(
        self, rows: SlabRows, items: SlabItems, action: Nest, extras: Nest, version: Any
    ) -> tuple[SlabRows, SlabItems]:
        """Closes the rows; windows that end at them become items."""
        steps, num_rows = self._slabs.steps, items.num_rows
        begins = self._starts.of_decision(action, extras)
        begins = rows.begins if begins is None else jnp.asarray(begins, bool)
        ended = rows.newest['step_type'] == LAST
        is_open = masking.flags(rows.active, num_rows > 0)
        begin = masking.flags(rows.active, begins & ~ended)
        end = is_open & (begins | ended | (num_rows == self._length))
        # The row is the next one of the open window, and the first one of the window that begins there.
        at = jnp.stack([items.open * steps + num_rows, items.spare * steps])
        at = jnp.where(jnp.stack([is_open, begin]), at, self._slabs.num_rows)
        values = {**rows.newest, **self._leaves.of_decision(action, extras, version)}
        rows = self._slabs.write(rows, values, at)
        lane = jnp.arange(self._num_lanes, dtype=jnp.int32)
        slab = jnp.where(begin, items.spare, self._slabs.num_slabs)
        rows = rows._replace(lanes=rows.lanes.at[slab].set(lane, mode='drop'))

        store, places = items.items, self._items.new_places(items.items, end)
        given_up = store.rows.at[places].get(mode='clip') // steps
        free = jnp.where(places < self._capacity, given_up, items.open)
        new = New(items.open * steps, num_rows, end)
        store = self._insert(rows, store, new)
        store = self._items.close_tick(store, jnp.any(ended))
        return rows, SlabItems(
            store,
            open=jnp.where(begin, items.spare, free),
            spare=jnp.where(begin, free, items.spare),
            num_rows=jnp.where(begin, 1, jnp.where(end, 0, num_rows + is_open)),
        )
