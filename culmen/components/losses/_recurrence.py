"""Linear recurrences over time, which compute every return and trace.

Private to this folder. Time is the first axis.
"""

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array

_Maps = tuple[Array, Array]  # The offsets and the slopes [T] of T maps x -> offset + slope x.


def solve(offset: Array, slope: Array, initial: Array, reverse: bool) -> Array:
    """Solves x[t] = offset[t] + slope[t] x[t-1] with x[-1] = initial, or backwards from x[T]."""

    def step(x: Array, terms: _Maps) -> tuple[Array, Array]:
        x = terms[0] + terms[1] * x
        return x, x

    dtype = jnp.result_type(offset, slope, initial)
    sequences = offset.astype(dtype), slope.astype(dtype)
    _, solution = jax.lax.scan(step, initial.astype(dtype), sequences, reverse=reverse)
    return solution


def solve_backwards(offset: Array, slope: Array, lambda_: Array) -> Array:
    """Solves x[t] = offset[t] + slope[t] λ[t] x[t+1] with x[T] = 0; λ is [T] or a scalar."""
    if lambda_.ndim:
        return solve(offset, slope * lambda_, jnp.zeros_like(offset[0]), reverse=True)

    def step(x: Array, terms: _Maps) -> tuple[Array, Array]:  # One λ need not be copied T times.
        x = terms[0] + terms[1] * (lambda_.astype(dtype) * x)
        return x, x

    dtype = jnp.result_type(offset, slope, lambda_)
    sequences = offset.astype(dtype), slope.astype(dtype)
    _, solution = jax.lax.scan(step, jnp.zeros((), dtype), sequences, reverse=True)
    return solution
