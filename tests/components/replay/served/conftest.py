"""The servers of tables, and programs on them, closed after each test."""

import functools
from typing import Any

import pytest

from tests.components.replay.registry import has_reverb
from tests.components.replay.served.programs import Program
from tests.components.replay.served.programs import make_server as make_one

KINDS = [
    'called',
    pytest.param(
        'reverb',
        marks=[
            pytest.mark.launchpad,
            pytest.mark.skipif(not has_reverb(), reason='Reverb is not installed'),
        ],
    ),
]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of server."""
    return str(request.param)


@pytest.fixture
def make_server(kind: str) -> Any:
    return functools.partial(make_one, kind)


@pytest.fixture
def make_program(kind: str) -> Any:
    made: list[Program] = []

    def make(*arguments: Any, **settings: Any) -> Program:
        made.append(Program(kind, *arguments, **settings))
        return made[-1]

    yield make
    for program in made:
        program.close()


@pytest.fixture
def chunks_of_100_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reverb sends by itself the items whose chunks are full, and tunes their length by the clock."""
    if kind != 'reverb':
        return
    import reverb

    make = reverb.Client.trajectory_writer

    def with_long_chunks(*arguments: Any, **options: Any) -> Any:
        writer = make(*arguments, **options)
        writer.configure(('before',), num_keep_alive_refs=100, max_chunk_length=100)
        return writer

    monkeypatch.setattr(reverb.Client, 'trajectory_writer', with_long_chunks)
