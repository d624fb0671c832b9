"""The whole agent in one file learns."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import culmen

ROOT = Path(__file__).parents[2]
FILE = ROOT / 'examples' / 'linear_q.py'


def linear_q():
    spec = importlib.util.spec_from_file_location('linear_q', FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.learning
@pytest.mark.parametrize('seed', [1, 2])
def test_it_learns(seed):
    pytest.importorskip('bsuite')
    experiment = culmen.Experiment(
        linear_q().LinearQ(), 'bsuite/catch/0', seed=seed, max_actor_steps=5_000
    )
    result = culmen.run(experiment, progress=False)
    assert result.summary['evaluation']['return_mean'] == 1.0


@pytest.mark.learning
def test_it_runs_as_a_script(tmp_path):
    pytest.importorskip('bsuite')
    run = subprocess.run(
        [sys.executable, str(FILE)],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert 'return_mean 1,' in run.stdout
    assert list(tmp_path.iterdir()) == []
