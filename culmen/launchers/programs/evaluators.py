"""Further evaluators of a program, beside the one of the experiment: other environments, other policies.

    evaluators={'windy': FurtherEvaluator(environment='gym/windy'),
                'exploring': FurtherEvaluator(policy=lambda parts: parts.actor)}

Each is a node `evaluator-NAME`, which plays the same variables at the same counts as the evaluator of the
experiment, with the same seeds, and writes `evaluator-NAME.csv`. It changes nothing in the run.
"""

import dataclasses
import re
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from culmen.components.actors.actor import extras_spec
from culmen.components.counts import fold_seed
from culmen.components.loggers import columns_of
from culmen.core.actions import check_shapes
from culmen.core.agent import Parts
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.errors import SettingTypeError
from culmen.core.errors import failing_at
from culmen.core.experiment import AnyEnvironment
from culmen.core.experiment import Experiment
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import first_timestep
from culmen.core.types import ActorCore
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.environment_loops.batched import reward_names
from culmen.launchers.factories import check_alike
from culmen.launchers.factories import evaluation_factories
from culmen.launchers.factories import read_environment

_NAME = re.compile(r'\w[\w.-]*', re.ASCII)


@dataclass(frozen=True)
class FurtherEvaluator:
    """Another environment or another policy, or both, to evaluate the variables of a program with."""

    # With the observations and actions of training; None: that of the experiment's evaluations.
    environment: AnyEnvironment | tuple[AnyEnvironment, ...] | None = None
    # The agent's parts -> the core that acts; None: `parts.evaluator`.
    policy: Callable[[Parts], ActorCore] | None = None
    # Of an evaluation; None: as the experiment has it.
    episodes: Annotated[int | None, Range(1)] = None

    def __post_init__(self) -> None:
        check_fields(self, 'FurtherEvaluator.')
        if self.environment == ():
            raise ValueError(
                'FurtherEvaluator.environment must hold one environment at least, got ().'
            )

    def applied(self, experiment: Experiment) -> Experiment:
        """The experiment as this evaluator plays it. Args: experiment: of the program."""
        evaluation = experiment.evaluation
        if self.episodes is not None:
            evaluation = dataclasses.replace(evaluation, episodes=self.episodes)
        if self.environment is None:
            return dataclasses.replace(experiment, evaluation=evaluation)
        evaluation = dataclasses.replace(evaluation, environment={})
        return dataclasses.replace(experiment, environment=self.environment, evaluation=evaluation)

    def core(self, parts: Parts) -> ActorCore:
        """The core that acts. Raises: SettingTypeError, AgentFailure."""
        if self.policy is None:
            return parts.evaluator
        with failing_at('FurtherEvaluator.policy raised'):
            core = self.policy(parts)
        if not isinstance(core, ActorCore):
            raise SettingTypeError(
                f"FurtherEvaluator.policy must give an ActorCore, such as the parts' actor, got {core!r}."
            )
        return core


def check_evaluators(
    evaluators: Mapping[str, FurtherEvaluator],
    experiment: Experiment,
    spec: EnvironmentSpec,
    parts: Parts,
    params: Params,
) -> dict[str, tuple[str, ...]]:
    """Checks further evaluators. Computes nothing.

    Args:
        evaluators: by name.
        experiment, spec, parts, params: of the program; of params shapes and dtypes.
    Returns: the columns of each one's log, by name.
    Raises: ValueError that names the evaluator and what is wrong with it.
    """
    columns = {}
    for name, evaluator in evaluators.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f'evaluators must be named by letters, digits, dots, dashes and underscores, got {name!r}.'
            )
        where = f'evaluators[{name!r}]'
        if not isinstance(evaluator, FurtherEvaluator):
            raise SettingTypeError(f'{where} must be a FurtherEvaluator, got {evaluator!r}.')
        with failing_at(f'{where}:', ValueError, ImportError, OSError):
            metrics = _check_environments(where, evaluator.applied(experiment), spec)
            _check_policy(where, evaluator.core(parts), spec, params)
        several = len(evaluator.applied(experiment).environments) > 1
        columns[name] = columns_of(reward_names(spec), metrics, has_environments=several)[
            'evaluator'
        ]
    return columns


def _check_environments(
    where: str, experiment: Experiment, spec: EnvironmentSpec
) -> tuple[str, ...]:
    """Makes the environments once. Returns: the columns of their named numbers."""
    makes = evaluation_factories(experiment)
    if experiment.evaluation.episodes < len(makes):
        raise ValueError(
            f'{where}.episodes must be at least {len(makes)}, one for each environment, got '
            f'{experiment.evaluation.episodes}.'
        )
    metrics: dict[str, None] = {}
    for make in makes:
        environment = make(fold_seed(experiment.seed, 'evaluator', 0))
        try:
            read = read_environment(environment)
        finally:
            environment.close()
        check_alike(f'{where}.environment', spec, read.spec)
        metrics |= dict.fromkeys(read.metrics)
    return tuple(metrics)


def _check_policy(where: str, core: ActorCore, spec: EnvironmentSpec, params: Params) -> None:
    lanes = Lanes(np.arange(2, dtype=np.int32), 2)
    with failing_at(f'while tracing {where}.policy:'):
        action, _ = extras_spec(core, params, first_timestep(spec, 2), lanes)
    check_shapes(spec.action, action, f'{where}.policy')
