"""Faults of a tick in compiled code: the device finds a fault's number, and the host raises its error.

The host's loop refuses the same faults where it joins lanes (`batched.py`), and also names the value.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core import ranges
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import conform
from culmen.core.specs import integer_range
from culmen.core.specs import leaf_paths
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.environment_loops.boundary import ActionFailure


class Faults:
    """The faults that a time step or an action can have."""

    def __init__(self, spec: EnvironmentSpec) -> None:
        """Args: spec: of one environment, with one reward and one discount."""
        self._of_timestep: list[tuple[str, Callable[[TimeStep], Any]]] = []
        for number, (path, leaf) in enumerate(leaf_paths(spec.observation, 'observation')):
            accepted = ranges.bounds(leaf.dtype)
            if accepted is not None:
                what = 'within int32' if leaf.dtype.kind in 'iu' else 'finite'
                self._of_timestep.append((f'{path} must be {what}', _leaf_out_of(number, accepted)))
        self._of_timestep += [
            ('reward must be finite', lambda t: ~jnp.isfinite(t.reward)),
            ('discount must be in [0, 1]', lambda t: ~((t.discount >= 0) & (t.discount <= 1))),
            (
                'step_type must be FIRST, MID or LAST',
                lambda t: (t.step_type < FIRST) | (t.step_type > LAST),
            ),
        ]
        self._action_spec = spec.action
        self._structure = jax.tree_util.tree_structure(spec.action)
        self._of_action = [
            (f'{path} must be in [{accepted[0]}, {accepted[1]}]', number, accepted)
            for number, (path, leaf) in enumerate(leaf_paths(spec.action, 'action'))
            if (accepted := integer_range(leaf)) is not None
        ]

    def of(
        self, timestep: TimeStep, acted_on: TimeStep | None = None, action: Nest = None
    ) -> jax.Array:
        """The number of the first fault of each lane: int32[B], 0 for none. Traced.

        Args:
            timestep: of B lanes.
            acted_on, action: the time step before, and the action on it, which is ignored at LAST.
        """
        bad = [is_bad(timestep) for _, is_bad in self._of_timestep]
        if acted_on is not None:
            leaves = self._structure.flatten_up_to(conform('action', self._action_spec, action))
            bad += [
                _is_out_of(leaves[number], accepted) & ~acted_on.last()
                for _, number, accepted in self._of_action
            ]
        number = jnp.zeros(jnp.shape(timestep.step_type), jnp.int32)
        for i, lanes in reversed(list(enumerate(bad, 1))):
            number = jnp.where(lanes, i, number)
        return number

    def check(self, numbers: Any) -> None:
        """Raises the first fault of some ticks, as EnvironmentFailure or ActionFailure.

        Args: numbers: of `of`, int32[..., B].
        """
        numbers = np.asarray(numbers)
        if not numbers.any():
            return
        *_, lane = np.argwhere(numbers)[0].tolist()
        number = int(numbers[numbers != 0][0]) - 1
        if number < len(self._of_timestep):
            raise EnvironmentFailure(
                f'the environment of lane {lane} broke its spec: {self._of_timestep[number][0]}.'
            )
        words = self._of_action[number - len(self._of_timestep)][0]
        raise ActionFailure(f'the action of lane {lane} is not of its spec: {words}.')


def _leaf_out_of(number: int, accepted: tuple[float, float]) -> Callable[[TimeStep], Any]:
    def is_bad(timestep: TimeStep) -> Any:
        return _is_out_of(jax.tree_util.tree_leaves(timestep.observation)[number], accepted)

    return is_bad


def _is_out_of(leaf: Array, accepted: tuple[Any, Any]) -> jax.Array:
    """bool[B]: lanes with a value outside an interval; NaN is always outside."""
    low, high = (
        np.broadcast_to(bound, leaf.shape) if np.ndim(bound) else bound for bound in accepted
    )
    good = (leaf >= low) & (leaf <= high)
    return ~jnp.all(jnp.reshape(good, (len(leaf), -1)), axis=1)
