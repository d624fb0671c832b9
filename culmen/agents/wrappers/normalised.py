"""An agent that observes numbers of mean 0 and deviation 1.

Mean and variance of each observed number are part of the training state, and reach actors and evaluators with
the parameters. A sample is normalised by the statistics as they were before its update, the base updates on
it, then the statistics do: on-policy, the learner sees the numbers that the actor saw.
"""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.agents.wrappers.parts import Moments
from culmen.agents.wrappers.parts import against
from culmen.agents.wrappers.parts import all_steps
from culmen.agents.wrappers.parts import initial_moments
from culmen.agents.wrappers.parts import is_real
from culmen.agents.wrappers.parts import map_steps
from culmen.agents.wrappers.parts import update_moments
from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.checks import POSITIVE
from culmen.core.checks import check_fields
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import legal_actions
from culmen.core.specs import unbounded
from culmen.core.types import ActorCore
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Samples
from culmen.core.types import State
from culmen.core.types import TimeStep


class NormalisedState(NamedTuple):
    """The training state, and in the same places the parameters that actors read."""

    base: Any
    moments: Moments  # of each leaf of floats


@dataclass(frozen=True)
class Normalised:
    """An agent around another, whose observations it normalises."""

    base: Agent  # any
    # Normalised numbers are clipped to [-this, this].
    max_deviation: Annotated[float, POSITIVE] = 10.0
    epsilon: Annotated[float, POSITIVE] = 1e-8  # beside the variance

    def __post_init__(self) -> None:
        check_fields(self)

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec; floats are normalised, all else is passed on."""
        leaves, structure = jax.tree_util.tree_flatten(spec.observation)
        legal = legal_actions(spec.observation)
        chosen = [
            i
            for i, leaf in enumerate(leaves)
            if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf is not legal
        ]
        if not chosen:
            raise ValueError(f'Normalised needs floats to observe, got {spec.observation!r}.')

        observed = structure.unflatten(
            [
                unbounded(leaf).replace(dtype=jnp.float32) if i in chosen else leaf
                for i, leaf in enumerate(leaves)
            ]
        )
        base = self.base.build(spec._replace(observation=observed))

        def picked(observation: Nest) -> list[Any]:
            flat = structure.flatten_up_to(observation)
            return [flat[i] for i in chosen]

        def normalise(observation: Nest, moments: Moments) -> Nest:
            flat = list(structure.flatten_up_to(observation))
            for i, mean, variance in zip(chosen, moments.mean, moments.variance, strict=True):
                deviation = jnp.sqrt(variance + self.epsilon)
                scaled = (flat[i] - against(mean, flat[i])) / against(deviation, flat[i])
                bounded = jnp.clip(scaled, -self.max_deviation, self.max_deviation)
                flat[i] = bounded.astype(jnp.float32)
            return structure.unflatten(flat)

        def around(core: ActorCore) -> ActorCore:
            def select_action(
                params: Params, timestep: TimeStep, state: State, context: Context
            ) -> tuple[Nest, State, Nest]:
                observation = normalise(timestep.observation, params.moments)
                timestep = timestep._replace(observation=observation)
                return core.select_action(params.base, timestep, state, context)

            return ActorCore(core.init, select_action)

        def init(key: jax.Array) -> NormalisedState:
            shapes = [tuple(leaves[i].shape) for i in chosen]
            return NormalisedState(base.learner.init(key), initial_moments(shapes))

        def update(
            state: NormalisedState, samples: Samples, context: Context
        ) -> tuple[NormalisedState, Metrics, Any]:
            normalised = map_steps(
                lambda steps: steps._replace(
                    observation=normalise(steps.observation, state.moments)
                ),
                base.experience,
                samples,
            )
            trained, metrics, priorities = base.learner.update(state.base, normalised, context)
            moments = state.moments
            for steps in all_steps(base.experience, samples):
                values = [jnp.asarray(leaf, jnp.float32) for leaf in picked(steps.observation)]
                real: list[Array] = [is_real(steps, leaf.shape[1]) for leaf in values]
                moments = update_moments(moments, values, real)
            deviations = [jnp.ravel(jnp.sqrt(variance)) for variance in moments.variance]
            metrics = {
                **metrics,
                'observation_deviation': jnp.mean(jnp.concatenate(deviations)),
            }
            return NormalisedState(trained, moments), metrics, priorities

        def variables(state: NormalisedState) -> NormalisedState:
            return NormalisedState(base.learner.variables(state.base), state.moments)

        return Parts(
            around(base.actor),
            around(base.evaluator),
            LearnerCore(init, update, variables),
            base.experience,
        )
