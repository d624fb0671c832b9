"""Trained policies of any agent as callables."""

from dataclasses import dataclass
from typing import Any

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.actors import Actor
from culmen.components.counts import fold_seed
from culmen.components.dispatch import Contexts
from culmen.core.checks import check_range
from culmen.core.experiment import Experiment
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import BatchedEnvironment
from culmen.environment_loops.boundary import as_actions
from culmen.environment_loops.evaluation import Held
from culmen.launchers.building import build_agent
from culmen.launchers.building import with_functions


@dataclass(frozen=True, eq=False)
class MakePolicy:
    """Makes policies from learned params: seed -> Policy. A Result pickles with it."""

    experiment: Experiment
    spec: EnvironmentSpec
    params: Params
    counts: tuple[int, int]  # actor steps of the training, and the updates behind the params
    has_left_out_functions: bool = False  # whether the spec had any before it was pickled

    def __call__(self, seed: int = 0, lane: int = 0) -> 'Policy':
        """Makes a policy from the agent's evaluator and the params.

        Args:
            seed: of its random draws.
            lane: in which it acts, its first one; of several environments lane i has the one i modulo their
                number.
        """
        spec = (
            with_functions(self.experiment, self.spec) if self.has_left_out_functions else self.spec
        )
        evaluator = build_agent(self.experiment.agent, spec).evaluator
        params = jax.tree_util.tree_map(jnp.asarray, self.params)  # copied to the device once
        return Policy(evaluator, params, self.spec, seed, counts=self.counts, lane=lane)

    def __getstate__(self) -> dict[str, Any]:
        """The fields, without the functions of an environment, which do not pickle."""
        left_out = self.has_left_out_functions or self.spec.has_functions
        spec = self.spec.without_functions()
        return {**vars(self), 'spec': spec, 'has_left_out_functions': left_out}


class Policy:
    """policy(timestep) -> action. It holds the actor's state, which is reset at FIRST."""

    def __init__(
        self,
        core: ActorCore,
        params: Params,
        spec: EnvironmentSpec,
        seed: int = 0,
        num_lanes: int | None = None,
        counts: tuple[int, int] = (0, 0),
        lane: int = 0,
    ) -> None:
        """Args:
        core: an agent's evaluator.
        params: its variables.
        spec: of the environment.
        seed: of its random draws.
        num_lanes: None: time steps are unbatched.
        counts: actor steps of the training, and the updates behind the params.
        lane: its first lane.
        """
        check_range('lane', lane, 0)
        self._make = (core, params, spec, seed)
        self._lane = lane
        self._counts = counts
        self._spec = spec
        self._num_lanes = num_lanes
        index = np.arange(lane, lane + (num_lanes or 1), dtype=np.int32)
        lanes = Lanes(index, int(index[-1]) + 1)
        contexts = Contexts(seed, 'evaluator')
        variables = Held(params, counts[1])
        self._actor = Actor(core, variables, lanes, contexts, fold_seed(seed, 'evaluation'))
        self._stack = BatchedEnvironment([], spec, num_lanes=1).gather

    def __call__(self, timestep: dm_env.TimeStep | TimeStep) -> Nest:
        """Acts.

        Args:
            timestep: an unbatched `dm_env.TimeStep`; with num_lanes, a TimeStep of [num_lanes, ...] leaves.
        Returns: an action of the spec's shape and dtype, as NumPy; batched if the time step is.
        """
        actor_steps, _ = self._counts
        is_batched = self._num_lanes is not None
        batch = TimeStep(*timestep) if is_batched else self._stack([timestep])
        action = as_actions(self._spec.action, self._actor.select_action(batch, actor_steps))
        if is_batched:
            return action
        return jax.tree_util.tree_map(lambda leaf: leaf[0], action)

    def batched(self, num_lanes: int) -> 'Policy':
        """The same policy for this many lanes at once."""
        return Policy(*self._make, num_lanes, self._counts, self._lane)

    def __repr__(self) -> str:
        lanes: Any = self._num_lanes or 'unbatched'
        return f'Policy(lanes={lanes}, action={self._spec.action})'
