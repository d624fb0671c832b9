"""The Reverb table of one process: a server, the writer of all lanes and the reader in one table."""

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.reverb.ends import ReverbReader
from culmen.components.replay.reverb.ends import ReverbWriter
from culmen.components.replay.reverb.server import ReverbServer
from culmen.components.replay.served.saving import Files
from culmen.components.replay.stream.gates import Gates
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.experience import LONE
from culmen.core.experience import Experience
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.core.types import Version
from culmen.core.workers import Draw
from culmen.core.workers import Reader


class ReverbTable:
    """Keeps the windows of B lanes in a Reverb server of its own, and gives batches of them.

    It has the same items and the same rate as the in-process table, but draws have no seed. It never waits.
    """

    def __init__(self, experience: Experience, row_spec: RowSpec, num_lanes: int) -> None:
        """Starts the server.

        Args:
            experience: a Replay, a Queue, or a dict of them over one stream.
            row_spec: of the stream.
            num_lanes: B.
        Raises: ImportError that says what installs Reverb; ValueError for a Dataset, and for an
            unknown path in `Window.fields`, `ends` or `first`.
        """
        self._experience, self._row_spec = experience, row_spec
        self._num_lanes = num_lanes
        self._start(None)

    def _start(self, restore: Path | None) -> None:
        rows = self._experience, self._row_spec
        self._server = ReverbServer(self._experience, self._num_lanes, lead='none', restore=restore)
        try:
            lanes = Lanes(np.arange(self._num_lanes, dtype=np.int32), self._num_lanes)
            address = self._server.address
            self._reader = ReverbReader(
                *rows, self._num_lanes, address, lead='none', info=self._server.info
            )
            self._gates = Gates(self._experience, self._num_lanes)
            self._writer = ReverbWriter(
                *rows,
                lanes,
                address,
                single_writer=True,
                tell_ended=self._reader.tell_ended,
                gates=self._gates,
            )
        except BaseException:
            self._server.stop()
            raise
        self._prioritised = bool(self._reader.largest_priorities)
        self._close = weakref.finalize(self, _close, self._writer, self._reader, self._server)

    @property
    def port(self) -> int:
        """The port of the server, which listens on every interface."""
        return self._server.port

    @property
    def held(self) -> NDArray[np.bool_] | None:
        """bool[B]: lanes at FIRST that wait, whose environments are not stepped; None: none."""
        return self._writer.held

    def observe(self, timestep: TimeStep) -> None:
        """Opens a row in every lane; windows that end here become items.

        Args:
            timestep: of B lanes, leaves [B, ...].
        Raises: ValueError that names a leaf that does not fit; RuntimeError if `act` is due.
        """
        self._writer.observe(timestep)

    def act(self, action: Nest, extras: Nest, version: Version) -> None:
        """Closes the rows; windows that LAST cuts short become items.

        Args:
            action, extras: of B lanes, leaves [B, ...].
            version: updates that made the parameters that acted; of several rules, of each.
        Raises: ValueError that names a leaf that does not fit; RuntimeError if `observe` is due.
        """
        self._writer.act(action, extras, version)

    def reader(self, rule: str) -> Reader:
        """The side from which a rule's updates read: the tables of that rule. A lone rule has the name ''."""
        return _Rule(self, rule)

    def of_rule(self, rule: str) -> Reader:
        """The reader of a rule in the present server, which `set_state` replaces."""
        return self._reader.reader(rule)

    def tell_largest(self) -> None:
        """Tells the writer the largest priorities so far."""
        if self._prioritised:
            self._writer.set_largest_priorities(self._reader.largest_priorities)

    def due(self, updates: int = 1) -> bool:
        """Whether this many further updates of a lone rule are due in every table."""
        return self.of_rule(LONE).due(updates)

    def draw(self) -> Draw:
        """Draws a batch for one update of a lone rule from every table.

        Returns: the items' keys [B], and a Packed Sample; dicts of them for a dict of tables.
        Raises: RuntimeError if none is due.
        """
        return self.of_rule(LONE).draw()

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        """Sets raw priorities of items that a lone rule has drawn. Skips items that have been removed.

        Args:
            keys: of a draw.
            priorities: float[B], finite and at least 0, or None; mirrors the experience.
        Raises: ValueError that names the table, for priorities of a uniform table or a Queue, and for
            priorities out of range.
        """
        self.reader(LONE).update_priorities(keys, priorities)

    def checkpoint(self, folder: str | os.PathLike[str]) -> Files:
        """Writes items, priorities and the limiters' counts to a new folder, completely or not at all.

        Returns: bytes and crc32 by file. Raises: OSError that names the folder.
        """
        self._writer.flush()
        return self._server.checkpoint(folder)

    def get_state(self) -> dict[str, Any]:
        """What the server does not keep, such as the streams' newest rows, as arrays and plain values."""
        return {
            'writer': self._writer.get_state(),
            'reader': self._reader.get_state(),
            'gates': self._gates.get_state(),
        }

    def set_state(self, state: dict[str, Any], folder: str | os.PathLike[str] | None) -> int:
        """Restores the items, priorities and counts of a checkpoint.

        Args:
            state: the result of `get_state`.
            folder: that `checkpoint` wrote with it; None: it is lost, and the tables start empty.
        Returns: how many items are lost.
        Raises: ValueError that names the tables, if they are not those of this experience.
        """
        self.close()
        self._start(None if folder is None else Path(folder))
        lost = self._reader.set_state(state['reader'], lost=folder is None)
        if 'gates' in state:  # of an earlier version there are none, and no lane waits
            self._gates.set_state(state['gates'])
        if folder is None:
            for name, of_table in state['reader'].items():
                self._gates.forget(name, int(of_table.get('stored', 0)))
        self._writer.set_state(
            state['writer'], self._reader.next_windows() if folder is None else None
        )
        return lost

    def close(self) -> None:
        """Stops the server. A second call does nothing."""
        self._close()


class _Rule:
    """The tables of one rule, as its updates read them, whichever server has them."""

    def __init__(self, table: ReverbTable, rule: str) -> None:
        self._table, self._rule = table, rule

    def due(self, updates: int = 1) -> bool:
        return self._table.of_rule(self._rule).due(updates)

    def draw(self) -> Draw:
        return self._table.of_rule(self._rule).draw()

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        self._table.of_rule(self._rule).update_priorities(keys, priorities)
        self._table.tell_largest()


def _close(writer: ReverbWriter, reader: ReverbReader, server: ReverbServer) -> None:
    try:
        writer.close()
        reader.close()
    finally:
        server.stop()
