"""What holds for every test: strict shapes, repeatable examples, a word on what was left out."""

import importlib.util
import pathlib
import tempfile

import hypothesis
import jax
import pytest

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
    'ale_py': 'environments',
    'bsuite': 'environments',
    'minatar': 'environments',
    'dm_control': 'environments (below Python 3.13)',
    'tensorboardX': 'logging',
    'wandb': 'logging',
    'mlflow': 'logging',
}


# What the quick tests know of folders that grow with every agent and every loss; all tests know all.
HERE = pathlib.Path(__file__).parent
QUICK_AGENT = 'dqn'
LOSSES = HERE / 'components' / 'losses'
QUICK_LOSSES = (  # those that DQN stands on
    'test_clipping',
    'test_exploration',
    'test_faults',
    'test_regression',
    'test_value_learning',
)


def is_quick(item: pytest.Item) -> bool:
    """Whether the quick tests know what a test is about: its folder, its file, its row of a registry."""
    folder = item.path.parent
    if folder.parent == HERE / 'agents' and folder.name != QUICK_AGENT:
        return False
    if folder == LOSSES and item.path.stem not in QUICK_LOSSES:
        return False
    callspec = getattr(item, 'callspec', None)
    return callspec is None or getattr(callspec.params.get('row'), 'quick', True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not is_quick(item):
            item.add_marker(pytest.mark.slow)


def is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # A test may hide it.
        return False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the packages that are missing here, since the tests that need them were skipped."""
    missing = [name for name in OPTIONAL if not is_installed(name)]
    if missing:
        terminalreporter.section('not tested here')
        for name in missing:
            terminalreporter.line(f'{name} is not installed; it comes with extra {OPTIONAL[name]}')
