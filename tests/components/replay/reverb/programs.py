"""A server, a reader and writers of one program, for the tests of Reverb."""

from typing import Any

import jax
import numpy as np

from culmen.components.replay.reverb import ReverbReader
from culmen.components.replay.reverb import ReverbServer
from culmen.components.replay.reverb import ReverbWriter
from culmen.core import Lanes
from culmen.core import Window
from tests.components.replay import streams

STREAM = streams.make_stream(streams.step_types(streams.EPISODES, 120))
CROSSING = Window(length=4, period=4, cross_episodes=True)


class Program:
    """A server, a reader, and a writer an actor, as a program has them."""

    def __init__(self, experience: Any, actors: list[list[int]], **settings: Any) -> None:
        self.experience = experience
        self.total = sum(map(len, actors))
        self.stopped = False
        lead = settings.pop('lead', None)
        first = settings.pop('first_windows', None)
        self.server = ReverbServer(
            experience, self.total, lead=lead, restore=settings.pop('restore', None)
        )
        stop = lambda: self.stopped
        self.reader = ReverbReader(
            experience, streams.ROW_SPEC, self.total, self.server.address, lead=lead, stop=stop
        )
        self.actors = actors
        self.writers = [
            ReverbWriter(
                experience, streams.ROW_SPEC, Lanes(np.array(index, np.int32), self.total),
                self.server.address, stop=stop,
                first_windows=None if first is None else {
                    name: of_lanes[index] for name, of_lanes in first.items()
                },
                **settings,
            )
            for index in actors
        ]  # fmt: skip
        self.ticks = [0] * len(actors)

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


def size(program: Program, name: str = 'experience') -> int:
    return int(program.server.info()[name].current_size)


def places(samples: Any) -> list[tuple[int, int]]:
    return [place for place, _, _ in streams.rows_of(samples)]
