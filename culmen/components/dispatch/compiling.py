"""Compiling the small calls of acting and learning, whose cost on a CPU is dispatch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from culmen.components.dispatch.inline import is_small
from culmen.components.dispatch.switch import is_fast


def _is_one_function() -> bool:
    """Whether `compile_lazily` asks for one compiled function as a whole."""
    return is_fast() and jax.default_backend() == 'cpu' and jax.__version_info__[:2] == (0, 4)


def in_one_thread(body: Callable[[Any], Any], params: Any) -> Callable[[Any], Any]:
    """The body of a loop, kept in one thread on a CPU where the network is small.

    XLA shares the element-wise parts of a loop's body among all cores, each time waking them; with layers of
    64 units that takes longer than the work, and much longer where others use the cores
    (benchmarks/compiled.py). It leaves the branches of a conditional alone.

    Args:
        body: of a `while_loop`, a function of its carry, whose first leaf is a count, int32[].
        params: shapes and dtypes of the network's parameters.
    """
    if not (_is_one_function() and is_small(params)):
        return body

    def guarded(carry: Any) -> Any:
        first = jax.tree_util.tree_leaves(carry)[0]
        # True, which the compiler can not know.
        return jax.lax.cond(first >= 0, body, lambda carry: carry, carry)

    return guarded


def compile_lazily(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit`, with the CPU's faster executor where this JAX has two.

    On a CPU jaxlib 0.4.32 to 0.4.x runs a program as a list of thunks unless told otherwise; one
    compiled function as a whole takes 15 to 30% less time for networks of small layers
    (benchmarks/dqn_speed.py). Later versions have the list alone, and a faster one.

    Args:
        function: to compile.
        options: of `jax.jit`.
    """
    if _is_one_function():
        options['compiler_options'] = {'xla_cpu_use_thunk_runtime': False}
    return jax.jit(function, **options)


@jax.jit
def distinct(tree: Any) -> Any:
    """Leaves of their own and strongly typed, so that donation is legal and nothing compiles twice."""
    return jax.tree_util.tree_map(lambda leaf: jnp.array(leaf, dtype=leaf.dtype, copy=True), tree)
