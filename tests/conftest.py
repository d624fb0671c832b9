"""What holds for every test: strict shapes, repeatable examples, which tests are run and in which order."""

import gc
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import hypothesis
import jax
import pytest

from tests import costs
from tests import selection
from tests.agents import subject

# Arrays of different rank never meet by accident: every broadcast over a new axis is written out.
jax.config.update('jax_numpy_rank_promotion', 'raise')

# Many tests compile the same programs: a worker compiles each of them once.
COMPILED = tempfile.TemporaryDirectory(prefix='culmen-tests-')
jax.config.update('jax_compilation_cache_dir', COMPILED.name)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)

# Examples are drawn from the test's name, not from a clock, so that a failure repeats.
hypothesis.settings.register_profile(
    'culmen', deadline=None, derandomize=True, max_examples=50, database=None
)
hypothesis.settings.load_profile('culmen')

# What a test of Culmen may need beyond the base package: its module and where it comes from.
OPTIONAL = {
    'launchpad': 'launchpad (Python 3.10 on Linux x86-64)',
    'reverb': 'launchpad (Python 3.10 on Linux x86-64)',
    'gymnasium': 'environments',
    'envpool': 'environments',
    'ale_py': 'environments',
    'bsuite': 'environments',
    'minatar': 'environments',
    'dm_control': 'environments (below Python 3.13)',
    'gym_super_mario_bros': 'environments (Python 3.13)',
    'tensorboardX': 'logging',
    'wandb': 'logging',
    'mlflow': 'logging',
    'mctx': 'search',
    'evosax': 'populations',
    'ray': 'ray',
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup('culmen')
    group.addoption('--all', action='store_true', help='deep tests too: everything for every agent')
    group.addoption('--agent', help='all that there is of one agent, a folder of culmen/agents')
    group.addoption(
        '--families',
        action='store_true',
        help='of the rows of agents the first of each family alone',
    )
    group.addoption('--part', help='i/n: the i-th of n parts of the tests, counted from 1')
    group.addoption('--backwards', action='store_true', help='the folders in reverse order')
    group.addoption(
        '--optimised', action='store_true', help='let XLA optimise all programs, as users have them'
    )
    group.addoption('--costs', metavar='FILE', help='write what the tests cost there')


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption('costs'):
        config.pluginmanager.register(costs.Costs(), 'culmen-costs')


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    selection.mark(items)
    kept = selection.select(config, items)
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = selection.order(config, kept)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Refuses a pytest-xdist that loses the groups of tests: silently, and each worker compiles all."""
    if (
        node.config.getoption('dist') == 'loadgroup'
        and ids
        and '@' not in ids[0].rpartition(']')[2]
    ):
        raise pytest.UsageError(
            'pytest and pytest-xdist of these versions lose the groups of tests'
        )


def pytest_collection_finish() -> None:
    # The tests and what they import stay: collections after each group need not look through them.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None):
    # LLVM takes half the time to compile what it hardly optimises; what learns is run for longer.
    plain = not (item.config.getoption('optimised') or item.get_closest_marker('learning'))
    jax.config.update('jax_disable_most_optimizations', plain)
    os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = str(
        int(plain)
    )  # for processes of the test's own
    result = yield
    if nextitem is None or selection.group(nextitem) != selection.group(item):
        subject.forget()
        jax.clear_caches()
        gc.collect()
    return result


def is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # A test may hide it.
        return False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the packages that are missing here, since the tests that need them were skipped."""
    path = terminalreporter.config.getoption('costs')
    if path:
        terminalreporter.config.pluginmanager.get_plugin('culmen-costs').write(path)
    missing = [name for name in OPTIONAL if not is_installed(name)]
    if missing:
        terminalreporter.section('not tested here')
        for name in missing:
            terminalreporter.line(f'{name} is not installed; it comes with extra {OPTIONAL[name]}')
