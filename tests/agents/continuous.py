"""For agents of bounded actions: a policy and critics small enough to compute with, and what one does."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.dispatch import unpack_context
from culmen.components.networks import ContinuousNetworks
from culmen.components.networks import CriticParams
from culmen.components.networks import action_box
from culmen.core.types import MID
from culmen.core.types import Sample
from culmen.core.types import Steps
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams

LANES = 2000
# Actions from -2 to 2: canonical ones are half of them.
BOX = action_box(
    'tests',
    registry.continuous_spec(1)._replace(action=specs.BoundedArray((1,), np.float32, -2, 2)),
)


def make_networks(policy: Any, policy_params: Any) -> ContinuousNetworks:
    """Two critics q[i] = w[i] o + a, of observations and canonical actions [B, 1]; a given policy.

    The policy is (params, observation [B, 1]) -> what its head gives.
    """

    def critics(weights: Any, features: Any, action: Any) -> Any:
        return weights[:, None] * features[None, :, 0] + action[None, :, 0]

    return ContinuousNetworks(
        init=lambda key: (policy_params, CriticParams({}, jnp.array([1.0, 3.0]))),
        encode=lambda params, observation: jnp.asarray(observation),
        policy=policy,
        critics=critics,
        box=BOX,
    )


def sample(o_tm1: Any, a_tm1: Any, rewards: Any, discounts: Any, o_t: Any) -> Sample:
    """B windows of n transitions: o_tm1, a_tm1 (the environment's), o_t [B]; the others [B, n]."""
    rewards, discounts = np.asarray(rewards, np.float32), np.asarray(discounts, np.float32)
    batch, length = rewards.shape
    action = np.zeros((batch, length, 1), np.float32)
    action[:, 0, 0] = a_tm1
    steps = Steps(
        step_type=np.full((batch, length + 1), MID, np.int32),
        reward=np.concatenate([np.full((batch, 1), 9.0, np.float32), rewards], axis=1),
        discount=np.concatenate([np.full((batch, 1), 0.5, np.float32), discounts], axis=1),
        observation=np.stack([o_tm1, o_t], axis=1).astype(np.float32)[..., None],
        action=action,
        extras=(),
        mask=np.ones((batch, length), bool),
    )
    probability = np.full(batch, 0.01, np.float32)
    return Sample(steps, probability, np.int32(100), *np.zeros((2, batch), np.int32))


# From 1 to 2 by the environment's action 1 of [-2, 2] (canonical 0.5) with reward 1; a termination at
# -1 by action -2 (canonical -1) with reward -3.
TWO = sample(
    o_tm1=[1, -1], a_tm1=[1, -2], rewards=[[1], [-3]], discounts=[[1.0], [0.0]], o_t=[2, 5]
)


def act(agent: Any, role: str, actor_steps: int = 0, observed: float = 1.0) -> Any:
    """Actions float32[LANES, 2] where all that is observed is one number, of a new agent in a role."""
    given = jax.jit(lambda packed: acted(agent, role, packed, observed))
    return np.asarray(given(streams.packed(7, actor_steps)))


def acted(agent: Any, role: str, packed: Any, observed: Any) -> Any:
    """The same as a function to compile, of a packed context."""
    parts = agent.build(registry.continuous_spec())
    core = getattr(parts, role)
    timestep = TimeStep(np.ones(LANES, np.int32), None, None, jnp.full((LANES, 4), observed))
    params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
    state = core.init(jax.random.key(0), streams.lanes(LANES))
    return core.select_action(params, timestep, state, unpack_context(packed))[0]
