"""What all tables share: rows of the stream, windows cut from it, what a batch is, and when one is due."""

from culmen.components.replay.stream.importance import importance_weights
from culmen.components.replay.stream.rate import Rate
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.sample_spec import sample_spec
from culmen.components.replay.stream.windows import Cutter
from culmen.components.replay.stream.windows import Items
from culmen.components.replay.stream.windows import Transitions
from culmen.components.replay.stream.windows import fold
from culmen.components.replay.stream.windows import kept_times

__all__ = [
    'Cutter',
    'Items',
    'Rate',
    'RowSpec',
    'Transitions',
    'fold',
    'importance_weights',
    'kept_times',
    'sample_spec',
]
