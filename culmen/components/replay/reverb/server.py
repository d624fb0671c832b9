"""The server: Reverb's tables made from an experience, its port and its checkpoints."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from culmen.components.files import Scratch
from culmen.components.replay.reverb import engine
from culmen.components.replay.served.connection import Stored
from culmen.components.replay.served.rules import Lead
from culmen.components.replay.served.rules import check_tables
from culmen.components.replay.served.rules import lead_of
from culmen.components.replay.served.rules import may_wait
from culmen.components.replay.served.rules import table_name
from culmen.components.replay.served.saving import Files
from culmen.components.replay.served.saving import measure
from culmen.components.replay.served.saving import saving
from culmen.components.replay.stream.rate import Rate
from culmen.core.experience import Experience
from culmen.core.experience import Replay
from culmen.core.experience import Table
from culmen.core.experience import table_label

_NO_LIMIT = 2**31 - 1  # items: the most that Reverb accepts


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
        return reverb.Table(
            name=table_name(name),
            sampler=selectors.MinHeap(),
            remover=selectors.Fifo(),
            max_size=_NO_LIMIT,
            max_times_sampled=1,
            rate_limiter=limiter(
                samples_per_insert=1.0,
                min_size_to_sample=1,
                min_diff=0.0,
                max_diff=may_wait(table, num_lanes, lead),
            ),
        )

    def info(self) -> dict[str, Any]:
        """Reverb's `TableInfo` of every table, by Reverb's name."""
        if self._restored is not None:
            return dict(self._restored.server_info())
        return {table_name(name): table.info for name, table in self._tables.items()}

    def get_stored(self) -> dict[str, Stored]:
        """What there is, by Reverb's names of the tables."""
        return engine.as_stored(self.info())

    def checkpoint(self, folder: str | os.PathLike[str]) -> Files:
        """Writes items, priorities and the limiters' counts, completely or not at all.

        Does not include rows whose items have not been flushed.

        Args: folder: a new one.
        Returns: bytes and crc32 by file. Raises: OSError that names the folder.
        """
        written = Path(self._server.localhost_client().checkpoint())
        try:
            with saving(Path(folder)) as temporary:
                shutil.move(written, temporary)
                return measure(temporary)
        finally:
            shutil.rmtree(written, ignore_errors=True)

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
