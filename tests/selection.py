"""Which tests are run, in which order, and which of them share a process."""

import pathlib
from collections.abc import Sequence
from typing import Any

import pytest

from tests.agents import registry

HERE = pathlib.Path(__file__).parent
AGENTS = HERE / 'agents'
LONG = ('integration', 'launchers', 'examples', 'shapes', 'test_package.py')  # beside what trains
# Of folders that grow with every agent and its parts the quick tests know what DQN on Catch stands on.
QUICK_AGENT = 'dqn'
QUICK_FILES = {
    'environments': ('test_adapters', 'test_checking', 'test_functional', 'test_gymnasium',
                     'test_registry', 'test_saving', 'test_wrappers'),
    'losses': ('test_regression', 'test_value_learning'),
    'networks': ('test_networks', 'test_values'),
    'policies': ('test_epsilon_greedy', 'test_legal'),
    'updates': ('test_means', 'test_optimizers', 'test_priorities', 'test_training'),
}  # fmt: skip
QUICK_LOSSES = ('l2_loss', 'huber_loss', 'td_learning', 'q_learning', 'double_q_learning')


def row(item: pytest.Item) -> registry.Row | None:
    """The row of the registry of agents that a test is about."""
    value = _parameters(item).get('row')
    return value if isinstance(value, registry.Row) else None


def family(item: pytest.Item) -> str | None:
    """The folder of culmen/agents that a test is about: by its folder, its row or its agent."""
    if item.path.parent.parent == AGENTS:
        return item.path.parent.name
    of_item = row(item)
    if of_item is not None:
        return registry.family(of_item.agent)
    for value in _parameters(item).values():
        if isinstance(value, type) and value.__module__.startswith('culmen.agents.'):
            return value.__module__.split('.')[2]
    return None


def group(item: pytest.Item) -> str:
    """Tests of one group run one after another in one process and share what is compiled."""
    marker = item.get_closest_marker('xdist_group')
    return marker.args[0] if marker else ''


def mark(items: Sequence[pytest.Item]) -> None:
    """Gives each test its group, and marks what the quick tests leave out."""
    for item in items:
        if not _is_quick(item):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker('xdist_group') is None:
            of_item = row(item)
            name = of_item.name if of_item else str(item.path.relative_to(HERE))
            item.add_marker(pytest.mark.xdist_group(name))


def select(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests that the options ask for."""
    agent = config.getoption('agent')
    if agent:
        known = {registry.family(each.agent) for each in registry.AGENTS}
        if agent not in known:
            raise pytest.UsageError(f'--agent must be one of {sorted(known)}, got {agent!r}')
        items = [item for item in items if family(item) == agent]
    elif not config.getoption('all'):
        items = [item for item in items if item.get_closest_marker('deep') is None]
    if config.getoption('families'):
        rows = registry.first_of_each_family(registry.AGENTS)
        items = [item for item in items if (of_item := row(item)) is None or of_item in rows]
    if config.getoption('part'):
        i, n = map(int, config.getoption('part').split('/'))
        if not 1 <= i <= n:
            raise pytest.UsageError(f'--part must be i/n with 1 <= i <= n, got {i}/{n}')
        groups = sorted({group(item) for item in items})
        chosen = set(groups[i - 1 :: n])
        items = [item for item in items if group(item) in chosen]
    return items


def order(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """Groups as a whole, at the place of their first test; long ones first, so that no worker ends alone."""
    places: dict[str, Any] = {}
    if config.getoption('backwards'):
        folders = sorted({item.path.parent for item in items}, reverse=True)
        items = sorted(items, key=lambda item: folders.index(item.path.parent))
    long = {
        group(item)
        for item in items
        if item.get_closest_marker('learning') or item.path.relative_to(HERE).parts[0] in LONG
    }
    for item in items:
        places.setdefault(group(item), (group(item) not in long, len(places)))
    return sorted(items, key=lambda item: places[group(item)])


def _is_quick(item: pytest.Item) -> bool:
    """Whether the quick tests know what a test is about: its agent, file, loss, and row of a registry."""
    if family(item) not in (None, QUICK_AGENT):
        return False
    folder = item.path.parent
    known = QUICK_FILES.get(folder.name) if folder.parent == HERE / 'components' else None
    if known is not None and item.path.stem not in known:
        return False
    of_item = _parameters(item).get('case')
    if folder.name == 'losses' and of_item and of_item.function.__name__ not in QUICK_LOSSES:
        return False
    return getattr(_parameters(item).get('row'), 'quick', True)


def _parameters(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, 'callspec', None)
    return callspec.params if callspec else {}
