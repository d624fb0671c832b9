"""The output of nodes on other hosts: what arrives in the workdir, and what is refused."""

import pytest

from culmen.launchers.programs import outputs
from culmen.launchers.programs.outputs import Outputs
from culmen.launchers.programs.outputs import send_outputs


def test_what_a_host_wrote_arrives_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, 'PIECE_BYTES', 7)
    there, here = tmp_path / 'there', tmp_path / 'here'
    there.mkdir()
    (there / 'actor-0.log').write_bytes(b'a line\nand another \xff\n')
    (there / 'actor-1.log').write_bytes(b'')
    (there / 'actor-0.csv').write_text('1,2\n')
    for _ in range(2):  # a later launch sends the whole file again
        send_outputs(there, 'far', Outputs(here).take)
    assert {path.name: path.read_bytes() for path in (here / 'far').iterdir()} == {
        'actor-0.log': b'a line\nand another \xff\n', 'actor-1.log': b'',
    }  # fmt: skip
    (there / 'actor-0.log').write_bytes(b'new\n')
    send_outputs(there, 'far', Outputs(here).take)
    assert (here / 'far' / 'actor-0.log').read_bytes() == b'new\n'


@pytest.mark.parametrize('size', [9, 10, 11, 25])
def test_of_a_long_file_the_newest_bytes_arrive(tmp_path, monkeypatch, size):
    monkeypatch.setattr(outputs, 'MOST_BYTES', 10)
    monkeypatch.setattr(outputs, 'PIECE_BYTES', 4)
    (tmp_path / 'actor-0.log').write_bytes(bytes(range(size)))
    send_outputs(tmp_path, 'far', Outputs(tmp_path).take)
    assert (tmp_path / 'far' / 'actor-0.log').read_bytes() == bytes(range(size))[-10:]


@pytest.mark.parametrize(
    ('host', 'name', 'begin', 'said'),
    [
        ('..', 'a.log', 0, "host must be of letters, .* got '..'"),
        ('a/b', 'a.log', 0, "host must be .* got 'a/b'"),
        ('far', '../a.log', 0, "name must be .* got '../a.log'"),
        ('far', '.a.log', 0, "name must be .* got '.a.log'"),
        ('far', 'config.json', 0, "name must end in .log, got 'config.json'"),
        (3, 'a.log', 0, 'host must be .* got 3'),
        ('far', 'a.log', -1, 'a.log of far must have at most 67,108,864 bytes'),
        ('far', 'a.log', outputs.MOST_BYTES, 'a.log of far must have at most'),
    ],
)
def test_nothing_is_written_elsewhere(tmp_path, host, name, begin, said):
    with pytest.raises(ValueError, match=said):
        Outputs(tmp_path / 'logs').take(host, name, begin, b'x')
    assert list(tmp_path.iterdir()) == []
