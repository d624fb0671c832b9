"""Raw priorities of a table: what they may be, and the largest ever given."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.core.experience import Replay
from culmen.core.experience import table_label


class RawPriorities:
    """Checks raw priorities, and remembers the largest for items that have none of their own."""

    def __init__(self, name: str, replay: Replay) -> None:
        """Args: name: of the table, '' for a lone one."""
        self._where = table_label(name)
        self._exponent = replay.priority_exponent
        # Powers stay far enough below infinity to be summed.
        self._largest_allowed = 10.0 ** min(280.0 / replay.priority_exponent, 38.0)
        self.largest = 1.0

    def check(self, priorities: Any, num: int) -> NDArray[Any]:
        """float32[N] of priorities that are what they must be. Raises: ValueError that names them."""
        raw = np.asarray(priorities, np.float32)
        if raw.shape != (num,):
            raise ValueError(
                f'priorities of {self._where} must have shape {(num,)}, got {raw.shape}.'
            )
        # A NaN fails both comparisons.
        if num and not (raw.min() >= 0.0 and raw.max() <= self._largest_allowed):
            raise ValueError(
                f'priorities of {self._where} must be finite and at least 0, and so must their '
                f'powers (priority_exponent {self._exponent}), got {raw}.'
            )
        return raw

    def see(self, priority: float) -> None:
        """Remembers a priority that was given, where it is the largest."""
        self.largest = max(self.largest, float(priority))
