"""The example of a program, as the script that it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import is_installed

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.launchpad
@pytest.mark.skipif(
    not is_installed('launchpad'), reason='Launchpad has wheels for Python 3.10 alone'
)
def test_it_learns_as_threads_and_leaves_nothing(tmp_path):
    pytest.importorskip('bsuite')
    run = subprocess.run(
        [sys.executable, str(ROOT / 'examples' / 'program.py'), 'threads'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert 'launcher: threads' in run.stdout
    assert 'actor_steps: 5,000' in run.stdout
    assert 'return_mean 1,' in run.stdout
    assert list(tmp_path.iterdir()) == []
