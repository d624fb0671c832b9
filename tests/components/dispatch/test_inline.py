"""The one option of JAX that Culmen sets: by one function, which may be called and forbidden."""

import os
import subprocess
import sys

import pytest

OPTION = 'jax_cpu_enable_async_dispatch'


def asynchronous(lines, **variables):
    """Whether JAX hands calls to threads in a fresh process in which these lines have run."""
    before = {name: value for name, value in os.environ.items() if name != OPTION.upper()}
    script = f"import jax\n{lines}\nprint(jax.config.values['{OPTION}'])"
    output = subprocess.run(
        [sys.executable, '-c', script],
        capture_output=True,
        text=True,
        check=True,
        env={**before, **variables},
    ).stdout
    return output.split()[-1] == 'True'


CALL = """
import numpy as np
from culmen.components import dispatch
{first}
done = dispatch.run_small_networks_inline({{'w': jax.ShapeDtypeStruct(({size},), np.float32)}})
assert done != jax.config.values['jax_cpu_enable_async_dispatch']
"""


@pytest.mark.parametrize(('size', 'expected'), [(1_000, False), (10_000_000, True)])
def test_small_networks_run_in_the_calling_thread(size, expected):
    assert asynchronous(CALL.format(first='', size=size)) == expected


@pytest.mark.parametrize(
    ('first', 'variables'),
    [
        ('dispatch.allow_inline(False)', {}),
        ('', {'CULMEN_FAST_PATH': '0'}),
        ('', {'JAX_CPU_ENABLE_ASYNC_DISPATCH': 'true'}),
    ],
)
def test_it_may_be_forbidden(first, variables):
    assert asynchronous(CALL.format(first=first, size=1_000), **variables)


def test_no_import_sets_it():
    modules = 'culmen.launchers.local, culmen.launchers.compiled, culmen.launchers.command_line'
    assert asynchronous(f'import {modules}')
