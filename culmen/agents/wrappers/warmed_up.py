"""An agent that acts at random at first.

Until all actors together have taken `steps` steps, actions are uniformly random: legal discrete actions, or
points of a box. A base with a Replay learns from them as from any others. A Queue is for the policy's own
actions: there the random ones are masked, so that no update uses them. A base with a Queue in any of its
rules has them masked in all.
"""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.agents.wrappers.parts import BASE
from culmen.agents.wrappers.parts import all_steps
from culmen.agents.wrappers.parts import around_extras
from culmen.agents.wrappers.parts import base_extras
from culmen.agents.wrappers.parts import map_steps
from culmen.agents.wrappers.parts import select
from culmen.components.policies import lane_index
from culmen.components.policies import lane_keys
from culmen.components.policies import uniform_actions
from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.experience import Queue
from culmen.core.experience import tables
from culmen.core.rules import Rule
from culmen.core.rules import by_rule
from culmen.core.rules import map_rules
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Samples
from culmen.core.types import State
from culmen.core.types import Steps
from culmen.core.types import TimeStep

RANDOM = 'random'


class WarmedUpState(NamedTuple):
    """The actor's state."""

    base: State
    lane: Array  # int32[B]


@dataclass(frozen=True)
class WarmedUp:
    """An agent that acts at random before another takes over."""

    base: Agent  # any agent
    steps: Annotated[int, Range(0)] = 1_000  # of all actors, before the base acts

    def __post_init__(self) -> None:
        check_fields(self)

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        base = self.base.build(spec)
        queued = any(
            isinstance(table, Queue)
            for of_rule in by_rule(base.learner, base.experience).values()
            for table in tables(of_rule).values()
        )
        changed = map_rules(base, _own_actions_alone) if queued else base

        def init(key: jax.Array, lanes: Lanes) -> WarmedUpState:
            return WarmedUpState(base.actor.init(key, lanes), lane_index(lanes))

        def select_action(
            params: Params, timestep: TimeStep, state: WarmedUpState, context: Context
        ) -> tuple[Nest, WarmedUpState, Nest]:
            own, other = jax.random.split(context.key)
            action, after, extras = base.actor.select_action(
                params, timestep, state.base, context._replace(key=own)
            )
            keys = lane_keys(other, state.lane)
            drawn = uniform_actions('WarmedUp', spec, timestep.observation, keys)
            is_random = jnp.asarray(context.actor_steps) < self.steps
            action = jax.tree_util.tree_map(
                lambda a, b: jnp.where(is_random, a.astype(b.dtype), b), drawn, action
            )
            if queued:
                extras = {BASE: extras, RANDOM: jnp.full(state.lane.shape, is_random)}
            return action, WarmedUpState(after, state.lane), extras

        return Parts(
            ActorCore(init, select_action),
            base.evaluator,
            changed.learner,
            changed.experience,
        )


def _own_actions_alone(name: str, rule: Rule) -> Rule:
    """A rule that masks transitions of random actions."""

    def update(state: State, samples: Samples, context: Context) -> tuple[State, Metrics, Any]:
        def mask(steps: Steps) -> Steps:
            real = jnp.asarray(steps.mask) & ~jnp.asarray(steps.extras[RANDOM])
            return base_extras(steps)._replace(mask=real)

        masked = map_steps(mask, rule.experience, samples)
        trained, metrics, priorities = rule.update(state, masked, context)
        # A batch of random actions only changes nothing: otherwise momentum would move parameters, and means
        # would be NaN.
        any_left = jnp.any(
            jnp.stack([jnp.any(steps.mask) for steps in all_steps(rule.experience, masked)])
        )
        none = {name: jnp.zeros_like(value) for name, value in metrics.items()}
        return select(any_left, trained, state), select(any_left, metrics, none), priorities

    return Rule(update, around_extras(rule.experience, RANDOM))
