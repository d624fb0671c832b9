"""Signs of life: what counts as progress, and what does not."""

import os
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from culmen.launchers.programs import pulses
from culmen.launchers.programs.pulses import Heart
from culmen.launchers.programs.stops import Stop


@pytest.fixture
def heart(tmp_path):
    heart = Heart(tmp_path / 'pulse')
    yield heart
    heart.stop()


def wait_until(condition):
    while not condition():
        time.sleep(0.01)


def test_a_node_that_asks_for_its_stop_is_alive_and_one_that_does_not_is_silent(heart, tmp_path):
    path = tmp_path / 'pulse'
    stop = Stop().with_heart(heart)
    wait_until(lambda: pulses.read(path).seconds > 3 * pulses.PERIOD_SECONDS)
    assert not stop.is_set()  # of a call that may never return
    time.sleep(2 * pulses.PERIOD_SECONDS)
    assert pulses.read(path).seconds > 3 * pulses.PERIOD_SECONDS
    assert not stop()
    wait_until(lambda: pulses.read(path).seconds < 3 * pulses.PERIOD_SECONDS)


def test_a_wait_shows_progress_all_the_time(heart, tmp_path):
    stop = Stop().with_heart(heart)
    thread = threading.Thread(target=stop.wait)
    thread.start()
    time.sleep(5 * pulses.PERIOD_SECONDS)
    assert pulses.read(tmp_path / 'pulse').seconds < 4 * pulses.PERIOD_SECONDS
    stop.set()
    thread.join()


def test_a_call_is_named_while_it_is_out(heart, tmp_path):
    stop = Stop().with_heart(heart)
    with stop.calling('learner'):
        wait_until(lambda: pulses.read(tmp_path / 'pulse').calls == 'learner')
    wait_until(lambda: pulses.read(tmp_path / 'pulse').calls is None)


def test_compiling_is_progress():
    """Seen from another thread, in the middle of it."""
    seen, done = [], threading.Event()

    def look():
        while not done.is_set():
            seen.append(pulses.is_at_long_work())

    def compile_anew(shift):
        def slow(x):
            for i in range(60):
                x = jnp.sin(x @ x + i * shift)
            return x

        jax.jit(slow).lower(jnp.ones((4, 4))).compile()

    compile_anew(1.0)  # what this imports is imported now
    assert not pulses.is_at_long_work()
    thread = threading.Thread(target=look)
    thread.start()
    compile_anew(2.0)
    done.set()
    thread.join()
    assert any(seen)


def test_what_is_not_there_is_not_known(tmp_path):
    assert pulses.read(tmp_path / 'none') is None
    (tmp_path / 'torn').write_text('')
    assert pulses.read(tmp_path / 'torn') is None


def test_a_process_that_is_suspended_is_silent(tmp_path):
    code = (
        'import sys, time\nfrom pathlib import Path\n'
        'from culmen.launchers.programs.pulses import Heart\n'
        'heart = Heart(Path(sys.argv[1]))\nwhile True:\n    heart.beat()\n    time.sleep(0.01)'
    )
    path = tmp_path / 'pulse'
    process = subprocess.Popen([sys.executable, '-c', code, str(path)])
    try:
        wait_until(lambda: pulses.read(path) is not None)
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: pulses.read(path).seconds > 4 * pulses.PERIOD_SECONDS)
        os.kill(process.pid, signal.SIGCONT)
        wait_until(lambda: pulses.read(path).seconds < 3 * pulses.PERIOD_SECONDS)
    finally:
        process.kill()
        process.wait()
