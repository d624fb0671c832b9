"""The writer and the reader of Reverb tables: those of every server, connected by an address."""

from collections.abc import Callable
from typing import Any

from culmen.components.replay.reverb.engine import Connection
from culmen.components.replay.reverb.engine import as_stored
from culmen.components.replay.served import ServedReader
from culmen.components.replay.served import ServedWriter
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.experience import Experience
from culmen.core.types import Lanes


class ReverbWriter(ServedWriter):
    """Writes the streams of an actor's lanes to the tables of a Reverb server."""

    def __init__(
        self,
        experience: Experience,
        row_spec: RowSpec,
        lanes: Lanes,
        address: str,
        *,
        stop: Callable[[], bool] | None = None,
        **options: Any,
    ) -> None:
        """Connects.

        Args:
            address: of the server.
            stop: ends every wait when it returns True.
            experience, row_spec, lanes, options: as for a ServedWriter.
        """
        super().__init__(experience, row_spec, lanes, Connection(address, stop), **options)


class ReverbReader(ServedReader):
    """Draws batches from the tables of a Reverb server."""

    def __init__(
        self,
        experience: Experience,
        row_spec: RowSpec,
        num_lanes: int,
        address: str,
        *,
        stop: Callable[[], bool] | None = None,
        info: Callable[[], dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        """Connects, and reads the counts of the server.

        Args:
            address: of the server.
            stop: ends every wait when it returns True; None if the server is in this process.
            info: the server's `info`, if it is in this process.
            experience, row_spec, num_lanes, options: as for a ServedReader.
        Raises: ConnectionError if no server listens at the address.
        """
        stored = None if info is None else lambda: as_stored(info())
        connection = Connection(address, stop)
        super().__init__(experience, row_spec, num_lanes, connection, stored=stored, **options)
