"""A network small enough to compute with by hand: tables of logits and values, looked up."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from culmen.components.networks import ActorCriticNetwork
from culmen.components.networks import Categorical
from culmen.components.networks import PolicyAndValue
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Sample
from culmen.core.types import Steps

# Logits of two actions and a value for each of four observations: all policies are even.
PARAMS = {'logits': jnp.zeros((4, 2)), 'value': jnp.array([1.0, 2.0, 4.0, 6.0])}


def unroll(params: Any, observation: Any, step_type: Any, state: Any) -> PolicyAndValue:
    """The rows of the observations' numbers."""
    return PolicyAndValue(Categorical(params['logits'][observation]), params['value'][observation])


NETWORK = ActorCriticNetwork(
    init=lambda key: PARAMS,
    initial_state=lambda batch_size: (),
    step=None,  # type: ignore[arg-type]
    unroll=unroll,
)


def sample(
    observation: Any,
    reward: Any,
    action: Any = None,
    discount: Any = None,
    last: Any = (),
    behaviour: Any = None,
    version: int = 0,
) -> Sample:
    """One window: observation [T + 1]; reward, action, discount [T]; `last`: times that are LAST.

    behaviour: logits [T, 2] of the policy that acted; None: none is kept.
    """
    length = len(reward)
    step_type = np.full(length + 1, MID, np.int32)
    step_type[list(last)] = LAST
    discount = np.ones(length) if discount is None else discount
    action = np.zeros(length) if action is None else action
    extras = {}
    if behaviour is not None:
        extras['policy'] = Categorical(np.asarray(behaviour, np.float32)[None])
    steps = Steps(
        step_type=step_type[None],
        reward=np.concatenate([[9.0], reward]).astype(np.float32)[None],
        discount=np.concatenate([[0.5], discount]).astype(np.float32)[None],
        observation=np.asarray(observation, np.int32)[None],
        action=np.asarray(action, np.int32)[None],
        extras=extras,
        mask=(step_type[:-1] != LAST)[None],
    )
    ones = np.ones(1, np.float32)
    return Sample(steps, ones, np.int32(1), np.full(1, version, np.int32), np.zeros(1, np.int32))
