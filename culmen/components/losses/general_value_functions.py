"""Auxiliary tasks: rewards computed from observations, and the loss of learning to control them."""

from typing import Any

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check
from culmen.components.losses.value_learning import q_lambda


def pixel_control_rewards(observations: Array, cell_size: int) -> Array:
    """Rewards for changing the picture, one for each cell.

        r[t, i, j] = mean of |observations[t+1] - observations[t]| over the pixels of cell i, j

    Args:
        observations: [T+1, H, W, C] pictures of floats.
        cell_size: side of the square cells, which must divide H and W.
    Returns: [T, H / cell_size, W / cell_size] rewards.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Jaderberg et al., 2016, arXiv 1611.05397, section 3.1 and appendix B.
    Example:
        >>> pictures = jnp.stack([jnp.zeros((2, 4, 1)), jnp.ones((2, 4, 1)).at[:, 2:].set(3.)])
        >>> print(pixel_control_rewards(pictures, 2))
        [[[1. 3.]]]
    """
    [observations] = check('observations[T+1,H,W,C]:real', observations)
    _, height, width, channels = observations.shape
    if height % cell_size or width % cell_size:
        raise ValueError(
            f'cell_size must divide the height and the width of observations, '
            f'{height} and {width}, got {cell_size}'
        )
    change = jnp.abs(jnp.diff(observations, axis=0))
    rows, columns = height // cell_size, width // cell_size
    cells = jnp.reshape(change, (-1, rows, cell_size, columns, cell_size, channels))
    return jnp.mean(cells, axis=(2, 4, 5))


def feature_control_rewards(
    features: Array, cumulant_type: str = 'absolute_change', discount: Numeric | None = None
) -> Array:
    """Rewards for changing features, one for each feature.

        'feature'          r[t] = features[t+1]
        'absolute_change'  r[t] = |features[t+1] - features[t]|
        'increase'         r[t] = features[t+1] - features[t]
        'decrease'         r[t] = features[t] - features[t+1]
        'potential'        r[t] = discount features[t+1] - features[t]

    Args:
        features: [T+1, D] features.
        cumulant_type: which of the five.
        discount: scalar or [T, D], for 'potential' alone.
    Returns: [T, D] rewards.
    Raises: ValueError naming the argument whose shape, dtype or value is wrong.
    Reference: Jaderberg et al., 2016, arXiv 1611.05397, section 3.1; Ng et al., 1999, for the
        potential.
    Example:
        >>> print(feature_control_rewards(jnp.array([[1., 5.], [4., 2.]])))
        [[3. 3.]]
    """
    [features] = check('features[T+1,D]:real', features)
    before, after = features[:-1], features[1:]
    if cumulant_type == 'feature':
        return after
    if cumulant_type == 'absolute_change':
        return jnp.abs(after - before)
    if cumulant_type == 'increase':
        return after - before
    if cumulant_type == 'decrease':
        return before - after
    if cumulant_type == 'potential':
        if discount is None:
            raise ValueError('discount must be given for cumulant_type potential')
        return discount * after - before
    raise ValueError(
        f'cumulant_type must be feature, absolute_change, increase, decrease or '
        f'potential, got {cumulant_type}'
    )


def pixel_control_loss(
    observations: Array,
    actions: Array,
    action_values: Array,
    discount_factor: Numeric,
    cell_size: int,
    scale: Numeric = 1.0,
    crop_height_dim: tuple[int | None, int | None] = (None, None),
    crop_width_dim: tuple[int | None, int | None] = (None, None),
) -> Array:
    """Q(λ) losses, at λ = 1, of learning to change each cell of the picture.

        L[t, i, j] = ½ (G[t, i, j] - action_values[t, i, j, actions[t]])²

    with G the returns of `pixel_control_rewards`, bootstrapped from maxₐ action_values[T].

    Args:
        observations: [T+1, H, W, C] pictures.
        actions: [T] actions taken.
        action_values: [T+1, H', W', A] values for each cell.
        discount_factor: scalar or [T] discount; 0.9 in the paper.
        cell_size: side of the square cells.
        scale: scalar that pictures are multiplied by, such as 1/255; their integers may be given.
        crop_height_dim, crop_width_dim: (first, last + 1) rows and columns to keep, None for all.
    Returns: [T, H', W'] losses.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Jaderberg et al., 2016, arXiv 1611.05397, section 3.1.
    Example:
        >>> pictures = jnp.stack([jnp.zeros((2, 2, 1)), jnp.ones((2, 2, 1))])
        >>> print(pixel_control_loss(
        ...     pictures, jnp.array([0]), jnp.zeros((2, 1, 1, 3)), .9, 2, scale=2.))
        [[[2.]]]
    """
    observations, actions, action_values, discount_factor = check(
        'observations[T+1,H,W,C]:real actions[T]:int action_values[T+1,I,J,A] discount_factor[T?]:real',
        observations,
        actions,
        action_values,
        discount_factor,
    )
    rows, columns = slice(*crop_height_dim), slice(*crop_width_dim)
    pictures = observations[:, rows, columns].astype(action_values.dtype) * scale
    rewards = pixel_control_rewards(pictures, cell_size)
    if rewards.shape[1:] != action_values.shape[1:3]:
        raise ValueError(
            f"action_values must have shape [T+1, H', W', A] with [H', W'] = "
            f'{rewards.shape[1:]}, got shape {action_values.shape}'
        )
    discounts = jnp.broadcast_to(discount_factor, actions.shape)

    def cell_errors(q: Array, r: Array) -> Any:
        return q_lambda(q[:-1], actions, r, discounts, q[1:], 1.0)

    over_cells = jax.vmap(jax.vmap(cell_errors, 1, 1), 1, 1)
    return 0.5 * jnp.square(over_cells(action_values, rewards))
