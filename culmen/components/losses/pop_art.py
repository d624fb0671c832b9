"""PopArt: a value head whose outputs stay the same while it learns the scale of its targets.

ART adapts rescaling: it tracks the mean and the spread of the targets of each of K tasks. POP
preserves outputs precisely: it changes the last linear layer so that no unnormalised prediction
moves when the statistics do.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check_numbers
from culmen.components.losses.base import batched_index
from culmen.components.losses.base import one_hot


class PopArtState(NamedTuple):
    """Statistics of the targets of K tasks.

    Attributes:
        shift: [K] means.
        scale: [K] standard deviations, within bounds.
        second_moment: [K] means of squares.
    """

    shift: Array
    scale: Array
    second_moment: Array


class PopArtOutput(NamedTuple):
    """A value head's output for one task.

    Attributes:
        normalized: [...] as the head gave it; the loss uses this one.
        unnormalized: [...] in units of the reward.
    """

    normalized: Array
    unnormalized: Array


def normalize(state: PopArtState, unnormalized: Array, indices: Array) -> Array:
    """Converts values to the units of the head, (x - shift) / scale.

    Args:
        state: `PopArtState`.
        unnormalized: [...] values.
        indices: [...] tasks.
    Returns: [...] normalised values.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: van Hasselt et al., 2016, arXiv 1602.07714, eq. 1.
    Example:
        >>> state = PopArtState(jnp.array([1.]), jnp.array([2.]), jnp.array([5.]))
        >>> print(normalize(state, jnp.array([5.]), jnp.array([0])))
        [2.]
    """
    [unnormalized] = check_numbers(unnormalized=unnormalized)
    indices = _check_indices(indices, 'unnormalized', unnormalized.shape)
    return (unnormalized - state.shift[indices]) / state.scale[indices]


def unnormalize(state: PopArtState, normalized: Array, indices: Array) -> Array:
    """Converts values back to units of the reward, scale x + shift.

    Args:
        state: `PopArtState`.
        normalized: [...] normalised values.
        indices: [...] tasks.
    Returns: [...] values.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: van Hasselt et al., 2016, arXiv 1602.07714, eq. 1.
    Example:
        >>> state = PopArtState(jnp.array([1.]), jnp.array([2.]), jnp.array([5.]))
        >>> print(unnormalize(state, jnp.array([2.]), jnp.array([0])))
        [5.]
    """
    [normalized] = check_numbers(normalized=normalized)
    indices = _check_indices(indices, 'normalized', normalized.shape)
    return state.scale[indices] * normalized + state.shift[indices]


def unnormalize_linear(state: PopArtState, inputs: Array, indices: Array) -> PopArtOutput:
    """Selects each element's task from a head's outputs, normalised and not.

    Args:
        state: `PopArtState`.
        inputs: [..., K] outputs of the linear head, one for every task.
        indices: [...] tasks.
    Returns: `PopArtOutput`.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Hessel et al., Multi-task Deep RL with PopArt, 2018, arXiv 1809.04474, eq. 3.
    Example:
        >>> state = PopArtState(jnp.array([1., 0.]), jnp.array([2., 1.]), jnp.array([5., 1.]))
        >>> print(unnormalize_linear(state, jnp.array([[3., 4.]]), jnp.array([0])).unnormalized)
        [7.]
    """
    [inputs] = check_numbers(inputs=inputs)
    normalized = batched_index(inputs, indices)
    return PopArtOutput(normalized, unnormalize(state, normalized, indices))


def art(
    state: PopArtState,
    targets: Array,
    indices: Array,
    step_size: Numeric,
    scale_lb: Numeric,
    scale_ub: Numeric,
    axis_name: str | Sequence[str] | None = None,
) -> PopArtState:
    """Moves the statistics of each task towards the targets seen.

        shift[k] ← shift[k] + step_size Σ (target - shift[k])
        second_moment[k] ← second_moment[k] + step_size Σ (target² - second_moment[k])
        scale = clip(√(second_moment - shift²), scale_lb, scale_ub)

    with sums over the targets of task k.

    Args:
        state: `PopArtState`.
        targets: [...] targets, in units of the reward.
        indices: [...] tasks.
        step_size: scalar, for one target; divide by their number for a batch.
        scale_lb, scale_ub: scalar bounds of the scale.
        axis_name: names of mapped axes whose targets count as well.
    Returns: `PopArtState`, without gradient.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: van Hasselt et al., 2016, arXiv 1602.07714, eq. 2 and 3; Hessel et al., 2018,
        arXiv 1809.04474, eq. 3.
    Example:
        >>> state = PopArtState(jnp.zeros(1), jnp.ones(1), jnp.ones(1))
        >>> print(art(state, jnp.array([3.]), jnp.array([0]), .5, 1e-4, 1e6).second_moment)
        [5.]
    """
    [targets] = check_numbers(targets=targets)
    indices = _check_indices(indices, 'targets', targets.shape)

    def moved(statistic: Array, observed: Array) -> Array:
        change = jnp.reshape(step_size * (observed - statistic[indices]), (-1, 1))
        total = jnp.sum(
            change * one_hot(jnp.reshape(indices, -1), len(statistic), change.dtype), axis=0
        )
        return statistic + (total if axis_name is None else jax.lax.psum(total, axis_name))

    shift = moved(state.shift, targets)
    second_moment = moved(state.second_moment, jnp.square(targets))
    variance = second_moment - jnp.square(shift)
    scale = jnp.sqrt(jnp.clip(variance, scale_lb**2, scale_ub**2))
    new: PopArtState = jax.lax.stop_gradient(PopArtState(shift, scale, second_moment))
    return new


def pop(params: Mapping[str, Array], old: PopArtState, new: PopArtState) -> dict[str, Array]:
    """Changes a linear layer so that its unnormalised outputs stay what they were.

        w' = w old.scale / new.scale,  b' = (old.scale b + old.shift - new.shift) / new.scale

    Args:
        params: {'w': [..., K], 'b': [K]}, the layer.
        old, new: statistics before and after `art`.
    Returns: the changed layer.
    Reference: van Hasselt et al., 2016, arXiv 1602.07714, eq. 4 (proposition 1).
    Example:
        >>> old = PopArtState(jnp.array([0.]), jnp.array([1.]), jnp.array([1.]))
        >>> new = PopArtState(jnp.array([1.]), jnp.array([2.]), jnp.array([5.]))
        >>> print(pop({'w': jnp.array([[4.]]), 'b': jnp.array([3.])}, old, new))
        {'w': Array([[2.]], dtype=float32), 'b': Array([1.], dtype=float32)}
    """
    w, b = params['w'], params['b']
    w = w * jnp.broadcast_to(old.scale / new.scale, w.shape)
    return {'w': w, 'b': (old.scale * b + old.shift - new.shift) / new.scale}


def popart(
    num_outputs: int,
    step_size: Numeric | None,
    scale_lb: Numeric,
    scale_ub: Numeric,
    axis_name: str | Sequence[str] | None = None,
) -> tuple[Callable[[], PopArtState], Callable[..., tuple[Any, PopArtState]]]:
    """The two functions of PopArt: the first state, and the update of layer and state.

    Args:
        num_outputs: number K of tasks.
        step_size: scalar, or None for statistics that never move.
        scale_lb, scale_ub, axis_name: as in `art`.
    Returns: `initial_state()`, and `popart_update(params, state, targets, indices)` that gives new
        params and state.
    Reference: van Hasselt et al., 2016, arXiv 1602.07714, algorithm 1.
    Example:
        >>> initial_state, update = popart(1, .5, 1e-4, 1e6)
        >>> params = {'w': jnp.array([[4.]]), 'b': jnp.array([3.])}
        >>> params, state = update(params, initial_state(), jnp.array([3.]), jnp.array([0]))
        >>> print(state.shift, params['b'])
        [1.5] [0.904534]
    """

    def initial_state() -> PopArtState:
        return PopArtState(jnp.zeros(num_outputs), jnp.ones(num_outputs), jnp.ones(num_outputs))

    def popart_update(
        params: Mapping[str, Array], state: PopArtState, targets: Array, indices: Array
    ) -> tuple[Any, PopArtState]:
        if step_size is None:
            return params, state
        new = art(state, targets, indices, step_size, scale_lb, scale_ub, axis_name)
        return pop(params, state, new), new

    return initial_state, popart_update


def _check_indices(indices: Array, name: str, shape: tuple[int, ...]) -> Array:
    indices = jnp.asarray(indices)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f'indices must be an integer, got {indices.dtype}')
    if indices.shape != shape:
        raise ValueError(
            f'indices must have the shape of {name}, {shape}, got shape {indices.shape}'
        )
    return indices
