"""Checkpoints: the state of workers as arrays and plain values, saved completely or not at all."""

from culmen.components.checkpointing.checkpointer import Checkpointer
from culmen.components.checkpointing.checkpointer import Saved
from culmen.components.checkpointing.disk import DamagedCheckpointError
from culmen.components.checkpointing.disk import UnknownFormatError
from culmen.components.checkpointing.trees import from_paths
from culmen.components.checkpointing.trees import to_paths

__all__ = [
    'Checkpointer',
    'DamagedCheckpointError',
    'Saved',
    'UnknownFormatError',
    'from_paths',
    'to_paths',
]
