"""From an experiment to what every launcher starts with: environments, the spec, the agent's parts."""

import functools
import inspect
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import numpy as np

from culmen.components import environments
from culmen.components.actors.actor import extras_spec
from culmen.components.compiling import run_small_networks_inline
from culmen.components.keys import fold_seed
from culmen.core.experience import check_experience
from culmen.core.experience import effective_lag
from culmen.core.experiment import Experiment
from culmen.core.experiment import NamedEnvironment
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import leaf_paths
from culmen.core.specs import make_environment_spec
from culmen.core.specs import zeros_like
from culmen.core.types import FIRST
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Parts
from culmen.core.types import TimeStep

MakeEnvironment = Callable[[int], dm_env.Environment]


class Built(NamedTuple):
    """An experiment, checked and built."""

    make_environment: MakeEnvironment
    make_evaluation: MakeEnvironment  # of evaluations
    environments: list[dm_env.Environment]  # of the lanes of one actor
    lanes: Lanes
    spec: EnvironmentSpec
    parts: Parts
    lag: int  # what a bound on staleness leaves of the experiment's


def environment_factory(environment: str | NamedEnvironment | MakeEnvironment) -> MakeEnvironment:
    """The callable seed -> environment of an experiment's environment.

    Raises: ValueError that names what is not known of it, before anything is built.
    """
    if callable(environment):
        return environment
    named = NamedEnvironment(environment) if isinstance(environment, str) else environment
    environments.check(named.name, named.arguments)
    return lambda seed: environments.make(named.name, seed, **named.arguments)


def evaluation_factory(experiment: Experiment) -> MakeEnvironment:
    """The callable seed -> environment of an experiment's evaluations.

    Raises: ValueError that names what of `Evaluation.environment` is not known, before anything is built.
    """
    environment, changes = experiment.environment, experiment.evaluation.environment
    if not callable(environment):
        return environment_factory(_evaluated(environment, changes))
    if not changes:
        return environment
    try:
        inspect.signature(environment).bind(0, **changes)
    except TypeError as error:
        raise ValueError(
            f'Evaluation.environment must hold arguments of {environment!r}, got {dict(changes)}: '
            f'{error}.'
        ) from error
    return functools.partial(environment, **changes)


def _evaluated(
    environment: str | NamedEnvironment, changes: Mapping[str, Any]
) -> str | NamedEnvironment:
    named = NamedEnvironment(environment) if isinstance(environment, str) else environment
    arguments = environments.evaluation_arguments(named.arguments, changes)
    return environment if arguments == named.arguments else NamedEnvironment(named.name, arguments)


def _check_evaluation(experiment: Experiment, make: MakeEnvironment, spec: EnvironmentSpec) -> None:
    """Refuses evaluations in what the agent was not built for. Raises: ValueError that names the leaf."""
    environment, changes = experiment.environment, experiment.evaluation.environment
    if not changes and (callable(environment) or _evaluated(environment, changes) is environment):
        return
    evaluated = make(fold_seed(experiment.seed, 'evaluator', 0))
    try:
        of_evaluation = make_environment_spec(evaluated)
    finally:
        evaluated.close()
    for name in ('observation', 'action', 'reward', 'discount'):
        of_training = getattr(spec, name), getattr(of_evaluation, name)
        wanted, got = (leaf_paths(each, name) for each in of_training)
        # What is seen may have other bounds, what is done may not.
        known = [(path, leaf if name == 'action' else _shape(leaf)) for path, leaf in wanted]
        given = [(path, leaf if name == 'action' else _shape(leaf)) for path, leaf in got]
        if known != given:
            raise ValueError(
                f'Evaluation.environment must leave the {name} as it is in training, {of_training[0]}, '
                f'got {of_training[1]} with {dict(changes)}.'
            )


def _shape(leaf: Any) -> tuple[Any, ...]:
    return tuple(leaf.shape), leaf.dtype, getattr(leaf, 'num_values', None)


def build(
    experiment: Experiment, actor: int = 0, num_actors: int = 1, resumed_at: int = 0
) -> Built:
    """Checks and builds an experiment for one of its actors. Computes nothing.

    Args:
        experiment: what is run.
        actor, num_actors: which of how many.
        resumed_at: above 0 the environments have other seeds: for runs that go on with fresh ones.
    Raises: ValueError or TypeError that names what is wrong.
    """
    make_environment = environment_factory(experiment.environment)
    make_evaluation = evaluation_factory(experiment)
    num_lanes = experiment.num_environments
    index = np.arange(actor * num_lanes, (actor + 1) * num_lanes, dtype=np.int32)
    lanes = Lanes(index, num_actors * num_lanes)
    made: list[dm_env.Environment] = []
    try:
        for lane in index:
            counts = (int(lane), resumed_at) if resumed_at else (int(lane),)
            made.append(make_environment(fold_seed(experiment.seed, 'environment', *counts)))
            if not isinstance(made[-1], dm_env.Environment):
                raise TypeError(f'environment must make a dm_env.Environment, got {made[-1]!r}.')
        spec = make_environment_spec(made[0])
        if actor == 0:
            _check_evaluation(experiment, make_evaluation, spec)
        parts = experiment.agent.build(spec)
        check_experience(parts.experience, lanes.total, experiment.updates_per_call)
    except BaseException:
        for environment in made:
            environment.close()
        raise
    lag = effective_lag(parts.experience, experiment.lag, experiment.updates_per_call)
    return Built(make_environment, make_evaluation, made, lanes, spec, parts, lag)


def prepare(parts: Parts, spec: EnvironmentSpec, lanes: Lanes) -> tuple[Nest, Nest]:
    """What has to be known, and settled, before the workers are made. Computes nothing.

    Returns: shapes and dtypes of one lane's (action, extras).
    """
    params = prepare_jax(parts)
    num_lanes = len(lanes.index)
    first = TimeStep(
        np.full(num_lanes, FIRST, np.int32),
        zeros_like(spec.reward, (num_lanes,)),
        zeros_like(spec.discount, (num_lanes,)),
        zeros_like(spec.observation, (num_lanes,)),
    )
    return extras_spec(parts.actor, params, first, lanes)


def prepare_jax(parts: Parts) -> Params:
    """Settles how this process runs the agent's networks, before JAX is first used.

    Returns: shapes and dtypes of what actors read.
    """
    params = jax.eval_shape(lambda: parts.learner.variables(parts.learner.init(jax.random.key(0))))
    run_small_networks_inline(params)
    return params
