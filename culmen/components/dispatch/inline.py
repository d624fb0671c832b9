"""The one option of JAX that Culmen sets, for the process: whether a CPU runs calls in the calling thread.

By default JAX hands each call on a CPU to another thread, so that Python can continue meanwhile. This is
right for large networks, and costs about 30 microseconds a call for small ones. The option is
`jax_cpu_enable_async_dispatch`. JAX reads it when it first uses the CPU; setting it later has no effect.
"""

import math
import os
from typing import Any

import jax

from culmen.components.dispatch.switch import is_fast

# Below this many parameters a call takes less time than waking another thread twice.
_SMALL = 100_000
_OPTION = 'jax_cpu_enable_async_dispatch'
_is_allowed = True


def run_small_networks_inline(params: Any) -> bool:
    """Lets a CPU run small networks in the calling thread.

    `culmen.run`, the command line and the nodes of a program call it before JAX is first used; importing
    Culmen does not. Call it yourself if a process uses JAX before its first run. It does nothing if it
    was forbidden: by `allow_inline(False)`, by JAX's environment variable JAX_CPU_ENABLE_ASYNC_DISPATCH
    with any value, or by CULMEN_FAST_PATH=0.

    Args:
        params: arrays of the network's parameters, or their shapes and dtypes.
    Returns: whether the option is set.
    """
    allowed = _is_allowed and is_fast() and _OPTION.upper() not in os.environ
    if allowed and is_small(params):
        jax.config.update(_OPTION, False)
        return True
    return False


def allow_inline(allowed: bool = True) -> None:
    """Allows or forbids `run_small_networks_inline` to set the option in this process from now on."""
    global _is_allowed
    _is_allowed = allowed


def is_small(params: Any) -> bool:
    """Whether a network is so small that its calls take less time than handing them to a thread."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree_util.tree_leaves(params)) < _SMALL
