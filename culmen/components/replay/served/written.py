"""The state of a writer for one table: its windows, their priorities or order, and what they wait for."""

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.served.history import History
from culmen.components.replay.served.layout import ItemLayout
from culmen.components.replay.served.layout import RowLayout
from culmen.components.replay.served.rules import is_ordered
from culmen.components.replay.served.rules import table_name
from culmen.components.replay.stream.priorities import RawPriorities
from culmen.components.replay.stream.starts import make_cutter
from culmen.components.replay.stream.windows import Items
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Table
from culmen.core.experience import Window
from culmen.core.experience import table_label
from culmen.core.staleness import late_by_overlap
from culmen.core.types import FIRST
from culmen.core.types import Lanes


class Written:
    """The state of a writer for one table."""

    def __init__(
        self,
        name: str,
        table: Table,
        rows: RowLayout,
        lanes: Lanes,
        first_windows: NDArray[Any] | None,
        single_writer: bool,
    ) -> None:
        self.name = name
        self.server_name = table_name(name)
        self.window: Window = table.window
        self._lanes = np.asarray(lanes.index, np.int64)
        self._total = int(lanes.total)
        num_lanes = len(self._lanes)
        self.cutter = make_cutter(table.window, num_lanes, rows.row_spec)
        assert isinstance(table, Replay | Queue)
        self.layout = ItemLayout(rows, table)
        self._is_lag_bounded = isinstance(table, Replay) and table.max_lag is not None
        self.at_once = single_writer or isinstance(table, Queue) or self._is_lag_bounded
        self.by_tick = isinstance(table, Replay) and table.by_tick
        self._untold = 0  # items since the last `take_untold`
        self.has_new = False  # whether a window has become an item since the last action
        self.raw: RawPriorities | None = None
        self.priority = None
        self._order: Callable[[Items], Any] = self._by_arrival
        self._bound: int | None = None
        self._batch_size = 1
        if isinstance(table, Replay):
            if table.prioritised:
                self.raw = RawPriorities(table_label(name), table)
                self.priority = table.priority
            elif table.draw == 'all' and single_writer:
                self._order = self._by_insertion
        elif isinstance(table, Queue):
            self._batch_size = self._total if table.batch_size is None else table.batch_size
            if is_ordered(table, self._total):
                self._order = self._by_window
                most = max(table.max_size, late_by_overlap(table))
                self._bound = (
                    most if table.max_staleness is None else min(most, table.max_staleness)
                )
            elif single_writer:
                self._order = self._by_stream
        self.needed_version = 0
        # Counts for each lane: windows that became items, and windows begun.
        start = np.zeros(num_lanes, np.int64) if first_windows is None else first_windows
        self._emitted = np.array(start, np.int64)
        self._begun = self._emitted.copy()
        self._inserted = 0

    def priorities(self, items: Items, rows: Any, is_open: bool) -> Any:
        """The server's priorities of new items: raw priorities, or places in the order of a queue."""
        num = len(items.lane)
        self._untold += num
        if self.raw is None:
            order = self._order(items)
            np.add.at(self._emitted, items.lane, 1)
            self._inserted += num
            return order
        if self.priority is None:
            return np.full(num, self.raw.largest)
        histories = {lane: History(rows, lane) for lane in np.unique(items.lane).tolist()}
        of_items = [
            self.layout.columns(histories[lane], length, is_open)
            for lane, length in zip(items.lane.tolist(), items.length.tolist())
        ]
        batch = self.layout.assemble(of_items, np.ones(num, np.float32), num).unpack()
        return self.raw.check(np.asarray(self.priority(batch.steps)), num)

    def take_untold(self) -> int:
        """How many items were made since the last call."""
        untold, self._untold = self._untold, 0
        return untold

    def _by_arrival(self, items: Items) -> Any:
        return np.zeros(len(items.lane))

    def _by_insertion(self, items: Items) -> Any:
        return self._inserted + np.arange(len(items.lane))

    def _by_stream(self, items: Items) -> Any:
        """Orders items by the tick of the last step, then by lane and start."""
        length = self.window.length
        end = items.start + items.length
        return (end * self._total + self._lanes[items.lane]) * (length + 1) + length - items.length

    def _by_window(self, items: Items) -> Any:
        """Orders items by the number of the window in its lane, then by lane."""
        before = np.zeros(len(items.lane), np.int64)
        seen: collections.Counter[int] = collections.Counter()
        for i, lane in enumerate(items.lane.tolist()):
            before[i] = seen[lane]
            seen[lane] += 1
        return (self._emitted[items.lane] + before) * self._total + self._lanes[items.lane]

    def begin_windows(self, step_type: NDArray[Any]) -> None:
        """Counts the windows that begin at the open row, and sets the version needed to act on it."""
        if self._bound is None:
            return
        state, begins = self.cutter.get_state(), self.cutter.may_begin()
        since = state['tick'] - state['origin']
        # An interruption drops open windows, which then begin again.
        interrupted = (step_type == FIRST) & (since == 0)
        self._begun[interrupted] = self._emitted[interrupted]
        if begins.any():
            # A window's own place gives the update that it is for. The first place of its number would
            # make staleness larger by one if a batch is not a multiple of the lanes.
            places = self._begun[begins] * self._total + self._lanes[begins]
            needed = int(places.max()) // self._batch_size - self._bound
            self.needed_version = max(self.needed_version, needed)
        self._begun[begins] += 1

    def awaits_updates(self) -> bool:
        """Whether a hand-off is due before the action on the open row, in a Replay with max_lag."""
        if not self._is_lag_bounded:
            return False
        has_new, self.has_new = self.has_new, False
        return has_new or bool(self.cutter.may_begin().any())

    def get_state(self) -> dict[str, Any]:
        return {
            'cutter': self.cutter.get_state(),
            'emitted': self._emitted.copy(),
            'begun': self._begun.copy(),
            'inserted': self._inserted,
            'needed_version': self.needed_version,
            'untold': self._untold,
            'largest_priority': None if self.raw is None else self.raw.largest,
        }

    def set_state(self, state: dict[str, Any], next_windows: NDArray[Any] | None) -> None:
        self.cutter.set_state(state['cutter'])
        self._emitted = np.array(state['emitted'], np.int64)
        self._begun = np.array(state['begun'], np.int64)
        if next_windows is not None and self._order == self._by_window:
            self._begun += next_windows - self._emitted
            self._emitted = np.array(next_windows, np.int64)
        self._inserted = int(state['inserted'])
        self._untold = int(state.get('untold', 0))
        self.needed_version = int(state['needed_version'])
        if self.raw is not None:
            self.raw.see_one(float(state['largest_priority']))
