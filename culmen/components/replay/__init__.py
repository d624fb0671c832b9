"""Replay: windows cut from the stream of steps, tables that keep them, and batches for learners.

    stream/      what all tables share: rows, windows, batches, the rate of updates
    in_process/  the table of a run in one process, in NumPy
    device/      tables in device memory, for the compiled loop
    reverb/      tables of a Reverb server, which many processes share
    recording/   streams written to a folder, and read from it as a table

`RowSpec` describes a row of the stream: it is made once and passed to every table. `Cutter` decides which
windows appear, in the same way for every table. Agents' losses apply `fold` and `importance_weights` to
samples.
"""

from culmen.components.replay.in_process import InProcessTable
from culmen.components.replay.in_process import TableState
from culmen.components.replay.recording import DatasetReader
from culmen.components.replay.recording import Readers
from culmen.components.replay.recording import Recorder
from culmen.components.replay.recording import Writers
from culmen.components.replay.recording import check_recording
from culmen.components.replay.recording import recorded_streams
from culmen.components.replay.stream import Cutter
from culmen.components.replay.stream import Items
from culmen.components.replay.stream import Rate
from culmen.components.replay.stream import RowSpec
from culmen.components.replay.stream import Transitions
from culmen.components.replay.stream import fold
from culmen.components.replay.stream import importance_weights
from culmen.components.replay.stream import kept_times
from culmen.components.replay.stream import sample_spec

__all__ = [
    'Cutter',
    'DatasetReader',
    'InProcessTable',
    'Items',
    'Rate',
    'Readers',
    'Recorder',
    'RowSpec',
    'TableState',
    'Transitions',
    'Writers',
    'check_recording',
    'fold',
    'importance_weights',
    'kept_times',
    'recorded_streams',
    'sample_spec',
]
