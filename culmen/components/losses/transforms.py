"""Elementwise transforms of values and rewards, and two-hot codes of scalars.

Those that squash keep the sign and are invertible: `signed_expm1` undoes `signed_logp1`,
`signed_parabolic` undoes `signed_hyperbolic`, `hyperbolic_sin` undoes `hyperbolic_arcsin`,
`logit` undoes `sigmoid`. `nonlinear_bellman` pairs them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check_floats
from culmen.components.losses._common import check_numbers


def identity(x: Array) -> Array:
    """Returns x.

    Example:
        >>> print(identity(jnp.array([1., 2.])))
        [1. 2.]
    """
    return x


def sigmoid(x: Numeric) -> Array:
    """The logistic function, 1 / (1 + e⁻ˣ).

    Args:
        x: [...] numbers.
    Returns: [...] numbers in (0, 1).
    Raises: ValueError if x is not of numbers.
    Example:
        >>> print(sigmoid(jnp.array([0., jnp.inf])))
        [0.5 1. ]
    """
    [x] = check_numbers(x=x)
    return jax.nn.sigmoid(x)


def logit(x: Numeric) -> Array:
    """The inverse of the logistic function, log(x / (1 - x)).

    Args:
        x: [...] numbers in (0, 1).
    Returns: [...] numbers.
    Raises: ValueError if x is not of numbers.
    Example:
        >>> print(logit(jnp.array([.5, .75])))
        [0.        1.0986123]
    """
    [x] = check_numbers(x=x)
    return jnp.log(x) - jnp.log1p(-x)


def signed_logp1(x: Numeric) -> Array:
    """Signed logarithm, sign(x) log(1 + |x|): the identity near 0, a logarithm far from it.

    Args:
        x: [...] numbers.
    Returns: [...] numbers.
    Raises: ValueError if x is not of numbers.
    Reference: van Hasselt et al., General Non-linear Bellman Equations, 2019, arXiv 1907.03687.
    Example:
        >>> print(signed_logp1(jnp.array([-1., 0., 1.])))
        [-0.6931472  0.         0.6931472]
    """
    [x] = check_numbers(x=x)
    return _odd(jnp.log1p, x)


def signed_expm1(x: Numeric) -> Array:
    """Signed exponential, sign(x) (e^|x| - 1), the inverse of `signed_logp1`.

    Args:
        x: [...] numbers.
    Returns: [...] numbers.
    Raises: ValueError if x is not of numbers.
    Reference: van Hasselt et al., General Non-linear Bellman Equations, 2019, arXiv 1907.03687.
    Example:
        >>> print(signed_expm1(signed_logp1(jnp.array([-3., 0., 5.]))))
        [-3.  0.  5.]
    """
    [x] = check_numbers(x=x)
    return _odd(jnp.expm1, x)


def signed_hyperbolic(x: Numeric, eps: Numeric = 1e-3) -> Array:
    """Signed square root, sign(x) (√(|x| + 1) - 1) + eps x: R2D2's and MuZero's h.

    Args:
        x: [...] numbers.
        eps: scalar; above 0 it keeps the inverse Lipschitz.
    Returns: [...] numbers.
    Raises: ValueError if x is not of numbers.
    Reference: Pohlen et al., Observe and Look Further, 2018, arXiv 1805.11593, prop. A.2.
    Example:
        >>> print(signed_hyperbolic(jnp.array([-3., 0., 8.]), 0.))
        [-1.  0.  2.]
    """
    [x] = check_numbers(x=x)
    return _odd(lambda size: jnp.sqrt(size + 1) - 1, x) + eps * x


def signed_parabolic(x: Numeric, eps: Numeric = 1e-3) -> Array:
    """Signed square, the inverse of `signed_hyperbolic`.

        sign(x) (z² - 1),  z = (√(1 + 4 eps (eps + 1 + |x|)) - 1) / (2 eps)

    It is computed in a form that loses no digits for small x or eps; at eps = 0 it yields
    sign(x) ((1 + |x|)² - 1).

    Args:
        x: [...] numbers.
        eps: scalar ≥ 0, that of the transform it inverts.
    Returns: [...] numbers.
    Raises: ValueError if x is not of numbers.
    Reference: Pohlen et al., Observe and Look Further, 2018, arXiv 1805.11593, prop. A.2.
    Example:
        >>> print(signed_parabolic(jnp.array([-1., 0., 2.]), 0.))
        [-3.  0.  8.]
    """
    [x] = check_numbers(x=x)
    slope = 1 + 2 * eps

    def square(size: Array) -> Array:
        # z solves eps z² + z = eps + 1 + size; with z = 1 + y, y solves eps y² + slope y = size.
        y = 2 * size / (slope + jnp.sqrt(slope * slope + 4 * eps * size))
        return y * (y + 2)

    return _odd(square, x)


def hyperbolic_sin(x: Numeric) -> Array:
    """The hyperbolic sine, the inverse of `hyperbolic_arcsin`.

    Args:
        x: [...] numbers.
    Returns: [...] numbers.
    Raises: ValueError if x is not of numbers.
    Example:
        >>> print(hyperbolic_sin(jnp.array([0., 1.])))
        [0.        1.1752012]
    """
    [x] = check_numbers(x=x)
    return jnp.sinh(x)


def hyperbolic_arcsin(x: Numeric) -> Array:
    """The inverse hyperbolic sine: the identity near 0, a signed logarithm far from it.

    Args:
        x: [...] numbers.
    Returns: [...] numbers.
    Raises: ValueError if x is not of numbers.
    Example:
        >>> print(hyperbolic_arcsin(hyperbolic_sin(jnp.array([-2., 0.]))))
        [-2.  0.]
    """
    [x] = check_numbers(x=x)
    return jnp.arcsinh(x)


def power(x: Numeric, p: Numeric) -> Array:
    """Signed power, sign(x) ((|x| / √p + 1)ᵖ - 1) / √p.

    Args:
        x: [...] numbers.
        p: scalar > 0; 1 yields the identity, 1/2 a square root; towards 0 it flattens.
    Returns: [...] numbers.
    Raises: ValueError if x is not of numbers.
    Reference: van Hasselt et al., General Non-linear Bellman Equations, 2019, arXiv 1907.03687.
    Example:
        >>> print(power(jnp.array([-2., 3.]), 1.))
        [-2.  3.]
    """
    [x] = check_numbers(x=x)
    root = jnp.sqrt(p)
    return _odd(lambda size: (jnp.power(size / root + 1, p) - 1) / root, x)


def transform_to_2hot(
    scalar: Numeric, min_value: Numeric, max_value: Numeric, num_bins: int
) -> Array:
    """Probabilities on evenly spaced bins, at most two of them, whose mean is the scalar.

        out[k] = (1 - |place - k|)₊,  place = (num_bins - 1) (scalar - min) / (max - min)

    Args:
        scalar: [...] numbers; those outside are clipped to the ends.
        min_value, max_value: scalars, the places of the first and the last bin.
        num_bins: number K ≥ 2 of bins.
    Returns: [..., K] probabilities.
    Raises: ValueError if scalar is not of numbers.
    Reference: Schrittwieser et al., MuZero, 2019, arXiv 1911.08265, appendix F.
    Example:
        >>> print(transform_to_2hot(jnp.array([.25, 9.]), 0., 2., 3))
        [[0.75 0.25 0.  ]
         [0.   0.   1.  ]]
    """
    [scalar] = check_numbers(scalar=scalar)
    place = (jnp.clip(scalar, min_value, max_value) - min_value) / (max_value - min_value)
    return _share(jnp.expand_dims(place * (num_bins - 1), -1), num_bins)


def transform_from_2hot(
    probs: Array, min_value: Numeric, max_value: Numeric, num_bins: int
) -> Array:
    """The mean of probabilities on evenly spaced bins: the inverse of `transform_to_2hot`.

    Args:
        probs: [..., K] probabilities, two-hot or not.
        min_value, max_value: scalars, the places of the first and the last bin.
        num_bins: number K of bins.
    Returns: [...] numbers.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Schrittwieser et al., MuZero, 2019, arXiv 1911.08265, appendix F.
    Example:
        >>> print(transform_from_2hot(jnp.array([[.75, .25, 0.]]), 0., 2., 3))
        [0.25]
    """
    [probs] = check_floats(probs=probs)
    return transform_from_2hot_nonlinear(
        probs, jnp.linspace(min_value, max_value, num_bins, dtype=probs.dtype)
    )


def transform_to_2hot_nonlinear(scalar: Numeric, bins: Array) -> Array:
    """Probabilities on bins at any increasing places, at most two of them, with mean the scalar.

    Args:
        scalar: [...] numbers; those outside are clipped to the ends.
        bins: [K] places of the bins, increasing.
    Returns: [..., K] probabilities.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Example:
        >>> print(transform_to_2hot_nonlinear(jnp.array([2.]), jnp.array([0., 1., 5.])))
        [[0.   0.75 0.25]]
    """
    scalar, bins = check_numbers(scalar=scalar, bins=bins)
    if bins.ndim != 1:
        raise ValueError(f'bins must have rank 1 ([K]), got shape {bins.shape}')
    # Interpolates between the indices of the bins at their places.
    places = jnp.interp(scalar, bins, jnp.arange(len(bins), dtype=bins.dtype))
    return _share(jnp.expand_dims(places, -1), len(bins))


def transform_from_2hot_nonlinear(probs: Array, bins: Array) -> Array:
    """The mean of probabilities on bins at any places.

        out = Σₖ probs[..., k] bins[k]

    Args:
        probs: [..., K] probabilities, two-hot or not.
        bins: [K] places of the bins.
    Returns: [...] numbers.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Example:
        >>> print(transform_from_2hot_nonlinear(
        ...     jnp.array([[0., .75, .25]]), jnp.array([0., 1., 5.])))
        [2.]
    """
    [probs], [bins] = check_floats(probs=probs), check_numbers(bins=bins)
    if probs.shape[-1:] != bins.shape:
        raise ValueError(
            f'probs must have shape [..., K] with K = {bins.shape[0]}, got shape {probs.shape}'
        )
    return jnp.dot(probs, bins)


def _odd(function: Callable[[Array], Array], x: Array) -> Array:
    """sign(x) function(|x|), whose gradient at 0 is that of the function."""
    negative = x < 0
    size = jnp.where(negative, -x, x)  # At 0 its slope is 1, unlike that of jnp.abs.
    return jnp.where(negative, -function(size), function(size))


def _share(place: Array, num_bins: int) -> Array:
    """Shares a mass of 1 at `place` [..., 1] between the two whole numbers around it."""
    bins = jax.lax.broadcasted_iota(place.dtype, (*place.shape[:-1], num_bins), place.ndim - 1)
    return jnp.maximum(1 - jnp.abs(place - bins), 0)
