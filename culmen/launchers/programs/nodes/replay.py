"""The node of the tables: a Reverb server, which other nodes call at its own address."""

from pathlib import Path
from typing import Any

from culmen.components.replay import reverb as reverb_replay
from culmen.core.experience import Experience
from culmen.launchers.programs.remote import Stop


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
    ) -> None:
        """Starts the server.

        Args:
            stop: ends `run`.
            experience: of the agent.
            num_lanes: of the whole program.
            lead: by how many samples the actors may be ahead of the learner.
            port: of the server; None: a free one.
            restore: the folder that `checkpoint` wrote.
        """
        self._stop = stop
        self._server = reverb_replay.ReverbServer(
            experience, num_lanes, lead=lead, port=port, restore=restore
        )

    def get_address(self) -> str:
        """The address of the server, for writers and readers."""
        return self._server.address

    def checkpoint(self, folder: str) -> Any:
        """Writes the tables to a new folder; returns its files with their sizes and checksums."""
        return self._server.checkpoint(Path(folder))

    def run(self) -> None:
        """Serves until the program ends."""
        self._stop.wait()
        self._server.stop()
