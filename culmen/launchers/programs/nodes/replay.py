"""The node of the tables: a Reverb server, which other nodes call at its own address."""

import shutil
from pathlib import Path
from typing import Any

from culmen.components.replay import reverb as reverb_replay
from culmen.core.experience import Experience
from culmen.launchers.programs.pieces import read_piece
from culmen.launchers.programs.stops import Stop


class ReplayNode:
    """Serves the tables until the program ends."""

    def __init__(
        self,
        *,
        stop: Stop,
        experience: Experience,
        num_lanes: int,
        lead: float,
        port: int | None = None,
        restore: Path | None = None,
        before: int | None = None,
    ) -> None:
        """Starts the server.

        Args:
            stop: ends `run`.
            experience: of the agent.
            num_lanes: of the whole program.
            lead: by how many samples the actors may be ahead of the learner.
            port: of the server; None: a free one.
            restore: the folder that `checkpoint` wrote.
            before: items that were inserted ever, before the tables went back to `restore`; None: not known.
        """
        self._stop = stop
        self._written: Path | None = None
        self._server = reverb_replay.ReverbServer(
            experience, num_lanes, lead=lead, port=port, restore=restore
        )
        self._dropped = 0 if before is None else max(before - self.get_inserted(), 0)

    def get_address(self) -> str:
        """The address of the server, for writers and readers."""
        return self._server.address

    def get_inserted(self) -> int:
        """How many items were inserted ever, into all tables."""
        return sum(
            int(each.rate_limiter_info.insert_stats.completed)
            for each in self._server.info().values()
        )

    def take_dropped(self) -> int:
        """How many items were lost when the tables went back to a checkpoint; 0 from the second call on."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def checkpoint(self, folder: str) -> Any:
        """Writes the tables to a new folder; returns its files with their sizes and checksums."""
        return self._server.checkpoint(Path(folder))

    def write(self) -> Any:
        """As `checkpoint`, to a temporary folder of this host, whose files `read` gives."""
        self._written = self._server.new_folder()
        return self._server.checkpoint(self._written)

    def read(self, name: str, offset: int) -> bytes:
        """A piece of a file that `write` wrote, from an offset on."""
        assert self._written is not None, 'nothing is written'
        return read_piece(self._written, name, offset)

    def forget(self) -> None:
        """Removes what `write` wrote."""
        if self._written is not None:
            shutil.rmtree(self._written, ignore_errors=True)
        self._written = None

    def run(self) -> None:
        """Serves until the program ends."""
        self._stop.wait()
        self._server.stop()
