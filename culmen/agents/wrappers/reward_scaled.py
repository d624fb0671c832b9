"""An agent whose rewards are divided by the standard deviation of the return.

Engstrom et al. 2020, "Implementation Matters in Deep Policy Gradients" (2005.12729), appendix A.1: each lane
has a discounted sum of its rewards, and rewards are divided by the running deviation of that sum. The actor
keeps the sum and puts it into the extras. The statistics are part of the training state, and reach actors
with the parameters, since a base may observe rewards.
"""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.agents.wrappers.parts import BASE
from culmen.agents.wrappers.parts import Moments
from culmen.agents.wrappers.parts import against
from culmen.agents.wrappers.parts import around_extras
from culmen.agents.wrappers.parts import base_extras
from culmen.agents.wrappers.parts import initial_moments
from culmen.agents.wrappers.parts import map_leaves
from culmen.agents.wrappers.parts import update_with_moments
from culmen.components import policies
from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.rules import Rule
from culmen.core.rules import map_rules
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import leaf_paths
from culmen.core.types import ActorCore
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import LearnerCore
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import State
from culmen.core.types import Steps
from culmen.core.types import TimeStep

RETURN = 'return'


class RewardScaledState(NamedTuple):
    """The training state; also the parameters that actors read, in the same fields."""

    base: State
    moments: Moments  # of the discounted sum of each leaf of the reward


class SummingState(NamedTuple):
    """The actor's state."""

    base: State
    sums: Nest  # float32[B], or a nest of such: rewards of the episode so far, discounted


@dataclass(frozen=True)
class RewardScaled:
    """An agent that scales the rewards of another."""

    base: Agent  # any agent
    discount: Annotated[float, Range(0, 1)] = 0.99  # of the sum, per step
    # Scaled rewards are clipped to [-max_reward, max_reward].
    max_reward: Annotated[float, POSITIVE] = 10.0
    epsilon: Annotated[float, POSITIVE] = 1e-8  # added to the variance

    def __post_init__(self) -> None:
        check_fields(self)

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        base = self.base.build(spec)
        rewards, structure = jax.tree_util.tree_flatten(spec.reward)
        paths = [path for path, _ in leaf_paths(spec.reward)]

        def init_actor(key: jax.Array, lanes: Lanes) -> SummingState:
            num_lanes = jnp.shape(lanes.index)[0]
            sums = [jnp.zeros((num_lanes, *leaf.shape), jnp.float32) for leaf in rewards]
            return SummingState(base.actor.init(key, lanes), structure.unflatten(sums))

        def scale(reward: Nest, moments: Moments) -> Nest:
            return _scaled(reward, moments, paths, self.epsilon, self.max_reward)

        def around(core: ActorCore) -> Any:
            def select_action(
                params: Params, timestep: TimeStep, state: State, context: Context
            ) -> tuple[Nest, State, Nest]:
                scaled = timestep._replace(reward=scale(timestep.reward, params.moments))
                return core.select_action(params.base, scaled, state, context)

            return select_action

        act = around(base.actor)

        def select_action(
            params: Params, timestep: TimeStep, state: SummingState, context: Context
        ) -> tuple[Nest, SummingState, Nest]:
            sums = policies.episode_return(timestep, state.sums, self.discount)
            action, after, extras = act(params, timestep, state.base, context)
            return action, SummingState(after, sums), {BASE: extras, RETURN: sums}

        def init(key: jax.Array) -> RewardScaledState:
            moments = initial_moments([tuple(leaf.shape) for leaf in rewards])
            return RewardScaledState(base.learner.init(key), moments)

        def change(steps: Steps, moments: Moments) -> Steps:
            return base_extras(steps)._replace(reward=scale(steps.reward, moments))

        def measure(steps: Steps) -> tuple[list[Any], list[Any]]:
            sums = _sums_after(steps, paths, self.discount)
            return sums, [jnp.asarray(steps.mask)] * len(sums)

        def around_rule(name: str, rule: Rule) -> Rule:
            update = update_with_moments(rule, change, measure, 'return_deviation')
            return Rule(update, around_extras(rule.experience, RETURN))

        def variables(state: RewardScaledState) -> RewardScaledState:
            return RewardScaledState(base.learner.variables(state.base), state.moments)

        changed = map_rules(base, around_rule)
        return Parts(
            ActorCore(init_actor, select_action),
            ActorCore(base.evaluator.init, around(base.evaluator)),
            LearnerCore(init, changed.learner.update, variables, base.learner.warning),
            changed.experience,
        )


def _scaled(
    reward: Nest, moments: Moments, paths: list[str], epsilon: Any, max_reward: Any
) -> Nest:
    """Divides a reward by the deviation of its discounted sum, and clips it.

    Args: reward: a window's may lack leaves. paths: of its leaves, in the order of the moments.
    """

    def scale(path: str, leaf: Any) -> jax.Array:
        deviation = jnp.sqrt(moments.variance[paths.index(path)] + epsilon)
        return jnp.clip(leaf / against(deviation, leaf), -max_reward, max_reward)

    return map_leaves(scale, reward)


def _sums_after(steps: Steps, paths: list[str], discount: Any) -> list[Any]:
    """The discounted sum after each transition's reward, the last of an episode included.

    Args: paths: of the leaves of the reward.
    Returns: float32[B, length] of each leaf; None for one that the window lacks.
    """
    rewards, before = dict(leaf_paths(steps.reward)), dict(leaf_paths(steps.extras[RETURN]))
    return [
        rewards[path][:, 1:] + discount * before[path] if path in rewards else None
        for path in paths
    ]
