"""Returns of whole batches of windows, from values of their time steps.

The losses take one sequence each; these take a batch of `Steps`, whose mask cuts a return where a window is
padded or the next episode begins. What is not real has the return 0.
"""

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.core.types import Array
from culmen.core.types import Steps


def lambda_returns(
    steps: Steps, value: Array, discount: float | Array, lambda_: float | jax.Array
) -> jax.Array:
    """Returns that mix bootstraps of every length (`losses.lambda_returns`), without gradient.

    Args:
        steps: B windows of T transitions, with every reward and discount.
        value: float32[B, T + 1] of the observations. A truncated episode bootstraps from its own last one.
        discount: per step.
        lambda_: in [0, 1]; 0: one-step targets, 1: discounted returns.
    Returns: float32[B, T]: the target of each transition's first observation.
    """
    return jax.vmap(
        lambda r_t, discount_t, v_t, mask: losses.lambda_returns(
            r_t, discount_t, v_t, lambda_, stop_target_gradients=True, mask=mask
        )
    )(steps.reward[:, 1:], discount * steps.discount[:, 1:], value[:, 1:], steps.mask)


def generalised_advantages(
    steps: Steps, value: Array, discount: float | Array, lambda_: float | jax.Array
) -> jax.Array:
    """Advantages, Schulman et al. 2016 (1506.02438), equation 16.

    Args: as for `lambda_returns`.
    Returns: float32[B, T]; gradients reach them through the values.
    """
    return jax.vmap(
        lambda r_t, discount_t, v_tm1, v_t, mask: losses.truncated_generalized_advantage_estimation(
            r_t, discount_t, lambda_, v_tm1=v_tm1, v_t=v_t, mask=mask
        )
    )(
        steps.reward[:, 1:],
        discount * steps.discount[:, 1:],
        value[:, :-1],
        value[:, 1:],
        steps.mask,
    )


def returns_to_go(
    steps: Steps, discount: float | Array = 1.0, value: Array | None = None
) -> jax.Array:
    """Discounted sums of the rewards from each transition to the episode's end, or the window's.

    Args:
        steps: as for `lambda_returns`.
        discount: per step.
        value: float32[B, T + 1], added where the window or a truncation ends a sum; None: nothing is.
    Returns: float32[B, T].
    """
    bootstrap = jnp.zeros_like(steps.reward) if value is None else value
    return jax.vmap(
        lambda r_t, discount_t, v_t, mask: losses.discounted_returns(
            r_t, discount_t, v_t, stop_target_gradients=True, mask=mask
        )
    )(steps.reward[:, 1:], discount * steps.discount[:, 1:], bootstrap[:, 1:], steps.mask)
