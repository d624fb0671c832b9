"""How small calls are run on a CPU."""

import subprocess
import sys

import numpy as np
import pytest

from culmen.components import compiling

INLINE = """
import sys, jax, numpy as np
from culmen.components import compiling
before = jax.config.values['jax_cpu_enable_async_dispatch']
compiling.run_small_networks_inline({'w': jax.ShapeDtypeStruct((int(sys.argv[1]),), np.float32)})
print(before, jax.config.values['jax_cpu_enable_async_dispatch'])
"""


@pytest.mark.parametrize(('size', 'asynchronous'), [(1_000, False), (10_000_000, True)])
def test_small_networks_run_in_the_calling_thread(size, asynchronous):
    output = subprocess.run(
        [sys.executable, '-c', INLINE, str(size)], capture_output=True, text=True, check=True
    ).stdout
    assert output.split() == ['True', str(asynchronous)]


def test_a_call_compiled_lazily_is_the_function():
    def function(x, y):
        return x @ y + 1

    x, y = np.ones((3, 4), np.float32), np.full((4, 2), 2.0, np.float32)
    compiled = compiling.compile_lazily(function, donate_argnums=())
    np.testing.assert_allclose(compiled(x, y), x @ y + 1)
    assert compiled._cache_size() == 1
    assert 'dot' in compiled.lower(x, y).as_text()
