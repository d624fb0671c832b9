"""The switch of this folder: whether compiled calls are made the fast way or plainly.

Plainly means: trees are passed leaf by leaf and contexts as key and counts, batches are unpacked before the
call, each call is one `jax.jit` program in the calling thread, and JAX's options are not changed. The numbers
are the same (tests/components/dispatch/test_switch.py gives the precision), so a fault that stays when the
fast path is off has another cause.
"""

import contextlib
import os
from collections.abc import Iterator

VARIABLE = 'CULMEN_FAST_PATH'
_is_on = os.environ.get(VARIABLE, '1') != '0'


def is_fast() -> bool:
    """Whether the fast path is on: it is, unless the environment variable CULMEN_FAST_PATH is 0."""
    return _is_on


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Turns the fast path off for workers and loops that are made inside, and for their calls."""
    global _is_on
    before, _is_on = _is_on, False
    try:
        yield
    finally:
        _is_on = before
