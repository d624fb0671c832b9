"""Recordings: `Recorder` writes the stream of a run to a folder; `DatasetReader` draws from such folders."""

from culmen.components.replay.recording.dataset import DatasetReader
from culmen.components.replay.recording.dataset import Readers
from culmen.components.replay.recording.recorder import Recorder
from culmen.components.replay.recording.recorder import Writers
from culmen.components.replay.recording.recorder import check_recording
from culmen.components.replay.recording.streams import recorded_streams

__all__ = [
    'DatasetReader',
    'Readers',
    'Recorder',
    'Writers',
    'check_recording',
    'recorded_streams',
]
