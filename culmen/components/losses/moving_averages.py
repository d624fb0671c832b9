"""Exponential moving averages of the mean and the variance of every leaf of a tree."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric


class EmaMoments(NamedTuple):
    """Moments of each leaf.

    Attributes:
        mean: a tree of scalars.
        variance: a tree of scalars ≥ 0.
    """

    mean: Any
    variance: Any


class EmaState(NamedTuple):
    """The state that the averages carry from update to update.

    Attributes:
        mu, nu: trees of scalars, averages of values and of squares that began at 0.
        decay_product: scalar, decay to the power of the number of updates.
    """

    mu: Any
    nu: Any
    decay_product: Numeric

    def debiased_moments(self) -> EmaMoments:
        """The moments, without the bias from the averages' initial zeros.

            mean = mu / (1 - decay_product),  variance = max(0, nu / (1 - decay_product) - mean²)

        Returns: `EmaMoments`; zeros before the first update.
        Reference: Kingma and Ba, Adam, 2014, arXiv 1412.6980, section 3.
        Example:
            >>> print(EmaState(jnp.array(1.), jnp.array(4.), jnp.array(.5)).debiased_moments())
            EmaMoments(mean=Array(2., dtype=float32), variance=Array(4., dtype=float32))
        """
        decay_product = jnp.asarray(self.decay_product, jnp.float32)
        weight = jnp.maximum(1 - decay_product, jnp.finfo(decay_product.dtype).tiny)
        mean = jax.tree_util.tree_map(lambda m: m / weight, self.mu)
        variance = jax.tree_util.tree_map(
            lambda second, m: jnp.maximum(second / weight - jnp.square(m), 0), self.nu, mean
        )
        return EmaMoments(mean, variance)


def create_ema(
    decay: Numeric = 0.999,
    pmean_axis_name: str | None = None,
) -> tuple[Callable[[Any], EmaState], Callable[[Any, EmaState], tuple[EmaMoments, EmaState]]]:
    """The two functions of a moving average: the first state, and the update.

        mu ← decay mu + (1 - decay) mean(x),  nu ← decay nu + (1 - decay) mean(x²)

    Args:
        decay: scalar in [0, 1); 0 keeps the last value alone.
        pmean_axis_name: name of a mapped axis to average over as well, or None.
    Returns: `init_state(template_tree)`, and `update_moments(tree, state)` that gives the debiased
        moments and the new state.
    Reference: Kingma and Ba, Adam, 2014, arXiv 1412.6980, algorithm 1.
    Example:
        >>> init_state, update_moments = create_ema(decay=.5)
        >>> moments, _ = update_moments(jnp.array([1., 3.]), init_state(jnp.zeros(2)))
        >>> print(moments)
        EmaMoments(mean=Array(2., dtype=float32), variance=Array(1., dtype=float32))
    """

    def init_state(template_tree: Any) -> EmaState:
        zeros = jax.tree_util.tree_map(lambda x: jnp.zeros_like(jnp.mean(x)), template_tree)
        return EmaState(zeros, zeros, jnp.ones((), jnp.float32))

    def updated(average: Array, values: Array) -> Array:
        mean = jnp.mean(values)
        if pmean_axis_name is not None:
            mean = jax.lax.pmean(mean, pmean_axis_name)
        return decay * average + (1 - decay) * mean

    def update_moments(tree: Any, state: EmaState) -> tuple[EmaMoments, EmaState]:
        mu = jax.tree_util.tree_map(updated, state.mu, tree)
        nu = jax.tree_util.tree_map(updated, state.nu, jax.tree_util.tree_map(jnp.square, tree))
        state = EmaState(mu, nu, state.decay_product * decay)
        return state.debiased_moments(), state

    return init_state, update_moments
