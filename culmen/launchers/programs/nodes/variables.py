"""The variables that the learner's node gives to actors."""

import threading
from collections.abc import Mapping

import jax
import numpy as np

from culmen.core.types import Params
from culmen.core.types import Version

NewVariables = tuple[Version, Params, Mapping[str, float], int]


class Published:
    """The newest variables of a learner. One thread publishes them, several ask for them."""

    def __init__(self, life: int) -> None:
        """Begins with none. Args: life: how often the learner has been started again."""
        self._life = life
        self._lock = threading.Lock()
        self._newest: tuple[Version, Params] = (-1, None)
        self._largest: Mapping[str, float] = {}
        self._as_arrays: tuple[Version, Params] = (-1, None)

    @property
    def version(self) -> Version:
        """The newest version; -1: none."""
        return self._newest[0]

    def publish(
        self, news: tuple[Version, Params] | None, largest_priorities: Mapping[str, float]
    ) -> None:
        """Replaces them. Args: news: version and variables; None: those that are known are the newest."""
        self._largest = largest_priorities
        if news is not None:
            self._newest = news

    def get(self, have: Version, life: int) -> NewVariables | None:
        """The newest variables as NumPy arrays, which are made once a version.

        Args:
            have: the version that the caller has.
            life: of the learner that made it. A learner that is started again makes the same numbers anew.
        Returns: (version, variables, largest priorities, life); None if the caller has the newest.
        """
        version, params = self._newest
        if (version, self._life) == (have, life):
            return None
        with self._lock:
            if self._as_arrays[0] != version:
                self._as_arrays = (version, jax.tree_util.tree_map(np.asarray, params))
            return (*self._as_arrays, self._largest, self._life)
