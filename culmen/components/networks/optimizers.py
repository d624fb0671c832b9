"""Optimisers of a network's parameters, all of them as one vector: fewer, larger kernels."""

import optax

from culmen.core.types import Array


def adam(
    learning_rate: float | Array, max_gradient_norm: float | Array | None = None
) -> optax.GradientTransformation:
    """Adam, Kingma and Ba 2015 (1412.6980).

    Args: max_gradient_norm: to which gradients are scaled whose global norm is larger; None: none are.
    """
    optimizer = optax.adam(learning_rate)
    if max_gradient_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(max_gradient_norm), optimizer)
    return optax.flatten(optimizer)
