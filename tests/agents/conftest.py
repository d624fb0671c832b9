"""The quick tests know one agent; all tests know all of them."""

import pathlib

import pytest

from tests.agents.registry import QUICK

HERE = pathlib.Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.parent
        if folder.parent == HERE and folder.name != QUICK:
            item.add_marker(pytest.mark.slow)
