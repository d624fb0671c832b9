"""Chooses which of an environment's named numbers are logged (culmen.core.metrics)."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import dm_env
import jax

from culmen.components.environments.around import around_once
from culmen.components.environments.functional import DmEnvironment
from culmen.components.environments.vector import VectorLane
from culmen.components.environments.vector import VectorMaker
from culmen.components.environments.wrappers.base import Wrapper
from culmen.core import checks
from culmen.core.environments import JaxEnvironment
from culmen.core.metrics import measured_names
from culmen.core.metrics import read_metrics
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Nest
from culmen.core.types import TimeStep


class ChosenMetrics(Wrapper):
    """An environment with a method `metrics`, of which other numbers are logged."""

    _keeps_goals = True

    def __init__(self, environment: dm_env.Environment, metrics: Sequence[str]) -> None:
        """Args: metrics: names, as 'success' or 'distance:mean'.

        Raises: ValueError if the environment has no numbers.
        """
        super().__init__(environment)
        if not callable(getattr(environment, 'metrics', None)):
            raise _nothing_of(metrics)
        self._names = tuple(metric.column for metric in read_metrics(metrics))

    def metric_names(self) -> tuple[str, ...]:
        """The names that were chosen."""
        return self._names


class ChosenJaxMetrics:
    """A JaxEnvironment with other numbers logged."""

    def __init__(self, environment: JaxEnvironment, metrics: tuple[str, ...]) -> None:
        """Args: as for `ChosenMetrics`. Raises: ValueError with the nearest names that it has."""
        self._environment = environment
        known = measured_names(environment)
        if not known:
            raise _nothing_of(metrics)
        for metric in read_metrics(metrics):
            if metric.name not in known:
                raise ValueError(f'metrics: {checks.unknown_name("number", metric.name, known)}')
        self._names = tuple(metric.column for metric in read_metrics(metrics))
        self.render = getattr(environment, 'render', None)

    def metric_names(self) -> tuple[str, ...]:
        """The names that were chosen."""
        return self._names

    def measure(self, state: Any) -> Mapping[str, Any]:
        """The numbers of the environment inside."""
        measured: Mapping[str, Any] = self._environment.measure(state)  # type: ignore[attr-defined]
        return measured

    def spec(self) -> EnvironmentSpec:
        """The specs of one environment."""
        return self._environment.spec()

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Begins an episode: (state, FIRST)."""
        return self._environment.reset(key)

    def step(self, key: jax.Array, state: Any, action: Nest) -> tuple[Any, TimeStep]:
        """Takes a step."""
        return self._environment.step(key, state, action)


def _nothing_of(metrics: Sequence[str]) -> ValueError:
    return ValueError(
        f'metrics must be left out: the environment has no numbers (a method metrics(), or measure(state) '
        f'where it is written in JAX), got {tuple(metrics)}.'
    )


def _choosing(maker: VectorMaker, metrics: tuple[str, ...]) -> VectorMaker:
    columns = tuple(metric.column for metric in read_metrics(metrics))
    return dataclasses.replace(maker, metrics=columns, source=maker)


def with_metrics(
    environment: dm_env.Environment, metrics: str | Sequence[str]
) -> dm_env.Environment:
    """An environment of which these numbers are logged. Args: metrics: names, or text with commas.

    Raises: ValueError that names a number which it does not have, as far as that is known.
    """
    if isinstance(metrics, str):
        metrics = [name.strip() for name in metrics.split(',')]
    if isinstance(environment, VectorLane):
        return environment.around(around_once(environment.maker, _choosing, tuple(metrics)))
    if not isinstance(environment, DmEnvironment):
        return ChosenMetrics(environment, metrics)
    return environment.around(around_once(environment.functions, ChosenJaxMetrics, tuple(metrics)))
