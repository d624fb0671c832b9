"""Files and folders: reads files that another user may have written; paths; temporary folders."""

from culmen.components.files.paths import check_writable
from culmen.components.files.paths import expanded
from culmen.components.files.scratch import Scratch
from culmen.components.files.stored import LOCK
from culmen.components.files.stored import DamagedError
from culmen.components.files.stored import OnLostRows
from culmen.components.files.stored import UntrustedError
from culmen.components.files.stored import crc32
from culmen.components.files.stored import read_array
from culmen.components.files.stored import read_json
from culmen.components.files.stored import read_trusted
from culmen.components.files.stored import reading
from culmen.components.files.stored import seal
from culmen.components.files.stored import unseal

__all__ = [
    'LOCK',
    'DamagedError',
    'OnLostRows',
    'Scratch',
    'UntrustedError',
    'check_writable',
    'crc32',
    'expanded',
    'read_array',
    'read_json',
    'read_trusted',
    'reading',
    'seal',
    'unseal',
]
