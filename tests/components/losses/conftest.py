"""The quick tests know the losses that DQN stands on."""

import pathlib

import pytest

HERE = pathlib.Path(__file__).parent
QUICK = (
    'test_clipping',
    'test_exploration',
    'test_faults',
    'test_regression',
    'test_value_learning',
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE and item.path.stem not in QUICK:
            item.add_marker(pytest.mark.slow)
