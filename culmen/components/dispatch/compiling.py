"""Compiling the small calls of acting and learning, whose cost on a CPU is dispatch."""

import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Below this many parameters a call takes less time than to wake another thread for it twice.
_SMALL = 100_000


def run_small_networks_inline(params: Any) -> None:
    """Lets a CPU run small networks in the calling thread.

    By default JAX hands each call on a CPU to a thread, so that Python may go on meanwhile: right for
    large networks, and a loss of some 30 microseconds a call for small ones. JAX reads this setting
    when it first touches the CPU; in a process that has done so before, nothing changes.

    Args:
        params: shapes and dtypes of the network's parameters.
    """
    if _is_small(params):
        jax.config.update('jax_cpu_enable_async_dispatch', False)


def usable_cores() -> list[int]:
    """The processor's cores that this process may use, by number."""
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _is_small(params: Any) -> bool:
    return sum(math.prod(leaf.shape) for leaf in jax.tree_util.tree_leaves(params)) < _SMALL


def _is_one_function() -> bool:
    """Whether `compile_lazily` asks for one compiled function as a whole."""
    return jax.default_backend() == 'cpu' and jax.__version_info__[:2] == (0, 4)


def in_one_thread(body: Callable[[Any], Any], params: Any) -> Callable[[Any], Any]:
    """The body of a loop, kept in one thread on a CPU where the network is small.

    XLA shares the element-wise parts of a loop's body among all cores, each time waking them; with layers of
    64 units that takes longer than the work, and much longer where others use the cores
    (benchmarks/compiled.py). It leaves the branches of a conditional alone.

    Args:
        body: of a `while_loop`, a function of its carry, whose first leaf is a count, int32[].
        params: shapes and dtypes of the network's parameters.
    """
    if not (_is_one_function() and _is_small(params)):
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
