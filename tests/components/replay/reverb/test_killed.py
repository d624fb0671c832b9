"""A Reverb server that is killed."""

import multiprocessing
import time
from typing import Any

import jax
import numpy as np
import pytest

from culmen.components.replay.reverb import ReverbReader
from culmen.components.replay.reverb import ReverbServer
from culmen.components.replay.reverb import ReverbWriter
from culmen.components.replay.reverb.engine import Connection
from culmen.core import Lanes
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from tests.components.replay import streams
from tests.components.replay.registry import has_reverb
from tests.components.replay.served.programs import STREAM
from tests.components.replay.served.programs import wait_in_thread

pytestmark = [
    pytest.mark.launchpad,
    pytest.mark.skipif(not has_reverb(), reason='Reverb is not installed'),
]


def _serve(experience: Any, pipe: Any) -> None:
    server = ReverbServer(experience, 2, lead=2.0)
    pipe.send(server.address)
    pipe.recv()


@pytest.mark.slow
def test_a_server_that_is_killed_ends_every_wait() -> None:
    experience = {'a': Replay(Window(), 1000, 1, 1, 1.0), 'b': Queue(Window(), 1, max_size=100)}
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(experience, theirs))
    process.start()
    address = ours.recv()
    lanes = [Lanes(np.array([i], np.int32), 2) for i in range(2)]
    never = lambda: False
    waiting, idle = (
        ReverbWriter(experience, streams.ROW_SPEC, lane, address, stop=never, flush_period=1)
        for lane in lanes
    )
    reader = ReverbReader(experience, streams.ROW_SPEC, 2, address, lead=2.0, stop=never)

    def play(writer: ReverbWriter, ticks: Any) -> None:
        for tick in ticks:
            timestep, action, extras, version = STREAM.at(tick)
            one = jax.tree_util.tree_map(lambda leaf: leaf[3:4], (timestep, action, extras))
            writer.observe(one[0])
            writer.act(*one[1:], version)

    play(idle, range(2))
    thread, outcome = wait_in_thread(lambda: play(waiting, range(20)))
    while not reader.due():
        time.sleep(0.01)
    thread.join(1.0)
    assert thread.is_alive()
    # A sampler that asks for more than is due waits, as one does whose server dies in the middle.
    connection = Connection(address, never)
    sampling, drawn = wait_in_thread(lambda: connection.sample('b', 50))
    sampling.join(0.5)
    assert sampling.is_alive()
    process.kill()
    process.join()
    for each in (thread, sampling):
        each.join()
    assert isinstance(outcome[0], ConnectionError)
    assert isinstance(drawn[0], ConnectionError)
    with pytest.raises(ConnectionError, match=f'the Reverb server at {address} is gone'):
        reader.due()
    with pytest.raises(ConnectionError):
        play(idle, range(2, 9))
    for writer in (waiting, idle):
        with pytest.raises(ConnectionError):
            writer.close()
    reader.close()
    connection.end()
