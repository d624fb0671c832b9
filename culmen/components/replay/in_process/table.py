"""The in-process table: one stream of rows in NumPy, and the items of one or several tables.

It is the default table of a run in one process, and uses no server, no thread and no JAX between a step
and a batch. Rows are kept while an item of any of its tables, or an open window, needs them.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.in_process.gather import Gather
from culmen.components.replay.in_process.items import ItemStore
from culmen.components.replay.in_process.queue_items import QueueItems
from culmen.components.replay.in_process.replay_items import ReplayItems
from culmen.components.replay.in_process.rows import Arrays
from culmen.components.replay.in_process.rows import Rows
from culmen.components.replay.stream.batch import pad
from culmen.components.replay.stream.gates import Doorkeeper
from culmen.components.replay.stream.gates import Gates
from culmen.components.replay.stream.joining import divide_priorities
from culmen.components.replay.stream.joining import join_draws
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.starts import make_cutter
from culmen.components.replay.stream.windows import Items
from culmen.components.replay.stream.windows import may_be_short
from culmen.components.replay.stream.windows import meets
from culmen.components.replay.stream.windows import stored_paths
from culmen.core.experience import LONE
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import RuleExperience
from culmen.core.experience import Table
from culmen.core.experience import rules_of
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.experience import version_shape
from culmen.core.experience import within
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.core.types import Version
from culmen.core.workers import Draw
from culmen.core.workers import Reader

# What a checkpoint holds besides rows: nested dicts of arrays and JSON values.
TableState = dict[str, Any]

_SLACK = 64  # ticks


class InProcessTable:
    """Keeps the stream of B lanes and gives batches of its windows. Not thread-safe.

    Samples are Packed: NumPy arrays in new memory, from which `unpacked` makes a Sample inside or outside a
    compiled call. Stacks of frames are views with another memory order, which a device can read directly.
    """

    def __init__(
        self,
        experience: Experience,
        row_spec: RowSpec,
        num_lanes: int,
        seed: int,
    ) -> None:
        """Allocates the rows. The system provides their memory as they are written.

        Args:
            experience: a Replay, a Queue, or a dict of them over one stream; with rules, that of each.
            row_spec: of the stream.
            num_lanes: B.
            seed: of the draws; each table of a dict has its own random numbers.
        Raises: ValueError for a Dataset, and for an unknown path in `Window.fields`, `ends` or `first`.
        """
        specs = tables(experience)
        for name, table in specs.items():
            if isinstance(table, Dataset):
                where = table_label(name)
                raise ValueError(
                    f'{where} must be a Replay or a Queue here, got a Dataset: a Dataset is read '
                    f'by a DatasetReader.'
                )
        num_ticks = max(_first_ticks(table, num_lanes) for table in specs.values())
        windows = [table.window for table in specs.values()]
        paths = stored_paths(windows, list(row_spec.leaves))
        self._rows = Rows(row_spec, num_lanes, num_ticks, paths, version_shape(experience))
        self._tables: dict[str, _OneTable] = {}
        self._readers: dict[str, Reader] = {}
        for place, (rule, of_rule) in enumerate(rules_of(experience).items()):
            own = {
                name: _OneTable(within(rule, name), table, self._rows, seed, place)
                for name, table in tables(of_rule).items()
            }
            self._tables |= {within(rule, name): table for name, table in own.items()}
            if LONE in own:
                self._readers[rule] = own[LONE]
            else:
                self._readers[rule] = _JoinedTables(of_rule, own)
        self._all = list(self._tables.values())
        self._full_at = 0  # the tick at which to check for room
        self._gates = Gates(experience, num_lanes)
        self._door = Doorkeeper(experience, np.arange(num_lanes), num_lanes)
        self.held: NDArray[np.bool_] | None = None  # as of a Writer

    def observe(self, timestep: TimeStep) -> None:
        """Opens a row in every lane; windows that end here become items, by lane and by start.

        Args:
            timestep: of B lanes, leaves [B, ...].
        Raises: ValueError that names a leaf that does not fit; RuntimeError if `act` is due.
        """
        rows = self._rows
        if rows.is_open:
            raise RuntimeError('observe was called twice: a tick is observe, then act.')
        if rows.next_tick >= self._full_at:
            self._make_room()
        rows.open(timestep)
        step_type = np.asarray(timestep.step_type)
        if self._door.is_needed:
            self._door.observe(step_type)
        for table in self._all:
            items = table.cutter.observe(step_type)
            if items is not None:
                self._insert(table, items)
            table.cutter.read_timestep(timestep)

    def act(self, action: Nest, extras: Nest, version: Version) -> None:
        """Closes the rows; windows that LAST cuts short become items.

        Args:
            action, extras: of B lanes, leaves [B, ...].
            version: updates that made the parameters that acted; of several rules, of each.
        Raises: ValueError that names a leaf that does not fit; RuntimeError if `observe` is due.
        """
        if not self._rows.is_open:
            raise RuntimeError('act was called before observe: a tick is observe, then act.')
        self._rows.close(action, extras, version)
        for table in self._all:
            table.cutter.read_decision(action, extras)
            items = table.cutter.act()
            if items is not None:
                self._insert(table, items)
            table.items.close_tick(table.by_tick and table.cutter.has_ended)
        if self._door.is_needed:
            self._door.close()
            self.held = self._door.ask(self._gates, version)

    def _insert(self, table: '_OneTable', items: Items) -> None:
        table.insert(items)
        if self._door.is_needed:
            self._door.add(table.name, items.lane)

    def reader(self, rule: str) -> Reader:
        """The side from which a rule's updates read: the tables of that rule. A lone rule has the name ''."""
        return self._readers[rule]

    def due(self, updates: int = 1) -> bool:
        """Whether this many further updates of a lone rule are due in every table."""
        return self.reader(LONE).due(updates)

    def draw(self) -> Draw:
        """Draws a batch for one update of a lone rule from every table.

        Returns: the items' numbers int64[B], and a Packed Sample; dicts of them for a dict of tables.
        """
        return self.reader(LONE).draw()

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        """Sets raw priorities of items that a lone rule has drawn. Skips items that have been removed.

        Args:
            keys: of a draw.
            priorities: float[B], finite and at least 0, or None; mirrors the experience.
        Raises: ValueError that names the table, for priorities of a uniform table or a Queue, and for
            priorities out of range.
        """
        self.reader(LONE).update_priorities(keys, priorities)

    def _first_live(self) -> int:
        """The oldest tick that an item, an open window or a stack of frames may still need."""
        first = min(table.first_live(self._rows.next_tick) for table in self._all)
        return max(first - (self._rows.max_frames - 1), 0)

    def _make_room(self) -> None:
        first = self._first_live()
        while self._rows.next_tick >= first + self._rows.num_ticks:
            self._rows.grow(first)
        self._full_at = first + self._rows.num_ticks

    @property
    def nbytes(self) -> int:
        """The size of the rings in bytes. The system provides their memory as rows are written."""
        return self._rows.nbytes

    def live_ticks(self) -> tuple[int, int]:
        """(first tick still needed, first tick that is not closed). Rows between never change."""
        return min(self._first_live(), self._rows.next_tick), self._rows.next_tick

    def read_rows(self, start: int, stop: int) -> Arrays:
        """Copies closed rows, for a checkpoint.

        Args: start, stop: ticks, within `live_ticks()`.
        Returns: arrays [stop - start, B, ...] by path; only the newest frame of a stack.
        """
        first, after = self.live_ticks()
        if not first <= start <= stop <= after:
            raise ValueError(f'rows must be read within [{first}, {after}), got [{start}, {stop}).')
        return self._rows.read(start, stop)

    def get_state(self) -> TableState:
        """A copy of everything except closed rows: items, priorities, counts, the open row."""
        first, next_tick = self.live_ticks()
        state: TableState = {
            'first_tick': first,
            'next_tick': next_tick,
            'tables': {name: table.get_state() for name, table in self._tables.items()},
        }
        if self._door.is_needed:
            state['door'], state['gates'] = self._door.get_state(), self._gates.get_state()
        if self._rows.is_open:
            state['open_row'] = self._rows.read(next_tick, next_tick + 1, of_open_row=True)
        return state

    def set_state(
        self,
        state: TableState,
        rows: Iterable[tuple[int, Arrays]],
        lost: Sequence[tuple[int, int]] = (),
    ) -> int:
        """Restores a checkpoint, exactly if no rows are lost.

        Args:
            state: the result of `get_state`.
            rows: (start tick, arrays of `read_rows`), in order; together with `lost` they cover at least
                [first_tick, next_tick).
            lost: [start, stop) of ticks with lost rows, in order. Items and open windows that need them are
                dropped; the others stay.
        Returns: how many items are dropped.
        Raises: ValueError that names a field that does not fit this experiment, or missing rows.
        """
        names = list(state['tables'])
        if names != list(self._tables):
            known = list(self._tables)
            raise ValueError(f"checkpoint field 'tables' must have {known}, got {names}.")
        first, next_tick = int(state['first_tick']), int(state['next_tick'])
        if not 0 <= first <= next_tick:
            raise ValueError(
                f"checkpoint field 'first_tick' must be in [0, {next_tick}], got {first}."
            )
        num_ticks = self._rows.num_ticks
        while next_tick >= first + num_ticks:
            num_ticks *= 2
        self._rows.resize_empty(num_ticks)
        covered = [*lost]
        for start, arrays in rows:
            begin, end = max(start, first), min(start + len(arrays['step_type']), next_tick)
            if begin < end:
                wanted = slice(begin - start, end - start)
                self._rows.write(begin, {path: leaf[wanted] for path, leaf in arrays.items()})
                covered.append((begin, end))
        reached = first
        for begin, end in sorted(covered):
            reached = max(reached, end) if begin <= reached else reached
        if reached < next_tick:
            raise ValueError(
                f'checkpoint rows must reach from tick {first} to {next_tick}, got up to {reached}.'
            )
        open_row = state.get('open_row')
        if open_row is not None:
            self._rows.write(next_tick, open_row, of_open_row=True)
        self._rows.restart(next_tick, open_row is not None)
        for name, table in self._tables.items():
            table.set_state(state['tables'][name])
        self._full_at = 0
        if self._door.is_needed:
            self._door.set_state(state['door'])
            self._gates.set_state(state['gates'])
        # No item needs rows before `first`, so their loss does not matter.
        lost = [(begin, end) for begin, end in lost if end > first]
        dropped = {name: table.drop(lost) if lost else 0 for name, table in self._tables.items()}
        for name, num in dropped.items():
            self._gates.forget(name, num)
        return sum(dropped.values())


class _JoinedTables:
    """Several tables of one rule, as its updates read them."""

    def __init__(self, experience: RuleExperience, own: dict[str, '_OneTable']) -> None:
        self._experience = experience
        self._tables = own

    def due(self, updates: int = 1) -> bool:
        return all(table.due(updates) for table in self._tables.values())

    def draw(self) -> Draw:
        return join_draws(
            self._experience, {name: table.draw() for name, table in self._tables.items()}
        )

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        for name, numbers, raw in divide_priorities(
            self._experience, self._tables, keys, priorities
        ):
            self._tables[name].update_priorities(numbers, raw)


class _OneTable:
    """The parts that belong to one table of an experience; of a lone one, the reader too."""

    def __init__(self, name: str, table: Table, rows: Rows, seed: int, rule: int) -> None:
        num_lanes = rows.num_lanes
        self.name = name
        self.cutter = make_cutter(table.window, num_lanes, rows.row_spec)
        self.items: ItemStore
        self.by_tick = isinstance(table, Replay) and table.by_tick
        self._priority = None
        self._padded_to = 0
        if isinstance(table, Queue):
            self.items = QueueItems(name, table, num_lanes)
        else:
            assert isinstance(table, Replay)
            self.items = ReplayItems(name, table, num_lanes, seed)
            self._priority = table.priority if table.prioritised else None
            self._padded_to = table.capacity if table.draw == 'all' else 0
        uniform = isinstance(table, Replay) and not table.prioritised and table.draw == 'sample'
        self._gather = Gather(
            rows,
            table.window,
            with_lengths=may_be_short(table.window) or self._padded_to > 0,
            with_probability=not uniform,
            rule=rule,
        )
        self._rows = rows
        self._length = table.window.length
        self._num_lanes = num_lanes

    def insert(self, items: Items) -> None:
        priorities = None
        if self._priority is not None:
            codes = items.start * self._num_lanes + items.lane
            ones = np.ones(len(codes), np.float32)
            new = self._gather(codes, items.length, ones, len(codes)).unpack()
            priorities = np.asarray(self._priority(new.steps))
        self.items.insert(items, priorities)

    def due(self, updates: int = 1) -> bool:
        return self.items.due(updates)

    def draw(self) -> Draw:
        numbers, codes, lengths, probability, size = self.items.draw()
        batch = self._gather(codes, lengths, probability, size)
        if len(numbers) < self._padded_to:
            batch = pad(batch, self._padded_to)
            numbers = np.concatenate([numbers, np.full(self._padded_to - len(numbers), -1)])
        return Draw(numbers, batch)

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        if priorities is not None:
            self.items.update_priorities(keys, priorities)

    def first_live(self, next_tick: int) -> int:
        """The oldest tick that an item or a window still open at `next_tick` needs."""
        # An item or window begins at most a length before its end, and items are removed in the
        # order of their ends.
        oldest_end = self.items.oldest_end()
        end = next_tick if oldest_end is None else min(oldest_end, next_tick)
        return max(end - self._length, 0)

    def get_state(self) -> dict[str, Any]:
        return {'cutter': self.cutter.get_state(), 'items': self.items.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        self.cutter.set_state(state['cutter'])
        self.items.set_state(state['items'])

    def drop(self, lost: Sequence[tuple[int, int]]) -> int:
        """Drops items and open windows that need lost rows. Returns: how many items."""

        def are_lost(codes: NDArray[Any], lengths: NDArray[Any]) -> NDArray[Any]:
            start = codes // self._num_lanes
            # A stack of frames reaches back. If the row that says how far is lost, so is the item.
            return meets(start - self._rows.ages(codes), start + lengths, lost)

        self.cutter.skip_before(lost[-1][1], self._rows.max_frames - 1)
        return self.items.drop(are_lost)


def _first_ticks(table: Table, num_lanes: int) -> int:
    """Ticks that a table's items reach back, with a margin, since no item starts at LAST."""
    if isinstance(table, Replay):
        items = table.capacity
    else:
        assert isinstance(table, Queue)
        items = (table.max_size + 1) * (table.batch_size or num_lanes)
    ticks = -(-items * table.window.period // num_lanes)
    return ticks + ticks // 8 + 2 * table.window.length + _SLACK
