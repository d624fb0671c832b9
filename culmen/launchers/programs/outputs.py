"""Brings the output of nodes on other hosts to the workdir, in logs/HOST/NODE.log, at the end of a program.

A host's command calls `send_outputs` with a call of the main host's service, which calls `Outputs.take`.
"""

import re
from collections.abc import Callable
from pathlib import Path

MOST_BYTES = 64 << 20  # of a file; of a longer one the newest are sent
PIECE_BYTES = 1 << 20
_NAME = re.compile(r'\w[\w.-]*', re.ASCII)
_ENDING = '.log'


class Outputs:
    """Receives the output of other hosts. What a host sends lands in its own folder and nowhere else."""

    def __init__(self, logs: Path) -> None:
        """Args: logs: the folder of the program's logs."""
        self._logs = logs

    def take(self, host: str, name: str, begin: int, data: bytes) -> None:
        """Receives a piece of a file; the first piece replaces what an earlier launch left.

        Args:
            host, name: of the host and of the file, which ends in .log.
            begin: where the piece begins in what is sent.
            data: the piece.
        Raises: ValueError that names what is not accepted.
        """
        for what, given in (('host', host), ('name', name)):
            if not isinstance(given, str) or not _NAME.fullmatch(given):
                raise ValueError(
                    f'{what} must be of letters, digits, dots and dashes, got {given!r:.80}.'
                )
        if not name.endswith(_ENDING):
            raise ValueError(f'name must end in {_ENDING}, got {name!r:.80}.')
        if begin < 0 or begin + len(data) > MOST_BYTES:
            raise ValueError(f'{name} of {host} must have at most {MOST_BYTES:,} bytes.')
        folder = self._logs / host
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / name, 'wb' if begin == 0 else 'r+b') as file:
            file.seek(begin)
            file.write(data)


def send_outputs(logs: Path, host: str, give: Callable[[str, str, int, bytes], object]) -> None:
    """Sends the output of all nodes that this host has started.

    Args: logs: the folder of their files; host: the name of this one; give: calls `Outputs.take`.
    """
    for path in sorted(logs.glob(f'*{_ENDING}')):
        with open(path, 'rb') as file:
            size = path.stat().st_size
            file.seek(max(size - MOST_BYTES, 0))
            begin = 0
            while (piece := file.read(min(PIECE_BYTES, MOST_BYTES - begin))) or begin == 0:
                give(host, path.name, begin, piece)
                begin += len(piece)
                if not piece:
                    break
