"""The program's key, where a person hands it to each machine: a file that only he can read.

A key proves to each side of a connection that the other belongs to the program. It is in no command line and
in no pickle.
"""

import os
import re
import stat
from pathlib import Path

from culmen.components.files import expanded
from culmen.launchers.programs.connections import Key

_MAKE = '(umask 077; openssl rand -hex 32 > {path})'


def read_key(path: str | os.PathLike[str]) -> Key:
    """Reads a key of 64 hexadecimal digits from a file.

    Raises: ValueError if the file is missing, is not this user's alone (mode 0600), or holds something else.
    """
    path = expanded(path)
    try:
        with open(path, 'rb') as file:
            status = os.fstat(file.fileno())
            _check_owner(path, status)
            text = file.read(1024)
    except FileNotFoundError:
        raise ValueError(
            f'the key {path} does not exist: make it by {_MAKE.format(path=path)} and copy it to every '
            f'host.'
        ) from None
    except OSError as error:
        raise ValueError(f'the key {path} can not be read: {error.strerror}.') from error
    return parse_key(text.decode(errors='replace'), f'the key {path}')


def parse_key(text: str, name: str) -> Key:
    """A key from its digits. Raises: ValueError that does not repeat what was given."""
    if not re.fullmatch(r'[0-9a-fA-F]{64}', text.strip()):
        raise ValueError(
            f'{name} must hold 64 hexadecimal digits, as openssl rand -hex 32 writes them, and holds '
            f'{len(text.strip())} characters.'
        )
    return Key(bytes.fromhex(text.strip()))


def _check_owner(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise ValueError(
            f'the key {path} can be read by others (mode {mode:04o}): chmod 600 {path}, or make a new one '
            f'by {_MAKE.format(path=path)}.'
        )
    if hasattr(os, 'getuid') and status.st_uid not in (os.getuid(), 0):
        raise ValueError(f'the key {path} belongs to another user (uid {status.st_uid}).')
