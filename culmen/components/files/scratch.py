"""Temporary folders that end with their process or, if it was killed, are removed by the next one.

Only its user can access a folder, and it is locked while its process lives. The kernel releases the lock
however a process ends, so a folder without an owner is recognised, and removed when the next one is made.
"""

import os
import re
import shutil
import stat
import tempfile
import time
import weakref
from pathlib import Path
from typing import IO

KINDS = ('program', 'reverb')
# Strict, so that no folder of a user is taken for one of these.
_NAME = re.compile(rf'culmen-({"|".join(KINDS)})-[a-z0-9_]{{8}}')
_LOCK = 'lock'
_UNLOCKED_SECONDS = (
    86_400.0  # after which a folder without a lock is abandoned: its maker was killed
)
_LONGEST_SOCKET = 104  # bytes of a path with its final zero, on macOS; on Linux 108


class Scratch:
    """A folder of mode 0700 until `close`, or until the process ends."""

    def __init__(self, kind: str, longest_name: int | None = None) -> None:
        """Makes the folder, and removes those that other processes of this user have left.

        Args:
            kind: one of `KINDS`.
            longest_name: bytes of the longest name of a socket in it. Paths of sockets have to be short, so a
                long TMPDIR is not used; None: no sockets.
        """
        remove_abandoned()
        for parent in _parents():
            self.path = Path(tempfile.mkdtemp(prefix=f'culmen-{kind}-', dir=parent))
            lock = open(self.path / f'{_LOCK}-new', 'wb')
            _try_lock(lock)
            os.rename(lock.name, self.path / _LOCK)  # it gets this name only once it is locked
            self.close = weakref.finalize(self, _remove, self.path, lock)
            length = len(os.fsencode(self.path)) + 1 + (longest_name or 0)
            if longest_name is None or length < _LONGEST_SOCKET:
                return
            self.close()
        raise OSError(f'no temporary folder has a path short enough for a socket, got {self.path}.')


def _parents() -> list[str]:
    return list(dict.fromkeys([tempfile.gettempdir(), '/tmp']))


def _remove(path: Path, lock: IO[bytes]) -> None:
    shutil.rmtree(path, ignore_errors=True)
    lock.close()


def _try_lock(file: IO[bytes]) -> bool:
    import fcntl  # missing on Windows, where this is not used

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def remove_abandoned() -> None:
    """Removes folders of this user that ended processes have left behind."""
    for parent in _parents():
        for path in Path(parent).glob('culmen-*'):
            if _NAME.fullmatch(path.name) and _is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(path: Path) -> bool:
    try:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or stat.S_IMODE(found.st_mode) != 0o700:
            return False
        if found.st_uid != os.getuid():
            return False
        if not (path / _LOCK).exists():
            return time.time() - found.st_mtime > _UNLOCKED_SECONDS
        with open(path / _LOCK, 'rb') as lock:
            return _try_lock(lock)
    except OSError:  # it was removed meanwhile
        return False
