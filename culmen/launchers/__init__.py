"""Launchers: run an experiment's workers and loops in one process or in many."""

import importlib
from typing import Any

__all__ = ['compiled', 'compiled_many', 'launchpad', 'local', 'offline']


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return importlib.import_module(f'{__name__}.{name}')


def __dir__() -> list[str]:
    return sorted(__all__)
