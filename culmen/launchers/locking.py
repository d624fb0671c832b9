"""Locks the folders that a run writes to, by a file in each folder, so that no other run writes there.

The file names its owner (host and pid). Where the file system has flock, the kernel keeps the lock and
frees it when the owner dies, however that happens. Where the kernel can't tell (no flock, or an owner on
another host, whose mount may keep locks to itself), a process watches the file for a while: a living owner
touches it every few seconds. Only writers take the lock; readers need none, and ask `find_owner` whether a
run is under way.
"""

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.components.files import LOCK
from culmen.launchers.results import Refused

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_BEAT_SECONDS = 5.0
_WATCH_SECONDS = 16.0
_LOOK_SECONDS = 0.5
_PROBE_SECONDS = (
    0.002,
    0.01,
    0.05,
)  # between attempts, while another process may only ask who the owner is
_OPEN: 'weakref.WeakSet[FolderLock]' = weakref.WeakSet()


class Locks:
    """The locks of one run.

    `released_on_error` is for the preparation, in which a run can still be refused; `with` is for the run
    itself.
    """

    def __init__(
        self, beat_seconds: float = _BEAT_SECONDS, watch_seconds: float = _WATCH_SECONDS
    ) -> None:
        """Makes the locks without taking any.

        Args:
            beat_seconds: between touches of the files.
            watch_seconds: after which an owner that has not touched its file counts as dead.
        """
        self._beat_seconds, self._watch_seconds = beat_seconds, watch_seconds
        self._locks: dict[Path, FolderLock] = {}
        self._ended = threading.Event()
        self._beats: threading.Thread | None = None

    def take(self, *folders: Path | None) -> None:
        """Locks folders that the run writes to, all or none. Makes missing ones, and ignores None.

        Raises: Refused that names the owner of a folder, or a folder that can't be written to.
        """
        taken: list[Path] = []
        try:
            for folder in folders:
                if folder is not None:
                    if folder in self._locks:
                        raise Refused(f'{folder} can not be two of the folders of one run.')
                    lock = FolderLock(folder, self._watch_seconds)
                    try:
                        lock.take()
                    except OSError as error:
                        why = error.strerror or error
                        raise Refused(f'{folder} can not be written to: {why}.') from error
                    self._locks[folder] = lock
                    taken.append(folder)
        except BaseException:
            self.release(*taken)
            raise
        if self._locks and self._beats is None:
            self._beats = threading.Thread(target=self._beat, name='locks', daemon=True)
            self._beats.start()

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            for lock in list(self._locks.values()):
                lock.touch()

    def release(self, *folders: Path | None) -> None:
        """Releases these, or all. Removes a folder that was made for its lock and is empty."""
        for folder in reversed(folders or [*self._locks]):
            lock = None if folder is None else self._locks.pop(folder, None)
            if lock is not None:
                lock.release()
        if not self._locks and self._beats is not None:
            self._ended.set()
            self._beats.join()
            self._ended.clear()
            self._beats = None

    @contextlib.contextmanager
    def released_on_error(self) -> Iterator[None]:
        """Releases all if the block raises."""
        try:
            yield
        except BaseException:
            self.release()
            raise

    def __enter__(self) -> 'Locks':
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


class FolderLock:
    """The lock of one folder."""

    def __init__(self, folder: Path, watch_seconds: float) -> None:
        """Args: folder: `take` makes it if it is missing; watch_seconds: as for `Locks`."""
        self._folder = folder
        self._watch_seconds = watch_seconds
        self._path = folder / LOCK
        self._descriptor: int | None = None
        self._made: list[Path] = []
        self._owner: dict[str, Any] = {}

    def take(self) -> None:
        """Takes the lock. Raises: Refused that names the owner; OSError that names the file."""
        try:
            self._make_folder()
            self._acquire()
        except BaseException:
            self.release()
            raise
        _OPEN.add(self)

    def _make_folder(self) -> None:
        missing = []
        folder = self._folder
        while not folder.exists() and folder != folder.parent:
            missing.append(folder)
            folder = folder.parent
        self._folder.mkdir(parents=True, exist_ok=True)
        self._made = missing

    def _acquire(self) -> None:
        self._owner = {
            'host': socket.gethostname(),
            'pid': os.getpid(),
            'kernel': _kernel(),
            'since': time.strftime('%Y-%m-%d %H:%M:%S'),
            'token': uuid.uuid4().hex,
        }
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            held = _flock_patiently(descriptor)
            if held is False:
                owner = _read(self._path)
                os.close(descriptor)
                raise self._refusal(owner)
            # The last owner has removed the file meanwhile, so this lock is on a file without a name.
            if not _is_same(descriptor, self._path):
                os.close(descriptor)
                continue
            self._descriptor = descriptor
            owner = _read(self._path)
            known_dead = held and owner is not None and owner.get('kernel') == _kernel()
            if owner is not None and not known_dead:
                self._watch(owner)
            self._write()
            if held is None:
                # Two processes may have found the owner dead: the last one to write has the lock.
                time.sleep(min(_LOOK_SECONDS, self._watch_seconds))
                now = _read(self._path)
                if now is None or now.get('token') != self._owner['token']:
                    self._drop()
                    raise self._refusal(now)
            return

    def _watch(self, owner: dict[str, Any]) -> None:
        """Returns when the owner seems to be dead. Raises: Refused if it lives."""
        print(
            f'culmen: {self._path} is of {_describe(owner)}: looking for {self._watch_seconds:g} seconds '
            f'whether that is alive.',
            file=sys.stderr,
            flush=True,
        )
        before, until = _stamp(self._path), time.monotonic() + self._watch_seconds
        while time.monotonic() < until:
            time.sleep(min(_LOOK_SECONDS, self._watch_seconds))
            if _stamp(self._path) != before:
                self._drop()
                raise self._refusal(_read(self._path) or owner)

    def _refusal(self, owner: dict[str, Any] | None) -> Refused:
        who = 'another run' if owner is None else _describe(owner)
        return Refused(
            f'{self._folder} is in use by {who}; wait for its end, or choose another folder.'
        )

    def _write(self) -> None:
        assert self._descriptor is not None
        content = json.dumps(self._owner).encode() + b'\n'
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, content)
        os.fsync(self._descriptor)

    def touch(self) -> None:
        """Touches the file, to show that the owner lives."""
        with contextlib.suppress(OSError):
            os.utime(self._path)

    def _drop(self) -> None:
        """Closes the file without removing it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def release(self) -> None:
        """Releases the lock and removes the file. A second call does nothing."""
        if self._descriptor is not None:
            _OPEN.discard(self)
            with contextlib.suppress(OSError):
                self._path.unlink()  # while it is held: a process that waits then looks it up again
            self._drop()
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._made = []

    def leave_to_parent(self) -> None:
        """Drops the lock in a forked child: it is the parent's, and the child must not keep it alive."""
        self._drop()


class Owner(NamedTuple):
    """Who holds the lock of a folder, or held it when he died."""

    host: str
    pid: int
    since: str  # local time of that host
    lives: bool


def find_owner(folder: Path) -> Owner | None:
    """The owner that the lock of a folder names; None if the folder has no lock. Takes and writes nothing.

    Where the kernel can't tell whether he lives (see above), he lives if the file was touched in the last
    seconds, by the clock of this host.
    """
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        owner = _read(path)
        if owner is None:
            return None
        free = _flock(descriptor, shared=True) if owner.get('kernel') == _kernel() else None
        age = time.time() - os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
    pid = owner.get('pid')
    return Owner(
        str(owner.get('host', '?')),
        pid if type(pid) is int else 0,
        str(owner.get('since', '?')),
        age < _WATCH_SECONDS if free is None else not free,
    )


def _flock_patiently(descriptor: int) -> bool | None:
    """As `_flock`, but a process that only asks for the owner, and locks for microseconds, refuses no run."""
    held = _flock(descriptor)
    for seconds in _PROBE_SECONDS:
        if held is not False:
            break
        time.sleep(seconds)
        held = _flock(descriptor)
    return held


def _flock(descriptor: int, *, shared: bool = False) -> bool | None:
    """Whether the kernel gave the lock; None if the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in (
            errno.ENOLCK,
            errno.ENOSYS,
            errno.ENOTSUP,
            errno.EOPNOTSUPP,
            errno.EINVAL,
        ):
            return None
        raise


def _kernel() -> str:
    """Identifies a host since its last boot. Between processes with the same value flock can be trusted."""
    with contextlib.suppress(OSError):
        return Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    return socket.gethostname()


def _read(path: Path) -> dict[str, Any] | None:
    """The owner that a lock's file names; None if it names none."""
    try:
        owner = json.loads(path.read_bytes())
        return owner if isinstance(owner, dict) else None
    except (OSError, ValueError, RecursionError):
        return None


def _describe(owner: dict[str, Any]) -> str:
    host, pid, since = (str(owner.get(name, '?'))[:80] for name in ('host', 'pid', 'since'))
    return f'a run of pid {pid} on host {host}, since {since}'


def _stamp(path: Path) -> Any:
    """A value that changes when the file is touched. Opens the file, so that no network cache answers."""
    try:
        with open(path, 'rb') as file:
            status = os.fstat(file.fileno())
            return status.st_ino, status.st_mtime_ns, file.read()
    except OSError:
        return None


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _leave_to_parent() -> None:
    for lock in list(_OPEN):
        lock.leave_to_parent()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_leave_to_parent)
