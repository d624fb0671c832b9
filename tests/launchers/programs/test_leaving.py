"""The end of a node's process, whatever its daemon threads are doing."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# A daemon thread that lets go of arrays, as one does that has answered a call for a node that has ended. Each
# array hands over the interpreter for a moment, so this thread is in C++ code whenever the process ends.
BEGIN = """
import atexit, sys, threading, time
import jax, numpy as np
from culmen.launchers.programs.leaving import ends_process

arrays = [jax.device_put(np.zeros(1)) for _ in range(3_000)]
begun = threading.Event()

def let_go():
    begun.set()
    while arrays:
        del arrays[-10:]

def end(error=None):
    threading.Thread(target=let_go, daemon=True).start()
    begun.wait()
    if error is not None:
        raise error
"""


def run(code):
    command = [sys.executable, '-c', BEGIN + code]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_process_ends_well_while_a_daemon_thread_is_in_other_code():
    code, out, err = run("""
atexit.register(print, 'registered', end='')
def late():
    time.sleep(0.05)
    print('waited for', end=' ')
with ends_process():
    threading.Thread(target=late).start()
    print('not flushed yet', end=' ')
    end()
""")
    assert (code, out) == (0, 'not flushed yet waited for registered'), err


@pytest.mark.parametrize('error', ["KeyError('who')", "SystemExit('who')"])
def test_an_error_is_written_and_the_code_is_1(error):
    code, out, err = run(f"""
atexit.register(lambda: 1 / 0)
with ends_process():
    end({error})
print('never here')
""")
    assert (code, out) == (1, '')
    assert err.index('Traceback') < err.index('who') < err.index('ZeroDivisionError')
    assert 'Fatal' not in err and 'FATAL' not in err
