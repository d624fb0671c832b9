"""What tests of launchers ask for."""

import signal
import threading

import pytest


@pytest.fixture
def stop():
    """Sends SIGTERM to this process from any thread, and returns when it has been handled.

    Python handles signals in its main thread, those that wait in the order of their numbers.
    """
    assert signal.SIGTERM < signal.SIGURG
    handled = threading.Event()
    before = signal.signal(signal.SIGURG, lambda number, frame: handled.set())

    def send():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGURG)
        assert handled.wait(60)

    yield send
    signal.signal(signal.SIGURG, before)
