"""How small calls are run on a CPU."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from culmen.components.dispatch import compiling


def test_a_call_compiled_lazily_is_the_function():
    traced = []

    def function(x, y):
        traced.append(x)
        return x @ y + 1

    x, y = np.ones((3, 4), np.float32), np.full((4, 2), 2.0, np.float32)
    compiled = compiling.compile_lazily(function, donate_argnums=())
    for _ in range(2):
        np.testing.assert_allclose(compiled(x, y), x @ y + 1)
    assert len(traced) == 1
    assert 'dot' in compiled.lower(x, y).as_text()


PARTS = """
import jax, jax.numpy as jnp, numpy as np
from culmen.components.dispatch import compiling
params = {'w': jax.ShapeDtypeStruct((100,), np.float32)}
def body(carry):
    count, x = carry
    return count + 1, jnp.tanh(x) * 0.5 + jnp.exp(-x)
def run(body):
    loop = lambda x: jax.lax.while_loop(lambda c: c[0] < 50, body, (jnp.int32(0), x))[1]
    return compiling.compile_lazily(loop)
x = np.linspace(0, 1, 100_000, dtype=np.float32)
shared, kept = run(body), run(compiling.in_one_thread(body, params))
print(*(each.lower(x).compile().as_text().count('outer_dimension_partitions') for each in (shared, kept)))
np.testing.assert_allclose(shared(x), kept(x), rtol=1e-6)
"""


@pytest.mark.skipif(jax.__version_info__[:2] != (0, 4), reason='later XLA shares nothing of a loop')
@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='about CPUs')
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason='one core shares nothing')
def test_the_body_of_a_small_loop_stays_in_one_thread():
    output = subprocess.run(
        [sys.executable, '-c', PARTS], capture_output=True, text=True, check=True
    ).stdout
    shared, kept = map(int, output.split())
    assert shared > 0
    assert kept == 0


def test_a_large_network_shares_its_loop():
    params = {'w': jax.ShapeDtypeStruct((10_000_000,), np.float32)}
    body = lambda carry: carry
    assert compiling.in_one_thread(body, params) is body
