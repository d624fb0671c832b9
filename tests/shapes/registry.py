"""The rows of all modules in tests/shapes/rows, by name.

To add one, write a module there: the agent as a frozen dataclass with `build`, and

    ROWS = [Shape('two-clocks', TwoClocks(), worlds.signs, learns=3.5)]

`Shape` says what a row may have, and tests/shapes/test_shapes.py what is asked of it: it learns in one
process and compiled, and stops and resumes in both to the bit; it learns as a program of threads; what a
launcher can't do it refuses in the words that `refused` has. A row is one agent for one ability of the core,
as small as it can be: one or two layers or a table, some hundred steps, at most 15 CPU seconds in all tests
(`python -m pytest tests/shapes -k two-clocks --durations=0`). It draws from the keys of its Context alone,
and says in `check` what its return does not show: how often each rule was called, how old a sample was.
"""

import importlib
from pathlib import Path

from tests.shapes.shape import Shape

ROWS: list[Shape] = [
    row
    for path in sorted((Path(__file__).parent / 'rows').glob('*.py'))
    for row in importlib.import_module(f'tests.shapes.rows.{path.stem}').ROWS
]
