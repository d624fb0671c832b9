"""The node of the tables: a server of items, which actors write to and the learner draws from.

Two kinds of server can be there, as `Program.replay` says: Reverb's, which others reach at an address of its
own, and that of plain Python, whose methods others call as those of any node.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from culmen.components.files import Scratch
from culmen.components.replay import reverb as reverb_replay
from culmen.components.replay.called import CalledConnection
from culmen.components.replay.called import CalledServer
from culmen.components.replay.reverb.engine import Connection as ReverbConnection
from culmen.components.replay.served import Connection
from culmen.core.experience import Experience
from culmen.launchers.programs.pieces import read_piece
from culmen.launchers.programs.remote import Remote
from culmen.launchers.programs.stops import Stop

REVERB, IN_PROCESS = 'reverb', 'in_process'
KINDS = (REVERB, IN_PROCESS)


class ReplayNode:
    """Serves the tables until the program ends."""

    def __init__(
        self,
        *,
        stop: Stop,
        kind: str = REVERB,
        experience: Experience,
        num_lanes: int,
        lead: float,
        seed: int = 0,
        port: int | None = None,
        restore: Path | None = None,
        before: int | None = None,
    ) -> None:
        """Starts the server.

        Args:
            stop: ends `run`.
            kind: of the server, REVERB or IN_PROCESS.
            experience: of the agent.
            num_lanes: of the whole program.
            lead: by how many samples the actors may be ahead of the learner.
            seed: of the draws, IN_PROCESS.
            port: of Reverb's server; None: a free one.
            restore: the folder that `checkpoint` wrote.
            before: items that were inserted ever, before the tables went back to `restore`; None: not known.
        """
        self._stop = stop
        self._scratch: Scratch | None = None  # of what `write` wrote
        self._server: reverb_replay.ReverbServer | CalledServer
        if kind == REVERB:
            self._server = reverb_replay.ReverbServer(
                experience, num_lanes, lead=lead, port=port, restore=restore
            )
            self.get_address = lambda: self._server.address  # for writers and readers
        else:
            self._server = server = CalledServer(
                experience, num_lanes, lead=lead, seed=seed, restore=restore
            )
            self.put, self.await_room = server.put, server.await_room
            self.get_stored, self.draw = server.get_stored, server.draw
            self.set_priorities = server.set_priorities
        self._dropped = 0 if before is None else max(before - self.get_inserted(), 0)

    def get_inserted(self) -> int:
        """How many items were inserted ever, into all tables."""
        return sum(each.inserted for each in self._server.get_stored().values())

    def take_dropped(self) -> int:
        """How many items were lost when the tables went back to a checkpoint; 0 from the second call on."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def checkpoint(self, folder: str) -> Any:
        """Writes the tables to a new folder; returns its files with their sizes and checksums."""
        return self._server.checkpoint(Path(folder))

    def write(self) -> Any:
        """As `checkpoint`, to a temporary folder of this host, whose files `read` gives."""
        self._scratch = Scratch('program')
        return self._server.checkpoint(self._scratch.path / 'tables')

    def read(self, name: str, offset: int) -> bytes:
        """A piece of a file that `write` wrote, from an offset on."""
        assert self._scratch is not None, 'nothing is written'
        return read_piece(self._scratch.path / 'tables', name, offset)

    def forget(self) -> None:
        """Removes what `write` wrote."""
        if self._scratch is not None:
            self._scratch.close()
        self._scratch = None

    def run(self) -> None:
        """Serves until the program ends."""
        self._stop.wait()
        self._server.stop()


def prepare(kind: str) -> None:
    """Imports what a connection to such a server needs, which is slow, while the server starts."""
    if kind == REVERB:
        reverb_replay.require_reverb()


def connect(kind: str, replay: Remote, stop: Callable[[], bool]) -> Connection:
    """The connection of a writer or a reader. Args: kind: of the server; stop: ends every wait."""
    if kind == REVERB:
        return ReverbConnection(replay.get_address(), stop)
    return CalledConnection(replay, stop)
