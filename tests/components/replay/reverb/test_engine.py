"""Servers that are gone, and servers that can't be reached for a while."""

import socket

import pytest

pytest.importorskip('reverb')

from culmen.components.replay.reverb import engine


@pytest.fixture
def connection():
    """To an address of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    return engine.Connection(f'localhost:{port}')


def test_a_server_whose_machine_refuses_is_gone_at_once(connection):
    with pytest.raises(ConnectionError, match='is gone'):
        connection.check_alive()


def test_a_server_out_of_reach_is_waited_for_and_is_gone_after_a_minute(connection, monkeypatch):
    now = [100.0]
    reached = [False]

    def connect(*_, **__):
        if not reached[0]:
            raise TimeoutError('timed out')
        return socket.socket()

    monkeypatch.setattr(engine.socket, 'create_connection', connect)
    monkeypatch.setattr(engine.time, 'monotonic', lambda: now[0])
    connection.check_alive()
    now[0] += 40
    connection.check_alive()
    reached[0] = True
    connection.check_alive()  # it is back, and the minute begins anew
    reached[0] = False
    now[0] += 40
    connection.check_alive()
    now[0] += 59
    connection.check_alive()
    now[0] += 2
    with pytest.raises(ConnectionError, match='is gone'):
        connection.check_alive()


def test_counts_are_asked_again_while_the_server_is_out_of_reach(connection, monkeypatch):
    asked = []

    class Client:
        def server_info(self, timeout):
            asked.append(timeout)
            if len(asked) < 3:
                raise RuntimeError('deadline exceeded')
            return {'table': 1}

    def connect(*_, **__):
        raise TimeoutError('timed out')

    connection.client = Client()
    monkeypatch.setattr(engine.socket, 'create_connection', connect)
    assert connection.info() == {'table': 1}
    assert len(asked) == 3
    asked[:] = []
    monkeypatch.undo()  # now the machine refuses
    with pytest.raises(ConnectionError, match='is gone'):
        connection.info()
    assert len(asked) == 1
