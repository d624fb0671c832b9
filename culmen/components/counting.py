"""Counts of a program, as Python ints, safe between threads."""

import threading

COUNTS = ('actor_steps', 'learner_steps', 'episodes', 'evaluations')


class Counter:
    """Counts that workers share. A child's increments reach its parent, under the parent's lock."""

    def __init__(self, parent: 'Counter | None' = None) -> None:
        """Args: parent: also counts all that this one does."""
        self._parent = parent
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(COUNTS, 0)

    def increment(self, **counts: int) -> dict[str, int]:
        """Adds to counts; returns all of this counter's.

        Raises: ValueError that names a count that does not exist or would go down.
        """
        own = self._counts
        for name, value in counts.items():
            if name not in own or value < 0:
                raise ValueError(f'a count must be one of {COUNTS} and grow, got {name}={value}.')
        with self._lock:
            for name, value in counts.items():
                own[name] += value
            result = own.copy()
        if self._parent is not None:
            self._parent.increment(**counts)
        return result

    def get_counts(self) -> dict[str, int]:
        """All counts."""
        with self._lock:
            return dict(self._counts)

    def get_state(self) -> dict[str, int]:
        """For a checkpoint."""
        return self.get_counts()

    def set_state(self, state: dict[str, int]) -> None:
        """Goes on from a checkpoint."""
        with self._lock:
            self._counts.update({name: int(state[name]) for name in COUNTS})
