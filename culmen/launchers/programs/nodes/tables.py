"""The tables of the replay's node, as a Checkpointer of the learner's node saves them."""

from pathlib import Path
from typing import Any

from culmen.launchers.programs.pieces import copy
from culmen.launchers.programs.remote import Remote


class NearTables:
    """Tables of a replay on this machine, which writes them itself."""

    def __init__(self, replay: Remote) -> None:
        """Args: replay: the node."""
        self._replay = replay

    def checkpoint(self, folder: Path) -> Any:
        """Saves them to a new folder. Returns: bytes and checksum of each file."""
        return self._replay.checkpoint(str(folder))


class FarTables(NearTables):
    """Tables of a replay on another host, from which their files are read in pieces."""

    def checkpoint(self, folder: Path) -> Any:
        """Saves them to a new folder. Returns: bytes and checksum of each file."""
        files = self._replay.write()
        copy({name: each['bytes'] for name, each in files.items()}, self._replay.read, folder)
        self._replay.forget()
        return files
