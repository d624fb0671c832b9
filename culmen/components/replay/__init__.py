"""Replay: windows cut from the stream of steps, tables that keep them, and what learners read.

`RowSpec` is what a row of the stream holds: it is made once, and every table is given it. `Cutter` says which
windows appear, for every table alike; `InProcessTable` is the table of a run in one process; `Recorder`
writes the stream to a folder and `DatasetReader` draws from such folders; `fold` and `importance_weights`
are what an agent's loss asks of a sample.
"""

from culmen.components.replay.dataset import DatasetReader
from culmen.components.replay.in_process import InProcessTable
from culmen.components.replay.in_process import TableState
from culmen.components.replay.leaves import RowSpec
from culmen.components.replay.priorities import importance_weights
from culmen.components.replay.rate import Rate
from culmen.components.replay.recorder import Recorder
from culmen.components.replay.recorder import Writers
from culmen.components.replay.recorder import check_recording
from culmen.components.replay.sample_spec import sample_spec
from culmen.components.replay.windows import Cutter
from culmen.components.replay.windows import Items
from culmen.components.replay.windows import Transitions
from culmen.components.replay.windows import fold
from culmen.components.replay.windows import kept_times

__all__ = [
    'Cutter',
    'DatasetReader',
    'InProcessTable',
    'Items',
    'Rate',
    'Recorder',
    'RowSpec',
    'TableState',
    'Transitions',
    'Writers',
    'check_recording',
    'fold',
    'importance_weights',
    'kept_times',
    'sample_spec',
]
