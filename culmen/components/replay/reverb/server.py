"""The server: Reverb's tables made from an experience, its port and its checkpoints."""

import contextlib
import os
import shutil
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any
from typing import Literal

from culmen.components.files import Scratch
from culmen.components.replay.reverb import engine
from culmen.components.replay.stream.rate import Rate
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Table
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.staleness import waits_at_first

Lead = float | Literal['none'] | None
Files = dict[str, dict[str, int]]  # bytes and crc32 by name

_NEVER = sys.float_info.max  # a difference that no limiter reaches
_NO_LIMIT = 2**31 - 1  # items: the most that Reverb accepts


def table_name(name: str) -> str:
    """Reverb's name for a table of an experience, since it has no empty names."""
    return name or 'experience'


def check_tables(experience: Experience) -> dict[str, Table]:
    """The tables of an experience by name. Raises: ValueError for a Dataset."""
    found = tables(experience)
    for name, table in found.items():
        if isinstance(table, Dataset):
            where = table_label(name)
            raise ValueError(
                f'{where} must be a Replay or a Queue here, got a Dataset: a Dataset is read by '
                f'a DatasetReader.'
            )
    return found


def lead_of(replay: Replay, lead: Lead, where: str = 'experience') -> float:
    """By how many samples actors may be ahead of the learner, in one table.

    Args:
        replay: of the experience.
        lead: from the launcher; None: two batches and an insert; 'none': no bound.
    Raises: ValueError if a batch could never become due.
    """
    if lead == 'none':
        return _NEVER
    least = replay.batch_size + replay.samples_per_insert
    if lead is None:
        return least + replay.batch_size
    if lead < least:
        raise ValueError(
            f'lead must be at least batch_size + samples_per_insert = {least:g} of {where}, '
            f'got {lead:g}: the actors would wait before a batch is due.'
        )
    return float(lead)


def split_lead(replay: Replay, lead: Lead, where: str = 'experience') -> tuple[float, float]:
    """Splits the lead of a table whose items wait in the reader. With `by_tick` there is no bound.

    Returns: (by how many samples the reader may be ahead, how many items may wait in the server).
    """
    samples = _NEVER if replay.by_tick else lead_of(replay, lead, where)
    if samples == _NEVER:
        return _NEVER, _NEVER
    of_reader = max(replay.batch_size + replay.samples_per_insert, samples / 2)
    return of_reader, max(1.0, (samples - of_reader) // replay.samples_per_insert)


def is_ordered(queue: Queue, num_lanes: int) -> bool:
    """Whether batches take windows in order of their number in their lane, not of arrival."""
    bounded = queue.max_staleness is not None and not waits_at_first(queue, num_lanes)
    return queue.batch_size is None or bounded


class ReverbServer:
    """Keeps the tables of an experience for any number of writers and one reader.

    It listens on every interface and has no authentication: Reverb has no setting for either. Any program
    that reaches its port can read, alter and empty the tables. Its protocol carries arrays and runs no code.
    """

    def __init__(
        self,
        experience: Experience,
        num_lanes: int,
        *,
        lead: Lead = None,
        port: int | None = None,
        restore: str | os.PathLike[str] | None = None,
    ) -> None:
        """Starts the server.

        Args:
            experience: a Replay, a Queue, or a dict of them.
            num_lanes: of the whole program.
            lead: by how many samples actors may be ahead of the learner, in every Replay; None: two
                batches and an insert; 'none': no insert waits, as in one process.
            port: where to listen; None: a free one.
            restore: a folder that `checkpoint` wrote for the same experience. The tables are restored with
                the lead that they had.
        Raises: ImportError that says what installs Reverb; ValueError for a Dataset, and for a lead with
            which no batch would become due.
        """
        self._reverb = engine.load()
        self._tables = {
            name: self._make(name, table, num_lanes, lead)
            for name, table in check_tables(experience).items()
        }
        self._scratch = Scratch('reverb')
        # A separate folder: Reverb removes all checkpoints but the newest, and takes any file for one.
        written = self._scratch.path / 'checkpoints'
        written.mkdir()
        checkpointers = self._reverb.platform.default.checkpointers
        self._server: Any = None
        self._restored: Any = None
        try:
            self._server = self._reverb.Server(
                list(self._tables.values()),
                port=port,
                checkpointer=checkpointers.DefaultCheckpointer(
                    str(written), '', None if restore is None else str(restore)
                ),
            )
        except BaseException:
            self.stop()
            raise
        self.port: int = self._server.port
        self.address = f'localhost:{self.port}'
        # A server restores into tables that it makes itself; the given ones stay empty.
        self._restored = None if restore is None else self._server.localhost_client()

    def _make(self, name: str, table: Table, num_lanes: int, lead: Lead) -> Any:
        """Makes a Reverb table, with a limiter that follows the formula of `Rate`."""
        reverb = self._reverb
        selectors, limiter = reverb.selectors, reverb.rate_limiters.RateLimiter
        waits = lead != 'none'
        if isinstance(table, Replay) and table.draw == 'sample':
            where = table_label(name)
            least, most = Rate.of(table).limits(lead_of(table, lead, where))
            return reverb.Table(
                name=table_name(name),
                sampler=selectors.Prioritized(table.priority_exponent)
                if table.prioritised
                else selectors.Uniform(),
                remover=selectors.Fifo(),
                max_size=table.capacity,
                rate_limiter=limiter(
                    samples_per_insert=float(table.samples_per_insert),
                    min_size_to_sample=max(1, table.min_size),
                    min_diff=least,
                    max_diff=most,
                ),
            )
        # Items are removed when drawn, smallest priority first; ties are drawn in order of arrival.
        may_wait = _NEVER
        if isinstance(table, Replay):
            # Every batch has all items, so the reader keeps them; part of the lead waits here.
            may_wait = split_lead(table, lead)[1]
        elif isinstance(table, Queue) and not is_ordered(table, num_lanes) and waits:
            assert table.batch_size is not None
            may_wait = float(table.max_size * table.batch_size)
        return reverb.Table(
            name=table_name(name),
            sampler=selectors.MinHeap(),
            remover=selectors.Fifo(),
            max_size=_NO_LIMIT,
            max_times_sampled=1,
            rate_limiter=limiter(
                samples_per_insert=1.0, min_size_to_sample=1, min_diff=0.0, max_diff=may_wait
            ),
        )

    def info(self) -> dict[str, Any]:
        """Reverb's `TableInfo` of every table, by Reverb's name."""
        if self._restored is not None:
            return dict(self._restored.server_info())
        return {table_name(name): table.info for name, table in self._tables.items()}

    def checkpoint(self, folder: str | os.PathLike[str]) -> Files:
        """Writes items, priorities and the limiters' counts, completely or not at all.

        Does not include rows whose items have not been flushed.

        Args: folder: a new one.
        Returns: bytes and crc32 by file. Raises: OSError that names the folder.
        """
        folder = Path(folder)
        written = Path(self._server.localhost_client().checkpoint())
        temporary = folder.with_name(f'.{folder.name}-{os.getpid()}')
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.move(written, temporary)
            files = measure(temporary)
            os.replace(temporary, folder)
        except OSError as error:
            raise OSError(
                error.errno or 0, f'could not save the replay: {error.strerror}', str(folder)
            ) from error
        finally:
            shutil.rmtree(written, ignore_errors=True)
            shutil.rmtree(temporary, ignore_errors=True)
        return files

    def new_folder(self) -> Path:
        """The path of a new folder that is removed with the server, for `checkpoint`."""
        return Path(tempfile.mkdtemp(dir=self._scratch.path)) / 'tables'

    def stop(self) -> None:
        """Stops the server. A second call does nothing."""
        self._restored = None
        server, self._server = self._server, None
        if server is not None:
            server.stop()
        self._scratch.close()
        self._tables = {}

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # of a server whose constructor failed
            self.stop()


def measure(folder: Path) -> Files:
    """Bytes and crc32 of every file in a folder."""
    return {path.name: _measure_file(path) for path in sorted(folder.iterdir())}


def _measure_file(path: Path) -> dict[str, int]:
    checksum = size = 0
    with open(path, 'rb') as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
            size += len(block)
    return {'bytes': size, 'crc32': checksum}
