"""An agent whose observations are normalised to mean 0 and standard deviation 1.

Mean and variance of each observed number are part of the training state, and reach actors and evaluators with
the parameters. A sample is normalised with the statistics from before its update; the base updates first,
then the statistics. So an on-policy learner sees the numbers that the actor saw. Where the base has several
rules, the updates of each add to the statistics, so a rule sees numbers that moved with those of the others.
"""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.agents.wrappers.parts import Moments
from culmen.agents.wrappers.parts import against
from culmen.agents.wrappers.parts import initial_moments
from culmen.agents.wrappers.parts import is_real
from culmen.agents.wrappers.parts import map_leaves
from culmen.agents.wrappers.parts import update_with_moments
from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.checks import POSITIVE
from culmen.core.checks import check_fields
from culmen.core.rules import Rule
from culmen.core.rules import map_rules
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import leaf_paths
from culmen.core.specs import legal_actions
from culmen.core.specs import unbounded
from culmen.core.types import ActorCore
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import State
from culmen.core.types import Steps
from culmen.core.types import TimeStep


class NormalisedState(NamedTuple):
    """The training state; also the parameters that actors read, in the same fields."""

    base: Any
    moments: Moments  # of each leaf of floats


class _Floats(NamedTuple):
    """Which leaves of an observation are normalised; a window's may lack some of them."""

    paths: tuple[str, ...]

    def of(self, observation: Nest) -> list[Any]:
        """Those leaves, None for one that is left out."""
        leaves = dict(leaf_paths(observation))
        return [leaves.get(path) for path in self.paths]

    def map(self, observation: Nest, function: Callable[..., Any], *others: Sequence[Any]) -> Nest:
        """The observation with `function(leaf, *others)` in place of each of those leaves."""
        given = dict(zip(self.paths, zip(*others, strict=True), strict=True)) if others else {}

        def change(path: str, leaf: Any) -> Any:
            return function(leaf, *given.get(path, ())) if path in self.paths else leaf

        return map_leaves(change, observation)


def _floats(observation_spec: Any) -> _Floats:
    """The float leaves of an observation, without legal actions. Raises: ValueError if there are none."""
    masks = {id(mask) for mask in jax.tree_util.tree_leaves(legal_actions(observation_spec))}
    paths = tuple(
        path
        for path, leaf in leaf_paths(observation_spec)
        if jnp.issubdtype(leaf.dtype, jnp.floating) and id(leaf) not in masks
    )
    if not paths:
        raise ValueError(f'Normalised needs floats to observe, got {observation_spec!r}.')
    return _Floats(paths)


@dataclass(frozen=True)
class Normalised:
    """An agent that normalises the observations of another."""

    base: Agent  # any agent
    # Normalised numbers are clipped to [-max_deviation, max_deviation].
    max_deviation: Annotated[float, POSITIVE] = 10.0
    epsilon: Annotated[float, POSITIVE] = 1e-8  # added to the variance

    def __post_init__(self) -> None:
        check_fields(self)

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec; only floats are normalised."""
        floats = _floats(spec.observation)
        observed = floats.map(
            spec.observation, lambda leaf: unbounded(leaf).replace(dtype=jnp.float32)
        )
        # The model gives observations as they are, which the base does not know.
        base = self.base.build(spec.without_functions()._replace(observation=observed))

        def normalise(observation: Nest, moments: Moments) -> Nest:
            def scale(leaf: Array, mean: Array, variance: Array) -> jax.Array:
                deviation = jnp.sqrt(variance + self.epsilon)
                scaled = (leaf - against(mean, leaf)) / against(deviation, leaf)
                bounded = jnp.clip(scaled, -self.max_deviation, self.max_deviation)
                return bounded.astype(jnp.float32)

            return floats.map(observation, scale, moments.mean, moments.variance)

        def around(core: ActorCore) -> ActorCore:
            def select_action(
                params: Params, timestep: TimeStep, state: State, context: Context
            ) -> tuple[Nest, State, Nest]:
                observation = normalise(timestep.observation, params.moments)
                timestep = timestep._replace(observation=observation)
                return core.select_action(params.base, timestep, state, context)

            return ActorCore(core.init, select_action)

        def init(key: jax.Array) -> NormalisedState:
            shapes = [tuple(leaf.shape) for leaf in floats.of(spec.observation)]
            return NormalisedState(base.learner.init(key), initial_moments(shapes))

        def change(steps: Steps, moments: Moments) -> Steps:
            return steps._replace(observation=normalise(steps.observation, moments))

        def measure(steps: Steps) -> tuple[list[Array | None], list[Array | None]]:
            values: list[Array | None] = [
                None if leaf is None else jnp.asarray(leaf, jnp.float32)
                for leaf in floats.of(steps.observation)
            ]
            real: list[Array | None] = [
                None if leaf is None else is_real(steps, leaf.shape[1]) for leaf in values
            ]
            return values, real

        def around_rule(name: str, rule: Rule) -> Rule:
            update = update_with_moments(rule, change, measure, 'observation_deviation')
            return rule._replace(update=update)

        def variables(state: NormalisedState) -> NormalisedState:
            return NormalisedState(base.learner.variables(state.base), state.moments)

        learner = map_rules(base, around_rule).learner
        return Parts(
            around(base.actor),
            around(base.evaluator),
            LearnerCore(init, learner.update, variables, learner.warning),
            base.experience,
        )
