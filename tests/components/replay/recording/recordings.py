"""Recordings of a known stream, and what is read of them."""

import jax

from culmen.components.dispatch import unpacked
from culmen.components.replay import DatasetReader
from culmen.components.replay import Recorder
from culmen.components.replay import RowSpec
from culmen.core import Dataset
from culmen.core.types import Stream
from tests.components.replay import streams

RUN = {'agent': 'dqn', 'seed': 1, 'workdir': '../run'}


def make_recorder(folder, num_lanes, spec=streams.SPEC, rows=7):
    return Recorder(folder, RowSpec(spec, streams.ACTION, streams.EXTRAS), num_lanes, RUN, rows)


def record(folder, stream, spec=streams.SPEC, flush_at=(), rows=7):
    """Records all ticks of a stream."""
    recorder = make_recorder(folder, stream.num_lanes, spec, rows)
    recorder.begin()
    play(recorder, stream, 0, stream.num_ticks, flush_at)
    recorder.close()
    return str(folder)


def play(recorder, stream, start, stop, flush_at=()):
    for tick in range(start, stop):
        timestep, action, extras, version = stream.at(tick)
        recorder.observe(timestep)
        if tick in flush_at:
            recorder.get_state()
        recorder.act(action, extras, version)


def read(source, window, batch_size=2048, spec=streams.SPEC, seed=0):
    dataset = Dataset(window, source, batch_size)
    return DatasetReader(dataset, RowSpec(spec, streams.ACTION, streams.EXTRAS), seed)


def items_of(reader, draws=3):
    """The distinct items of some draws: (leaves by path, version) by (lane, start)."""
    found = {}
    for _ in range(draws):
        for place, leaves, version in streams.rows_of(
            unpacked(reader.draw().samples), recorded=True
        ):
            found[place] = leaves, version
    return found


def of_lanes(stream):
    """What a callable source gives: a Stream a lane."""
    for lane in range(stream.num_lanes):
        timestep, action, extras = jax.tree_util.tree_map(
            lambda leaf, lane=lane: leaf[:, lane], (stream.timestep, stream.action, stream.extras)
        )
        yield Stream(timestep, action, extras, stream.version)
