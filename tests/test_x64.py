"""Where JAX has 64 bits, agents are what they are without: all compute in float32."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_every_agent_keeps_its_dtypes_where_jax_has_64_bits():
    process = subprocess.run(
        [sys.executable, '-m', 'tests.x64'],
        cwd=pathlib.Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.endswith(' 0 failed\n')
