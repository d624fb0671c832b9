"""The tables of a `CalledServer` in one process, with calls that pickle as those between processes do."""

import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from culmen.components.replay.called import CalledConnection
from culmen.components.replay.called import CalledServer
from culmen.components.replay.reverb import ReverbTable
from culmen.components.replay.served import ServedReader
from culmen.components.replay.served import ServedWriter
from culmen.components.replay.stream.gates import Gates
from culmen.core.types import Lanes


class Caller:
    """A handle to a server in another process, as far as a connection can see."""

    def __init__(self, server: CalledServer) -> None:
        self._server = server
        self.bytes = 0

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: Any) -> Any:
            sent = pickle.dumps(arguments, protocol=5)
            answer = pickle.dumps(getattr(self._server, method)(*pickle.loads(sent)), protocol=5)
            self.bytes += len(sent) + len(answer)
            return pickle.loads(answer)

        return call


class CalledTable(ReverbTable):
    """The table of one process that another server keeps."""

    def __init__(self, experience: Any, row_spec: Any, num_lanes: int, seed: int) -> None:
        self._seed = seed
        super().__init__(experience, row_spec, num_lanes)

    def _start(self, restore: Path | None) -> None:
        rows = self._experience, self._row_spec
        self._server: Any = CalledServer(
            self._experience, self._num_lanes, seed=self._seed, lead='none', restore=restore
        )
        self.caller = Caller(self._server)
        connection = CalledConnection(self.caller)
        lanes = Lanes(np.arange(self._num_lanes, dtype=np.int32), self._num_lanes)
        self._reader: Any = ServedReader(*rows, self._num_lanes, connection, lead='none')
        self._gates = Gates(self._experience, self._num_lanes)
        self._writer: Any = ServedWriter(
            *rows,
            lanes,
            connection,
            single_writer=True,
            tell_ended=self._reader.tell_ended,
            gates=self._gates,
        )
        self._prioritised = bool(self._reader.largest_priorities)
        self._close = weakref.finalize(self, self._writer.close)
