"""Which rows of the registry are part of the quick tests."""

import pytest

from tests.agents import registry

# One of each kind; all rows are part of all tests.
QUICK = ('bc', 'dqn', 'ppo', 'sac')


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, 'callspec', None)
        row = None if callspec is None else callspec.params.get('row')
        if isinstance(row, registry.Row) and row.name not in QUICK:
            item.add_marker(pytest.mark.slow)
