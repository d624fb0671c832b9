"""The library as a whole: its examples run, its names are there, it needs JAX and NumPy alone."""

import doctest
import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses

MODULES = sorted(
    path.stem
    for path in pathlib.Path(losses.__file__).parent.glob('*.py')
    if path.stem != '__init__'
)
FUNCTIONS = [name for name in losses.__all__ if inspect.isfunction(getattr(losses, name))]


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
    module = importlib.import_module(f'culmen.components.losses.{name}')
    globs = {**vars(module), 'jax': jax, 'jnp': jnp, 'np': np}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder().find(module, globs=globs):
        runner.run(example)
    assert runner.failures == 0


def test_every_function_has_an_example_and_says_what_it_takes():
    assert len(FUNCTIONS) > 140
    for name in FUNCTIONS:
        text = inspect.getdoc(getattr(losses, name)) or ''
        assert '>>>' in text, f'{name} has no example'
        if inspect.signature(getattr(losses, name)).parameters.keys() - {'x', 'tree'}:
            for argument in inspect.signature(getattr(losses, name)).parameters:
                assert re.search(rf'\b{argument}\b', text), f'{name} does not explain {argument}'


def test_all_names_are_there_once():
    assert len(losses.__all__) == len(set(losses.__all__))
    for name in losses.__all__:
        assert hasattr(losses, name)


def test_every_public_function_of_the_modules_is_exported():
    for name in MODULES:
        if name.startswith('_'):
            continue
        module = importlib.import_module(f'culmen.components.losses.{name}')
        for attribute, value in vars(module).items():
            is_own = getattr(value, '__module__', None) == module.__name__
            if is_own and not attribute.startswith('_') and inspect.isfunction(value):
                assert getattr(losses, attribute) is value


def test_it_imports_jax_and_numpy_alone():
    code = (
        'import jax, jax.numpy, numpy, sys; before = set(sys.modules); '
        'import culmen.components.losses; '
        'print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))'
    )
    # The package `culmen` itself may import what it likes: it is put aside here.
    root = pathlib.Path(losses.__file__).parents[3]
    stub = (
        'import sys, types; package = types.ModuleType("culmen"); '
        f'package.__path__ = [{str(root / "culmen")!r}]; sys.modules["culmen"] = package; '
        'package = types.ModuleType("culmen.components"); '
        f'package.__path__ = [{str(root / "culmen" / "components")!r}]; '
        'sys.modules["culmen.components"] = package; '
    )
    done = subprocess.run(
        [sys.executable, '-c', stub + code], capture_output=True, text=True, check=True
    )
    foreign = set(done.stdout.split()) - set(sys.stdlib_module_names) - {'culmen', 'jax'}
    assert foreign <= {'numpy', 'jaxlib', 'ml_dtypes'}, foreign


def test_checks_are_not_in_the_compiled_program():
    def plain(r, discount, v):
        step = lambda g, x: ((y := x[0] + x[1] * g), y)
        return jax.lax.scan(step, v[-1], (r, discount), reverse=True)[1]

    args = (jnp.ones(4), jnp.ones(4), jnp.ones(4))
    checked = str(
        jax.make_jaxpr(lambda *args: losses.td_learning(*args[:3], args[3]))(*jnp.ones(4))
    )
    assert checked.count('=') <= 6  # Three operations of the error and the stop of its gradient.
    assert str(jax.make_jaxpr(losses.discounted_returns)(*args)).count('scan') == 1
    np.testing.assert_allclose(losses.discounted_returns(*args), plain(*args))
