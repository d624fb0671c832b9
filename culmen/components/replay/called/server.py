"""The server: the tables of an experience in plain Python, for callers in other threads and processes.

It keeps items as Reverb does: of slices of columns of bytes. A row is held once, whichever items have it, and
as long as one has it. Writers wait by the same rules (`served/rules.py`); draws have a seed.
"""

import collections
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from culmen.components.replay.called import saving as files
from culmen.components.replay.called.connection import Drawn
from culmen.components.replay.called.connection import NewItem
from culmen.components.replay.called.connection import NewRows
from culmen.components.replay.called.connection import Slice
from culmen.components.replay.called.items import DrainedTable
from culmen.components.replay.called.items import Item
from culmen.components.replay.called.items import SampledTable
from culmen.components.replay.served.connection import Stored
from culmen.components.replay.served.rules import Lead
from culmen.components.replay.served.rules import check_tables
from culmen.components.replay.served.rules import table_name
from culmen.components.replay.served.saving import Files
from culmen.components.replay.served.saving import measure
from culmen.components.replay.served.saving import saving
from culmen.core.experience import Experience
from culmen.core.experience import Replay

_ROOM_SECONDS = 0.1  # for which a call waits for room; then the writer looks whether to stop


class CalledServer:
    """Keeps the tables of an experience for any number of writers and one reader. Thread-safe."""

    def __init__(
        self,
        experience: Experience,
        num_lanes: int,
        *,
        seed: int,
        lead: Lead = None,
        restore: str | os.PathLike[str] | None = None,
    ) -> None:
        """Makes the tables.

        Args:
            experience: a Replay, a Queue, or a dict of them.
            num_lanes: of the whole program.
            seed: of the draws.
            lead: by how many samples actors may be ahead of the learner, in every Replay; None: two
                batches and an insert; 'none': no insert waits, as in one process.
            restore: a folder that `checkpoint` wrote for the same experience.
        Raises: ValueError for a Dataset, and for a lead with which no batch would become due; DamagedError
            for files that are not what was written.
        """
        self._tables: dict[str, SampledTable | DrainedTable] = {
            table_name(name): SampledTable(name, table, lead, seed)
            if isinstance(table, Replay) and table.draw == 'sample'
            else DrainedTable(table, num_lanes, lead)
            for name, table in check_tables(experience).items()
        }
        self._columns: dict[str, tuple[str, ...]] = {}  # of the slices of the items of each table
        self._streams: dict[int, _Stream] = {}
        self._changed = threading.Condition()
        if restore is not None:
            saved, columns = files.read(Path(restore))
            self._columns = dict(columns)
            for name, (state, items) in saved.items():
                self._tables[name].set_state(state, items)

    def put(self, first: int, session: str, new: NewRows, items: Sequence[NewItem]) -> int:
        """Takes rows and items of a writer, which are stored as soon as there is room.

        Args:
            first: the first lane of the writer.
            session: of the writer; another one has started again, and begins anew.
            new: rows of all its lanes; items: of these rows and those before.
        Returns: how many of its items wait.
        """
        with self._changed:
            stream = self._streams.get(first)
            if stream is None or stream.session != session:
                stream = self._streams[first] = _Stream(session)
            stream.add(new)
            for item in items:
                self._columns.setdefault(item.table, tuple(each.column for each in item.slices))
                stream.waiting.append((item.table, item.priority, stream.item(item)))
            stream.forget(new.keep)
            return self._store(stream)

    def await_room(self, first: int, session: str) -> int:
        """Waits for a moment until items of a writer are stored. Returns: how many still wait."""
        with self._changed:
            stream = self._streams.get(first)
            if stream is None or stream.session != session:
                return 0  # they are lost with the tables that had them
            before = len(stream.waiting)
            if before and self._store(stream) == before:
                self._changed.wait(_ROOM_SECONDS)
                self._store(stream)
            return len(stream.waiting)

    def _store(self, stream: '_Stream') -> int:
        """Stores items of a writer, in order, while there is room. Returns: how many wait."""
        waiting = stream.waiting
        while waiting and self._tables[waiting[0][0]].has_room():
            table, priority, item = waiting.popleft()
            self._tables[table].insert(item, priority)
        return len(waiting)

    def get_stored(self) -> dict[str, Stored]:
        """What there is, by table."""
        with self._changed:
            return {name: table.stored() for name, table in self._tables.items()}

    def draw(self, table: str, num: int) -> Drawn:
        """Draws items, a batch of a Replay, and of a Queue those that come next.

        Raises: RuntimeError if there are too few.
        """
        with self._changed:
            drawn = self._tables[table].draw(num)
            self._changed.notify_all()
            return drawn

    def set_priorities(self, table: str, keys: NDArray[Any], priorities: NDArray[Any]) -> None:
        """Sets raw priorities by key; items that are gone are skipped."""
        with self._changed:
            self._tables[table].set_priorities(keys, priorities)

    def checkpoint(self, folder: str | os.PathLike[str]) -> Files:
        """Writes items, priorities and counts, completely or not at all.

        Does not include items that wait for room, or rows of no item.

        Args: folder: a new one.
        Returns: bytes and crc32 by file. Raises: OSError that names the folder.
        """
        with self._changed, saving(Path(folder)) as temporary:
            states = {name: table.get_state() for name, table in self._tables.items()}
            files.write(temporary, states, self._columns)
            return measure(temporary)

    def stop(self) -> None:
        """Nothing is held but memory."""


class _Stream:
    """The newest rows of a writer's lanes, and its items for which there is no room yet."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.waiting: collections.deque[tuple[str, float, Item]] = collections.deque()
        self._begins: dict[str, int] = {}
        self._rows: dict[str, list[list[bytes]]] = {}

    def add(self, new: NewRows) -> None:
        for column, of_lanes in new.rows.items():
            begin, known = new.begins[column], self._rows.get(column)
            if known is None or self._begins[column] + len(known[0]) != begin:
                self._begins[column] = begin
                self._rows[column] = [list(rows) for rows in of_lanes]
                continue
            for own, rows in zip(known, of_lanes, strict=True):
                own.extend(rows)

    def item(self, new: NewItem) -> Item:
        return tuple(self._cut(each, new.place) for each in new.slices)

    def _cut(self, each: Slice, place: int) -> Sequence[bytes]:
        begin = self._begins[each.column]
        found = self._rows[each.column][place][each.begin - begin : each.end - begin]
        assert each.begin >= begin and len(found) == each.end - each.begin, 'rows are not there'
        return tuple(found)

    def forget(self, keep: int) -> None:
        """Drops rows of which no further item is made."""
        for column, of_lanes in self._rows.items():
            too_many = len(of_lanes[0]) - keep
            if too_many > 0:
                self._begins[column] += too_many
                for rows in of_lanes:
                    del rows[:too_many]
