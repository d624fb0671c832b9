"""Populations of parameters that evolve, by the package evosax (extra `populations`), imported on use."""

from culmen.components.populations.strategy import Strategy
from culmen.components.populations.strategy import make_strategy

__all__ = [
    'Strategy',
    'make_strategy',
]
