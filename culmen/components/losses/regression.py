"""Losses of a prediction against a target, such as losses of temporal difference errors.

All work elementwise, on arrays of any shape, and return the shape they were given: the caller
takes the mean, and multiplies by importance weights first.
"""

import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check_floats
from culmen.components.losses._common import check_numbers


def l2_loss(predictions: Array, targets: Array | None = None) -> Array:
    """Half the squared error; without targets, half the square: a regulariser.

        L = ½ (targets - predictions)²

    The half makes the gradient the error itself, without a factor of two.

    Args:
        predictions: [...] predictions, or errors where there are no targets.
        targets: [...] targets of the same shape, or None for zeros.
    Returns: [...] losses, of the shape of predictions.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Bishop, Pattern Recognition and Machine Learning, 2006, eq. 1.2.
    Example:
        >>> print(l2_loss(jnp.array([1., 2., 3.]), jnp.array([1., 4., 0.])))
        [0.  2.  4.5]
    """
    if targets is None:
        [predictions] = check_floats(predictions=predictions)
        return 0.5 * jnp.square(predictions)
    predictions, targets = _pair(predictions, targets)
    return 0.5 * jnp.square(targets - predictions)


def huber_loss(x: Array, delta: Numeric = 1.0) -> Array:
    """Half the squared error near zero, a straight line far from it.

        L = ½ x²                 where |x| ≤ delta
        L = delta (|x| - ½ delta)  elsewhere

    The gradient is the error clipped to [-delta, delta], so one surprising transition can not
    move the parameters far. A large delta yields the squared error; a small one yields delta
    times the absolute error.

    Args:
        x: [...] errors.
        delta: scalar, where the parabola becomes a line; 1 gives DQN's clipped errors.
    Returns: [...] losses.
    Raises: ValueError if x is not of floats.
    Reference: Huber, Robust Estimation of a Location Parameter, 1964, section 4.
    Example:
        >>> print(huber_loss(jnp.array([-.5, 1., 3.])))
        [0.125 0.5   2.5  ]
    """
    [x] = check_floats(x=x)
    size = jnp.abs(x)
    curved = jnp.minimum(size, delta)  # One formula for both pieces, without a branch.
    return curved * (size - 0.5 * curved)


def expectile_loss(predictions: Array, targets: Array, expectile: Numeric) -> Array:
    """Squared error with different weights on its two sides; its minimum is an expectile.

        L = |expectile - 1[targets < predictions]| (targets - predictions)²

    An expectile of 0.5 yields the mean (half the squared error); towards 1 the prediction
    approaches the largest target seen, as a maximum over actions in the data would.

    Args:
        predictions, targets: [...] of one shape.
        expectile: scalar in (0, 1), the weight of targets above the prediction.
    Returns: [...] losses, without a factor of one half.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Kostrikov et al., 2021, arXiv 2110.06169, eq. 4; Newey and Powell, 1987.
    Example:
        >>> print(expectile_loss(jnp.array([0., 0.]), jnp.array([2., -2.]), .75))
        [3. 1.]
    """
    predictions, targets = _pair(predictions, targets)
    error = targets - predictions
    return jnp.where(error < 0, 1 - expectile, expectile) * jnp.square(error)


def likelihood(predictions: Array, targets: Array) -> Array:
    """Probability that Bernoulli predictions give to targets; 0⁰ counts as 1.

        L = predictionsᵗᵃʳᵍᵉᵗˢ (1 - predictions)¹⁻ᵗᵃʳᵍᵉᵗˢ

    Args:
        predictions: [...] probabilities in [0, 1].
        targets: [...] outcomes in [0, 1]; values between the two ends yield a geometric mean.
    Returns: [...] likelihoods.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Bishop, Pattern Recognition and Machine Learning, 2006, eq. 2.2.
    Example:
        >>> print(likelihood(jnp.array([.75, .75, 1.]), jnp.array([1., 0., 1.])))
        [0.75 0.25 1.  ]
    """
    predictions, targets = _pair(predictions, targets)
    return _power(predictions, targets) * _power(1 - predictions, 1 - targets)


def log_loss(predictions: Array, targets: Array) -> Array:
    """Negative logarithm of the likelihood of targets: the binary cross-entropy.

        L = -targets log(predictions) - (1 - targets) log(1 - predictions)

    A term whose factor is zero counts nothing, and gives no gradient, so that a certain
    prediction that came true has loss 0 and gradient of the other term alone.

    Args:
        predictions: [...] probabilities in [0, 1].
        targets: [...] outcomes in [0, 1].
    Returns: [...] losses; infinite where a prediction of 0 or 1 is wrong.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Bishop, Pattern Recognition and Machine Learning, 2006, eq. 4.90.
    Example:
        >>> print(log_loss(jnp.array([.5]), jnp.array([0.])))  # log 2
        [0.6931472]
        >>> print(jax.grad(log_loss)(1., 1.))  # -1 / p
        -1.0
    """
    predictions, targets = _pair(predictions, targets)
    return -_times_log(targets, predictions) - _times_log(1 - targets, 1 - predictions)


def _pair(predictions: Array, targets: Array) -> list[Array]:
    [predictions] = check_floats(predictions=predictions)
    predictions, targets = check_numbers(predictions=predictions, targets=targets)
    if targets.shape != predictions.shape:
        raise ValueError(
            f'targets must have the shape of predictions, {predictions.shape}, '
            f'got shape {targets.shape}'
        )
    return [predictions, targets]


def _power(base: Array, exponent: Array) -> Array:
    """base ** exponent with 0⁰ = 1 and, where the exponent is zero, no gradient to the base."""
    none = exponent == 0
    return jnp.where(none, 1.0, jnp.where(none, 1.0, base) ** exponent)


def _times_log(factor: Array, x: Array) -> Array:
    """factor * log(x), and nothing at all where the factor is zero."""
    none = factor == 0
    return jnp.where(none, 0.0, factor * jnp.log(jnp.where(none, 1.0, x)))
