"""The tables that the shared suite runs on: a new table is one row here."""

import importlib.util
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import pytest

from culmen.components.replay import InProcessTable
from culmen.components.replay.reverb import ReverbTable
from tests.components.replay.called.table import CalledTable
from tests.components.replay.device.table import DeviceTable


class Row(NamedTuple):
    """A kind of table."""

    make: Callable[..., Any]  # (experience, row_spec, num_lanes, seed) -> Table
    seeded: bool  # whether the same seed draws the same items
    compiled: bool = (
        False  # whether it is pure functions of static shapes, which can't look and refuse
    )


def make_reverb(experience: Any, row_spec: Any, num_lanes: int, seed: int) -> ReverbTable:
    """Its draws have no seed."""
    return ReverbTable(experience, row_spec, num_lanes)


def has_reverb() -> bool:
    """Whether Reverb is installed."""
    try:
        return importlib.util.find_spec('reverb') is not None
    except ModuleNotFoundError:  # A test may hide it.
        return False


TABLES = {
    'in_process': Row(InProcessTable, seeded=True),
    'reverb': Row(make_reverb, seeded=False),
    'called': Row(CalledTable, seeded=True),
    'device': Row(DeviceTable, seeded=True, compiled=True),
}

# The names, as parameters of a test: a table whose package is missing is skipped.
NAMES = [
    'in_process',
    pytest.param(
        'reverb',
        marks=[
            pytest.mark.launchpad,
            pytest.mark.skipif(not has_reverb(), reason='Reverb is not installed'),
        ],
    ),
    'called',
    pytest.param('device', marks=pytest.mark.slow),
]
