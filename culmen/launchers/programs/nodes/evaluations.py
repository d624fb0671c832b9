"""The evaluations of a program: the learner keeps their variables until all evaluators have played them."""

import collections
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.core.types import Params
from culmen.launchers.schedule import Counts


class KeptEvaluations:
    """Variables to evaluate, in order, numbered over the whole run. Thread-safe."""

    def __init__(self) -> None:
        """Starts without any."""
        self._lock = threading.Lock()
        self._kept: collections.deque[tuple[Counts, Params]] = collections.deque()
        self._first = 0  # the number of the first that is kept
        self._closed = False

    @property
    def next(self) -> int:
        """The number of the next evaluation to be kept."""
        with self._lock:
            return self._first + len(self._kept)

    def keep(self, counts: Counts, params: Params) -> None:
        """Keeps variables. Args: counts: at which they are due."""
        with self._lock:
            self._kept.append((counts, params))

    def close(self) -> None:
        """Says that no more will come."""
        self._closed = True

    def get(self, number: int) -> Any:
        """(actor steps, updates, NumPy parameters) of an evaluation; None: not yet; 'none': no more."""
        with self._lock:
            if number >= self._first + len(self._kept):
                return 'none' if self._closed else None
            counts, params = self._kept[max(number - self._first, 0)]
        return (*counts, jax.tree_util.tree_map(np.asarray, params))

    def drop(self, played: int) -> None:
        """Discards those that every evaluator has played. Args: played: how many of the run these are."""
        with self._lock:
            while self._first < played and self._kept:
                self._kept.popleft()
                self._first += 1

    def get_state(self, played: int) -> list[dict[str, Any]]:
        """What is kept, for a checkpoint. Args: played: how many evaluations every evaluator has played."""
        with self._lock:
            kept = list(self._kept)[max(played - self._first, 0) :]
        return [{'at': list(counts), 'variables': to_paths(params)} for counts, params in kept]

    def skip(self, played: int) -> None:
        """Discards those that have been played since the checkpoint. Args: played: as for `get_state`."""
        with self._lock:
            for _ in range(min(played - self._first, len(self._kept))):
                self._kept.popleft()
            self._first = played

    def set_state(self, state: Sequence[Mapping[str, Any]], played: int, template: Params) -> None:
        """Restores them from a checkpoint. Args: template: variables of the same shapes."""
        self._first = played
        for each in state:
            params = from_paths('variables', template, each['variables'])
            self._kept.append((Counts(*map(int, each['at'])), params))
