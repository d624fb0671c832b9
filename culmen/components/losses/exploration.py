"""Noise for exploration. Every function is pure: the noise depends on its key."""

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check
from culmen.components.losses._common import check_floats


def add_gaussian_noise(key: Array, action: Array, stddev: Numeric) -> Array:
    """Adds independent normal noise to an action.

        out = action + stddev ε,  ε ~ N(0, 1)

    Args:
        key: a random key.
        action: [...] continuous action.
        stddev: scalar ≥ 0; 0 yields the action.
    Returns: [...] noisy action, not clipped to any bounds.
    Raises: ValueError if the action is not of floats.
    Example:
        >>> print(add_gaussian_noise(jax.random.PRNGKey(0), jnp.array([1., 2.]), 0.))
        [1. 2.]
    """
    [action] = check_floats(action=action)
    return action + stddev * jax.random.normal(key, action.shape, action.dtype)


def add_ornstein_uhlenbeck_noise(
    key: Array, action: Array, noise_tm1: Array, damping: Numeric, stddev: Numeric
) -> Array:
    """Adds correlated noise: each value keeps most of the one before.

        out = action + n_t,  n_t = (1 - damping) noise_tm1 + stddev ε,  ε ~ N(0, 1)

    Args:
        key: a random key.
        action: [...] continuous action at t.
        noise_tm1: [...] noise at t-1, zeros at the first step; that of t is the result minus the
            action.
        damping: scalar in [0, 1]; 1 yields `add_gaussian_noise`, 0 a random walk.
        stddev: scalar ≥ 0.
    Returns: [...] noisy action.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Uhlenbeck and Ornstein, On the Theory of the Brownian Motion, 1930; Lillicrap et
        al., 2015, arXiv 1509.02971, section 7.
    Example:
        >>> print(add_ornstein_uhlenbeck_noise(
        ...     jax.random.PRNGKey(0), jnp.zeros(2), jnp.array([1., 2.]), .25, 0.))
        [0.75 1.5 ]
    """
    action, noise_tm1 = check_floats(action=action, noise_tm1=noise_tm1)
    if noise_tm1.shape != action.shape:
        raise ValueError(
            f'noise_tm1 must have the shape of action, {action.shape}, got shape {noise_tm1.shape}'
        )
    noise = jax.random.normal(key, action.shape, action.dtype)
    return action + (1 - damping) * noise_tm1 + stddev * noise


def add_dirichlet_noise(
    key: Array, prior: Array, dirichlet_alpha: Numeric, dirichlet_fraction: Numeric
) -> Array:
    """Mixes Dirichlet noise into prior policies, as AlphaZero does at the root of its search.

        out = (1 - fraction) prior + fraction η,  η ~ Dirichlet(alpha, ..., alpha)

    Args:
        key: a random key.
        prior: [B, N] policies over N actions.
        dirichlet_alpha: scalar > 0; small puts the noise on few actions.
        dirichlet_fraction: scalar in [0, 1]; 0 yields the prior.
    Returns: [B, N] policies.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Silver et al., AlphaZero, 2017, arXiv 1712.01815, methods; Schrittwieser et al.,
        MuZero, 2019, arXiv 1911.08265, appendix C.
    Example:
        >>> prior = jnp.array([[.25, .75]])
        >>> noisy = add_dirichlet_noise(jax.random.PRNGKey(0), prior, .3, .25)
        >>> print(jnp.sum(noisy, axis=1), bool(jnp.all(noisy >= .75 * prior)))
        [1.] True
    """
    prior, dirichlet_alpha = check('prior[B,N]:real dirichlet_alpha[]:real', prior, dirichlet_alpha)
    batch_size, num_actions = prior.shape
    alphas = jnp.broadcast_to(dirichlet_alpha, (num_actions,)).astype(prior.dtype)
    noise = jax.random.dirichlet(key, alphas, (batch_size,), prior.dtype)
    return (1 - dirichlet_fraction) * prior + dirichlet_fraction * noise
