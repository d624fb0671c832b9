"""Compiles the small calls of acting and learning, for which dispatch is the main cost on a CPU."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from culmen.components.dispatch.inline import is_small
from culmen.components.dispatch.switch import is_fast


def _is_one_function() -> bool:
    """Whether `compile_lazily` has XLA compile a program to one function."""
    return is_fast() and jax.default_backend() == 'cpu' and jax.__version_info__[:2] == (0, 4)


def in_one_thread(body: Callable[[Any], Any], params: Any) -> Callable[[Any], Any]:
    """Keeps the body of a loop in one thread on a CPU, if the network is small.

    XLA divides the element-wise parts of a loop's body among all cores and wakes them each time. With layers
    of 64 units that takes longer than the work itself, and much longer if other processes use the cores
    (benchmarks/compiled.py). XLA does not do so in the branches of a conditional.

    Args:
        body: of a `while_loop`, a function of its carry, whose first leaf is a count, int32[].
        params: shapes and dtypes of the network's parameters.
    """
    if not (_is_one_function() and is_small(params)):
        return body

    def guarded(carry: Any) -> Any:
        first = jax.tree_util.tree_leaves(carry)[0]
        # Always True, but the compiler can't know this.
        return jax.lax.cond(first >= 0, body, lambda carry: carry, carry)

    return guarded


def compile_lazily(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit` with the faster of the CPU's executors, if this version of JAX has two.

    On a CPU jaxlib 0.4.32 to 0.4.x by default runs a program as a list of thunks. A program that is
    compiled to one function takes 15 to 30% less time for networks of small layers
    (benchmarks/dqn_speed.py). Later versions have only thunks, which are faster there.

    Args:
        function: to compile.
        options: of `jax.jit`.
    """
    if _is_one_function():
        options['compiler_options'] = {'xla_cpu_use_thunk_runtime': False}
    return jax.jit(function, **options)


@jax.jit
def distinct(tree: Any) -> Any:
    """Copies leaves to separate, strongly typed arrays: they can be donated, and nothing compiles twice."""
    return jax.tree_util.tree_map(lambda leaf: jnp.array(leaf, dtype=leaf.dtype, copy=True), tree)
