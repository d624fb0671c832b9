"""Clipping of gradients on their way back. (`huber_loss`, which clips an error's, is a loss.)"""

from typing import Any

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Numeric


def clip_gradient(x: Any, gradient_min: Numeric, gradient_max: Numeric) -> Any:
    """Returns x, and clips the gradient that flows back through it, entry by entry.

        y = x,  ∂L/∂x = clip(∂L/∂y, gradient_min, gradient_max)

    Forward mode sees the identity.

    Args:
        x: an array, or a tree of arrays.
        gradient_min, gradient_max: scalars, the bounds of every entry of the gradient; they get no
            gradient themselves, and may be traced.
    Returns: x.
    Reference: Mnih et al., Human-Level Control through Deep RL, 2015, methods (the error clip).
    Example:
        >>> print(jax.grad(lambda x: 5. * clip_gradient(x, -1., 1.))(3.))
        1.0
        >>> print(jax.jvp(lambda x: 5. * clip_gradient(x, -1., 1.), (3.,), (1.,))[1])
        5.0
    """
    low, high = jax.lax.stop_gradient((gradient_min, gradient_max))

    def clip_cotangent(_: Any, cotangent: Any) -> Any:
        return jnp.clip(cotangent, low, high)

    def through(leaf: Any) -> Any:
        # The solution of I y = x is x, and a linear solve may state how it is transposed: unlike
        # a custom gradient, it keeps forward mode and batching.
        return jax.lax.custom_linear_solve(
            lambda y: y, jnp.asarray(leaf), lambda _, x: x, transpose_solve=clip_cotangent
        )

    return jax.tree_util.tree_map(through, x)
