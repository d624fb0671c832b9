"""A server, a reader and writers of one program, for the tests of tables in another process."""

import threading
from typing import Any

import jax
import numpy as np

from culmen.components.replay.called import CalledConnection
from culmen.components.replay.called import CalledServer
from culmen.components.replay.reverb import ReverbServer
from culmen.components.replay.reverb.engine import Connection
from culmen.components.replay.served import ServedReader
from culmen.components.replay.served import ServedWriter
from culmen.core import Lanes
from culmen.core import Window
from tests.components.replay import streams
from tests.components.replay.called.table import Caller

STREAM = streams.make_stream(streams.step_types(streams.EPISODES, 120))
CROSSING = Window(length=4, period=4, cross_episodes=True)


class Program:
    """A server, a reader, and a writer an actor, as a program has them."""

    def __init__(
        self, kind: str, experience: Any, actors: list[list[int]], **settings: Any
    ) -> None:
        """Args: kind: of the server, 'reverb' or 'called'."""
        self.experience = experience
        self.total = sum(map(len, actors))
        self.stopped = False
        lead = settings.pop('lead', None)
        first = settings.pop('first_windows', None)
        restore = settings.pop('restore', None)
        self.server = make_server(kind, experience, self.total, lead=lead, restore=restore)
        self.reader = ServedReader(
            experience, streams.ROW_SPEC, self.total, self.connect(), lead=lead
        )
        self.actors = actors
        self.writers = [
            ServedWriter(
                experience, streams.ROW_SPEC, Lanes(np.array(index, np.int32), self.total),
                self.connect(),
                first_windows=None if first is None else {
                    name: of_lanes[index] for name, of_lanes in first.items()
                },
                **settings,
            )
            for index in actors
        ]  # fmt: skip
        self.ticks = [0] * len(actors)

    def connect(self) -> Any:
        stop = lambda: self.stopped
        if isinstance(self.server, ReverbServer):
            return Connection(self.server.address, stop)
        return CalledConnection(Caller(self.server), stop)

    def tick(self, actor: int, version: int = 0) -> None:
        """A tick of one actor, whose lanes play those of the stream."""
        self.observe(actor)
        self.act(actor, version)

    def observe(self, actor: int) -> None:
        self.writers[actor].observe(self._row(actor)[0])

    def act(self, actor: int, version: int) -> None:
        _, action, extras, _ = self._row(actor)
        self.writers[actor].act(action, extras, version)
        self.ticks[actor] += 1

    def _row(self, actor: int) -> Any:
        lanes = np.array(self.actors[actor]) % STREAM.num_lanes
        timestep, action, extras, version = STREAM.at(self.ticks[actor])
        take = lambda leaf: leaf[lanes]
        return (*jax.tree_util.tree_map(take, (timestep, action, extras)), version)

    def flush(self) -> None:
        for writer in self.writers:
            assert writer.flush()

    def close(self) -> None:
        self.stopped = True
        for writer in self.writers:
            writer.close()
        self.reader.close()
        self.server.stop()


def make_server(kind: str, experience: Any, num_lanes: int, **settings: Any) -> Any:
    if kind == 'reverb':
        return ReverbServer(experience, num_lanes, **settings)
    return CalledServer(experience, num_lanes, seed=0, **settings)


def stored(server: Any) -> Any:
    """What a server has of each table."""
    return server.get_stored()


def size(program: Program, name: str = 'experience') -> int:
    return int(stored(program.server)[name].size)


def places(samples: Any) -> list[tuple[int, int]]:
    return [place for place, _, _ in streams.rows_of(samples)]


def wait_in_thread(function: Any) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome
