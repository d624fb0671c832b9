"""Hands the results of a learner's calls to the table and the actors after a fixed number of calls.

Priorities of call c are written, and its variables can be read, just before the draw of call c + lag + 1,
independent of when they are ready.
"""

import collections
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from culmen.components.dispatch import Packed
from culmen.core.experience import LONE
from culmen.core.rules import as_version
from culmen.core.types import Priorities
from culmen.core.types import Version
from culmen.core.workers import Reader


class InFlight(NamedTuple):
    """The results of a call that have not been handed on yet."""

    call: int
    rule: str
    keys: Any  # of the drawn items, one for each update of the call
    priorities: Priorities  # [updates, B] on the device, or None if no table has any
    version: Version
    variables: Packed


class HandOffs:
    """The results that have not been handed on yet, the oldest first."""

    def __init__(self, readers: Mapping[str, Reader], version: Version, variables: Packed) -> None:
        """Args: readers: receive the priorities of each rule. variables: the first ones that actors read."""
        self._readers = readers
        self._in_flight: collections.deque[InFlight] = collections.deque()
        self.held = (version, variables)  # version and variables that a training actor may read

    def add(self, flight: InFlight) -> None:
        """Adds the results of a call."""
        self._in_flight.append(flight)

    def settle(self, last_call: int) -> None:
        """Hands on the results of calls up to this one."""
        while self._in_flight and self._in_flight[0].call <= last_call:
            self.hand_on(*self._in_flight.popleft()[1:])

    def hand_on(
        self, rule: str, keys: Any, priorities: Priorities, version: Version, variables: Packed
    ) -> None:
        """Hands on the results of the oldest call. Args: the fields of an `InFlight`."""
        if priorities is not None and jax.tree_util.tree_leaves(priorities):
            fetched = jax.tree_util.tree_map(np.asarray, priorities)
            for i, of_update in enumerate(keys):
                raw = jax.tree_util.tree_map(lambda leaf, i=i: leaf[i], fetched)
                self._readers[rule].update_priorities(of_update, raw)
        self.held = (version, variables)

    def get_state(self, save: Callable[[Packed], Any]) -> dict[str, Any]:
        """Arrays and plain values for a checkpoint. Args: save: converts variables to arrays by path."""
        return {
            'held_version': self.held[0],
            'held': save(self.held[1]),
            'in_flight': [
                {
                    'call': flight.call,
                    'keys': flight.keys,
                    'priorities': jax.tree_util.tree_map(np.array, flight.priorities),
                    'version': flight.version,
                    'variables': save(flight.variables),
                    'rule': flight.rule,
                }
                for flight in self._in_flight
            ],
        }

    def set_state(self, state: dict[str, Any], restore: Callable[[Any], Packed]) -> None:
        """Restores the result of `get_state`. Args: restore: the inverse of `save`."""
        self.held = (as_version(state['held_version']), restore(state['held']))
        self._in_flight = collections.deque(
            InFlight(
                **{
                    'rule': LONE,  # a checkpoint of an earlier version has none
                    **flight,
                    'version': as_version(flight['version']),
                    'variables': restore(flight['variables']),
                }
            )
            for flight in state['in_flight']
        )
