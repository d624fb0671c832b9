"""Logs: streams of rows (actor, learner, evaluator) to files or memory, and a display of progress.

A row is a flat mapping of names to numbers. Every CSV file exists with its header from the start,
floats read back bit for bit, and a resumed run removes rows written after its checkpoint.
Sinks receive every row too: JSON lines, TensorBoard, Weights & Biases, MLflow, or one's own.
pandas, rich and the packages of sinks are imported only when they are used.
"""

from culmen.components.loggers.base import COLUMNS
from culmen.components.loggers.base import Row
from culmen.components.loggers.base import Sink
from culmen.components.loggers.base import columns_of
from culmen.components.loggers.csv_log import CsvLog
from culmen.components.loggers.csv_log import read_csv
from culmen.components.loggers.jsonl import JsonlLog
from culmen.components.loggers.logs import LogFiles
from culmen.components.loggers.logs import Logs
from culmen.components.loggers.memory_log import MemoryLog
from culmen.components.loggers.mlflow_log import MlflowLog
from culmen.components.loggers.progress import LineDisplay
from culmen.components.loggers.progress import NotebookDisplay
from culmen.components.loggers.progress import Progress
from culmen.components.loggers.progress import TerminalDisplay
from culmen.components.loggers.progress import make_progress
from culmen.components.loggers.service import ServiceLog
from culmen.components.loggers.tensorboard import TensorBoardLog
from culmen.components.loggers.wandb_log import WandbLog

__all__ = [
    'COLUMNS',
    'CsvLog',
    'JsonlLog',
    'LineDisplay',
    'LogFiles',
    'Logs',
    'MemoryLog',
    'MlflowLog',
    'NotebookDisplay',
    'Progress',
    'Row',
    'ServiceLog',
    'Sink',
    'TensorBoardLog',
    'TerminalDisplay',
    'WandbLog',
    'columns_of',
    'make_progress',
    'read_csv',
]
