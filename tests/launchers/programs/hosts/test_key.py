"""The program's key in a file: who may read it, and what it has to hold."""

import os

import pytest

from culmen.launchers.programs.hosts.key import read_key


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'key'
    path.write_text('0a' * 32 + '\n')
    path.chmod(0o600)
    return path


def test_a_key_is_64_hexadecimal_digits(path):
    assert read_key(path).value == b'\x0a' * 32


def test_the_command_of_the_error_makes_a_key_that_is_accepted(tmp_path):
    path = tmp_path / 'key'
    with pytest.raises(ValueError, match='does not exist: make it by') as error:
        read_key(path)
    command = str(error.value).partition('make it by ')[2].partition(' and copy')[0]
    assert os.system(command) == 0
    assert len(read_key(path).value) == 32


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(path, mode):
    path.chmod(mode)
    with pytest.raises(ValueError, match=rf'can be read by others \(mode {mode:04o}\): chmod 600'):
        read_key(path)


@pytest.mark.parametrize('text', ['', 'secret', '0a' * 31, '0a' * 33, 'xy' * 32])
def test_other_content_is_refused_and_not_repeated(path, text):
    path.write_text(text)
    with pytest.raises(ValueError, match='must hold 64 hexadecimal digits') as error:
        read_key(path)
    assert not text or text not in str(error.value)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match='can not be read'):
        read_key(tmp_path)
