"""The counts of a run as Python ints, thread-safe."""

import threading

COUNTS = ('actor_steps', 'learner_steps', 'episodes', 'evaluations')


class RunCounts:
    """The counts of a run, which its workers share."""

    def __init__(self) -> None:
        """Starts with all counts at 0."""
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(COUNTS, 0)

    def increment(self, **counts: int) -> dict[str, int]:
        """Adds to counts; returns all of them.

        Raises: ValueError that names a count that does not exist or would decrease.
        """
        own = self._counts
        for name, value in counts.items():
            if name not in own or value < 0:
                raise ValueError(f'a count must be one of {COUNTS} and grow, got {name}={value}.')
        with self._lock:
            for name, value in counts.items():
                own[name] += value
            return own.copy()

    def get_counts(self) -> dict[str, int]:
        """All counts."""
        with self._lock:
            return dict(self._counts)

    def get_state(self) -> dict[str, int]:
        """All counts, for a checkpoint."""
        return self.get_counts()

    def set_state(self, state: dict[str, int]) -> None:
        """Restores the counts of a checkpoint."""
        with self._lock:
            self._counts.update({name: int(state[name]) for name in COUNTS})
