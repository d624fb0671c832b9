"""Priorities of new items, from the action values that acted: Horgan et al. 2018 (1803.00933), section 3.

A policy puts them into the extras (`culmen.components.policies.values_that_acted`), so no network has to run
again. Values of the last observation of a window are not known when it is stored; those of the observation
before stand for them. Where an episode ends by a termination they are not needed.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.core.types import Array
from culmen.core.types import Steps


def n_step_targets(
    v_t: Array, steps: Steps, discount: Array | float, n_step: int, rescale: bool = False
) -> jax.Array:
    """What action values should be at each step of windows: n rewards, then a value.

    Args:
        v_t: float32[B, T] values where each transition leads to.
        steps: B windows of T transitions, within episodes.
        discount: per step.
        n_step: rewards before the value; fewer where the window or the episode ends.
        rescale: whether values are rescaled returns, Kapturowski et al. 2019, equation 1.
    Returns: float32[B, T], without gradient; meaningless where the mask is False.
    """
    pair = losses.SIGNED_HYPERBOLIC_PAIR if rescale else losses.IDENTITY_PAIR
    # Where an episode ends, returns end too: they bootstrap, if at all, from its last observation.
    goes_on = jnp.pad(steps.mask[:, 1:], ((0, 0), (0, 1))).astype(jnp.float32)
    returns = functools.partial(
        losses.transformed_n_step_returns, pair, n=n_step, stop_target_gradients=True
    )
    r_t, discount_t = steps.reward[:, 1:], discount * steps.discount[:, 1:]
    return jax.vmap(returns)(r_t, discount_t, v_t, lambda_t=goes_on)


def errors_that_acted(
    steps: Steps, discount: Array | float, n_step: int, rescale: bool = False
) -> jax.Array:
    """Errors of the values that acted, whose extras have `q` and `best_q`, float32[B, T].

    Args: as for `n_step_targets`.
    Returns: float32[B, T]; meaningless where the mask is False.
    """
    best_q = jnp.asarray(steps.extras['best_q'])
    known = jnp.pad(steps.mask[:, 1:], ((0, 0), (0, 1)))
    v_t = jnp.where(known, jnp.roll(best_q, -1, axis=1), best_q)
    return n_step_targets(v_t, steps, discount, n_step, rescale) - steps.extras['q']


@dataclass(frozen=True)
class ErrorThatActed:
    """`Replay.priority` of n-step transitions: the absolute error of the values that acted."""

    discount: float  # per step
    reward_clip: float | None = None  # rewards are clipped to [-clip, clip]; None: not at all

    def __call__(self, steps: Steps) -> Array:
        """Windows [N] of n transitions -> float32[N]."""
        seen = steps._replace(observation=(), action=())
        return _first_error(seen, self.discount, self.reward_clip)


@jax.jit
def _first_error(steps: Steps, discount: Array, reward_clip: Array | None) -> Array:
    if reward_clip is not None:
        steps = steps._replace(reward=jnp.clip(steps.reward, -reward_clip, reward_clip))
    length = steps.mask.shape[1]
    return jnp.abs(errors_that_acted(steps, discount, length)[:, 0])
