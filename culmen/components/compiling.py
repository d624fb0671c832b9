"""Compiling the small calls of acting and learning, whose cost on a CPU is dispatch."""

import math
from collections.abc import Callable
from typing import Any

import jax

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
    if sum(math.prod(leaf.shape) for leaf in jax.tree_util.tree_leaves(params)) < _SMALL:
        jax.config.update('jax_cpu_enable_async_dispatch', False)


def compile_lazily(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit`, with the CPU's faster executor where this JAX has two.

    On a CPU jaxlib 0.4.32 to 0.4.x runs a program as a list of thunks unless told otherwise; one
    compiled function as a whole takes 15 to 30% less time for networks of small layers
    (benchmarks/dqn_speed.py). Later versions have the list alone, and a faster one.

    Args:
        function: to compile.
        options: of `jax.jit`.
    """
    if jax.default_backend() == 'cpu' and jax.__version_info__[:2] == (0, 4):
        options['compiler_options'] = {'xla_cpu_use_thunk_runtime': False}
    return jax.jit(function, **options)
