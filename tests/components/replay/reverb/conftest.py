"""Programs on Reverb, closed after each test."""

from typing import Any

import pytest

from tests.components.replay.reverb.programs import Program


@pytest.fixture
def make_program() -> Any:
    made: list[Program] = []

    def make(*arguments: Any, **settings: Any) -> Program:
        made.append(Program(*arguments, **settings))
        return made[-1]

    yield make
    for program in made:
        program.close()


@pytest.fixture
def chunks_of_100_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reverb sends by itself the items whose chunks are full, and tunes their length by the clock."""
    import reverb

    make = reverb.Client.trajectory_writer

    def with_long_chunks(*arguments: Any, **options: Any) -> Any:
        writer = make(*arguments, **options)
        writer.configure(('before',), num_keep_alive_refs=100, max_chunk_length=100)
        return writer

    monkeypatch.setattr(reverb.Client, 'trajectory_writer', with_long_chunks)
