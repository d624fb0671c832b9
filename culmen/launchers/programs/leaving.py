"""The end of a node's process: what Python does before it ends, and nothing of what it does after that.

Once Python takes itself apart, it ends each daemon thread where that thread asks for the interpreter, by
an exception that must not be caught. If C++ code is on the way, such as the destructor of a JAX array or a
call into Reverb, the process aborts instead, and a node whose work is saved looks like one that has failed.
Not all threads can be waited for: one whose call into Reverb is never answered stays. So the functions that
were registered for the end are called, output is flushed, and the process ends at once, as those of
`multiprocessing` do.
"""

import atexit
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator


@contextlib.contextmanager
def ends_process() -> Iterator[None]:
    """Ends the process after what runs inside: with code 0, or with an error's traceback and code 1."""
    code = 1
    try:
        yield
        code = 0
    except BaseException:
        traceback.print_exc()
    try:
        # Waits for the threads that are no daemons.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or none
            stream.flush()
    os._exit(code)
