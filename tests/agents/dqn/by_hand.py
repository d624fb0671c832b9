"""A network small enough to compute with by hand: a table of action values, looked up."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.networks import Network
from culmen.core.types import MID
from culmen.core.types import Context
from culmen.core.types import Sample
from culmen.core.types import Steps

# Q(o, a) of the online and of the target network, for three observations and two actions.
ONLINE = jnp.array([[1.0, 2.0], [3.0, 5.0], [0.0, 0.0]])
TARGET = jnp.array([[0.0, 0.0], [8.0, 6.0], [4.0, 4.0]])


def lookup(params: Any, observation: Any) -> Any:
    """The row of an observation's number."""
    number = observation['number'] if isinstance(observation, dict) else observation
    return params[number]


CONTEXT = Context(jax.random.key(0), jnp.int32(0), jnp.int32(0), jnp.int32(0))
NETWORK = Network(init=lambda key: ONLINE, apply=lookup)


def sample(
    o_tm1: Any,
    a_tm1: Any,
    rewards: Any,
    discounts: Any,
    o_t: Any,
    probability: Any = None,
    size: int = 100,
    legal: Any = None,
) -> Sample:
    """B windows of n transitions: o_tm1, a_tm1, o_t [B]; rewards, discounts [B, n]."""
    rewards, discounts = np.asarray(rewards, np.float32), np.asarray(discounts, np.float32)
    batch, length = rewards.shape
    observation: Any = np.stack([o_tm1, o_t], axis=1).astype(np.int32)
    if legal is not None:
        observation = {'number': observation, 'legal_actions': np.asarray(legal, bool)}
    action = np.zeros((batch, length), np.int32)
    action[:, 0] = a_tm1
    steps = Steps(
        step_type=np.full((batch, length + 1), MID, np.int32),
        reward=np.concatenate([np.full((batch, 1), 9.0, np.float32), rewards], axis=1),
        discount=np.concatenate([np.full((batch, 1), 0.5, np.float32), discounts], axis=1),
        observation=observation,
        action=action,
        extras=(),
        mask=np.ones((batch, length), bool),
    )
    if probability is None:
        probability = np.full(batch, 1.0 / size)
    return Sample(
        steps, np.asarray(probability, np.float32), np.int32(size), *np.zeros((2, batch), np.int32)
    )


# The transition 0 -> 1 by action 1 with reward 1, and a termination at 1 by action 0 with reward -1.
TWO = sample(
    o_tm1=[0, 1], a_tm1=[1, 0], rewards=[[1.0], [-1.0]], discounts=[[1.0], [0.0]], o_t=[1, 2]
)
