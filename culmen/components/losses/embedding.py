"""Inputs of a recurrent agent: observation, previous action and reward."""

import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import check_floats
from culmen.components.losses._common import check_numbers
from culmen.components.losses.base import one_hot


def embed_oar(features: Array, action: Array, reward: Array, num_actions: int) -> Array:
    """Joins features of an observation, the action before it and the reward that came with it.

        out = [features, one_hot(action), tanh(reward)]

    Args:
        features: [..., D] features of the observation at t.
        action: [...] action taken at t-1.
        reward: [...] reward at t.
        num_actions: number A of actions.
    Returns: [..., D + A + 1].
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Kapturowski et al., R2D2, 2019, section 2.3.
    Example:
        >>> print(embed_oar(jnp.array([[5., 6.]]), jnp.array([1]), jnp.array([0.]), 3))
        [[5. 6. 0. 1. 0. 0.]]
    """
    [features] = check_floats(features=features)
    features, reward = check_numbers(features=features, reward=reward)
    action = jnp.asarray(action)
    for name, array in (('action', action), ('reward', reward)):
        if array.shape != features.shape[:-1]:
            raise ValueError(
                f'{name} must have the shape of features without the last axis, '
                f'{features.shape[:-1]}, got shape {array.shape}'
            )
    return jnp.concatenate(
        [
            features,
            one_hot(action, num_actions, features.dtype),
            jnp.expand_dims(jnp.tanh(reward), -1),
        ],
        axis=-1,
    )
