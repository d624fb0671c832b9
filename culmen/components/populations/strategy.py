"""Evolution strategies over trees of parameters, by evosax.

A learner keeps a strategy's state in its training state, asks for a population, and tells how fit each member
was: the returns of its episodes. Actors give member i to lane i.
"""

import inspect
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from culmen.core.checks import check_range
from culmen.core.types import Array
from culmen.core.types import Params
from culmen.core.types import State


class Strategy(NamedTuple):
    """Pure functions. A state is a pytree of arrays, which checkpoints can hold."""

    init: Callable[[jax.Array, Params], State]  # (key, parameters to begin around) -> state
    ask: Callable[[jax.Array, State], tuple[Params, State]]  # -> (members, leaves [P, ...], state)
    tell: Callable[[Params, Array, State], State]  # (members, fitness float32[P], state) -> state
    mean: Callable[[State], Params]  # parameters in the middle of the population, for evaluations


def make_strategy(
    who: str, name: str, params: Params, population_size: int, **options: Any
) -> Strategy:
    """An evolution strategy, which raises the fitness.

    Args:
        who: needs it, for errors: an agent's name.
        name: of the strategy in evosax: 'OpenES', 'CMA_ES', 'SNES', 'PGPE' ...
        params: a tree of float32 arrays, or of their shapes and dtypes: what a member is.
        population_size: P, members of a population; some strategies need an even number.
        options: of evosax's constructor, such as `sigma_init`.
    Raises: ImportError that says what to install; ValueError that names what is unknown.
    """
    try:
        import evosax
    except ImportError as error:
        raise ImportError(
            f"{who} needs the package evosax, which can't be imported here ({error}): "
            "pip install 'culmen[populations]'"
        ) from error
    if name not in evosax.Strategies:
        raise ValueError(f'strategy must be one of {sorted(evosax.Strategies)}, got {name!r}.')
    check_range('population_size', population_size, 2)
    make = evosax.Strategies[name]
    known = set(inspect.signature(make).parameters) - {'popsize', 'num_dims', 'pholder_params'}
    if not set(options) <= known:
        raise ValueError(
            f'options of {name} must be among {sorted(known)}, got {sorted(set(options) - known)}.'
        )
    zeros = jax.tree_util.tree_map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
    flat, to_tree = ravel_pytree(zeros)
    strategy = make(popsize=population_size, num_dims=flat.shape[0], maximize=True, **options)

    def init(key: jax.Array, params: Params) -> State:
        with _foreign():
            return strategy.initialize(key, init_mean=ravel_pytree(params)[0])

    def ask(key: jax.Array, state: State) -> tuple[Params, State]:
        with _foreign():
            members, state = strategy.ask(key, state)
        return jax.vmap(to_tree)(members), state

    def tell(members: Params, fitness: Array, state: State) -> State:
        of_members = jax.vmap(lambda member: ravel_pytree(member)[0])(members)
        with _foreign():
            return strategy.tell(of_members, jnp.asarray(fitness), state)

    return Strategy(init, ask, tell, lambda state: to_tree(state.mean))


def _foreign() -> Any:
    """evosax adds arrays of different rank."""
    return jax.numpy_rank_promotion('allow')
