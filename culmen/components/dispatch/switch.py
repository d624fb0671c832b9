"""One switch for all of this folder: whether compiled calls are made the fast way, or plainly.

Plainly, trees travel leaf by leaf and contexts as key and counts, batches are opened before the call, each
call is `jax.jit`'s and one program of the calling thread, and JAX's options are left alone. The
numbers are the same (tests/components/dispatch/test_switch.py says to which precision): with it off, what is
wrong is not the fast path.
"""

import contextlib
import os
from collections.abc import Iterator

VARIABLE = 'CULMEN_FAST_PATH'
_is_on = os.environ.get(VARIABLE, '1') != '0'


def is_fast() -> bool:
    """Whether the fast path is taken: unless the variable CULMEN_FAST_PATH of the process is 0."""
    return _is_on


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Turns the fast path off for the workers and loops that are made inside, and for what they do."""
    global _is_on
    before, _is_on = _is_on, False
    try:
        yield
    finally:
        _is_on = before
