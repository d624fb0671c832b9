"""The quick tests know one agent; all tests know all of them."""

import pathlib

import pytest

from tests.agents import registry

HERE = pathlib.Path(__file__).parent
QUICK = 'dqn'


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, 'callspec', None)
        row = None if callspec is None else callspec.params.get('row')
        of_other_row = isinstance(row, registry.Row) and row.name != QUICK
        folder = item.path.parent
        if of_other_row or (folder.parent == HERE and folder.name != QUICK):
            item.add_marker(pytest.mark.slow)
