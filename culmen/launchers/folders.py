"""The names of the files in the folder of a run, and how its small files are written. Imports no JAX.

config.json      the experiment, and the launcher that runs it
provenance.json  the commands that ran it, with versions and hardware (culmen.launchers.provenance)
program.json     what else of a program can't change
status.json      how far a program is, and its nodes (culmen.launchers.status)
logs/            a CSV file for each log; the output of each node of a program
checkpoints/     RunStates, with the rows of tables (culmen.components.checkpointing)
result.json      the summary of a run that is finished
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG, PROGRAM, STATUS, RESULT = 'config.json', 'program.json', 'status.json', 'result.json'
PROVENANCE = 'provenance.json'
CHECKPOINTS, LOGS = 'checkpoints', 'logs'


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a file atomically: it appears only when it is complete. Raises: OSError that names it."""
    temporary = path.with_name(f'.{path.name}-{os.getpid()}')
    try:
        temporary.write_text(json.dumps(value, indent=2) + '\n')
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno or 0, f'could not write: {error.strerror}', str(path)) from error
