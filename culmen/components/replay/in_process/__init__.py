"""The table of a run in one process: rows in NumPy, items, and batches gathered from both."""

from culmen.components.replay.in_process.table import InProcessTable
from culmen.components.replay.in_process.table import TableState

__all__ = ['InProcessTable', 'TableState']
