"""From an experiment to what every launcher starts with: environments, the spec, the agent's parts.

What users wrote is named where it fails: 'while building DQN', 'while tracing DQN.select_action',
'making the environment raised'. ValueErrors of constructors and of `Agent.build` are refusals, and pass.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import numpy as np

from culmen.components import environments
from culmen.components.actors.actor import extras_spec
from culmen.components.counts import fold_seed
from culmen.components.replay import RowSpec
from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.errors import SettingTypeError
from culmen.core.errors import failing_at
from culmen.core.experience import check_experience
from culmen.core.experience import effective_lag
from culmen.core.experiment import Experiment
from culmen.core.experiment import NamedEnvironment
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import check_spec
from culmen.core.specs import check_storable
from culmen.core.specs import first_timestep
from culmen.core.specs import leaf_paths
from culmen.core.specs import make_environment_spec
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.core.types import State
from culmen.environment_loops.batched import EnvironmentFailure

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

    def close(self) -> None:
        """Closes the environments, where nobody steps them."""
        for environment in self.environments:
            environment.close()

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Closes the environments where the block raises."""
        try:
            yield
        except BaseException:
            self.close()
            raise


# What a function of an agent may give.
_NUMBERS = (jax.Array, np.ndarray, np.generic, bool, int, float)
# What a constructor of an environment, or `Agent.build`, raises to refuse its settings.
_REFUSALS = (ValueError, ImportError, OSError)


def environment_factory(environment: str | NamedEnvironment | MakeEnvironment) -> MakeEnvironment:
    """The callable seed -> environment of an experiment's environment.

    Raises: ValueError that names what is not known of it, before anything is built. What is returned
        raises EnvironmentFailure where the environment's own code fails.
    """
    if callable(environment):
        make, name = environment, getattr(environment, '__qualname__', repr(environment))
    else:
        named = NamedEnvironment(environment) if isinstance(environment, str) else environment
        environments.check(named.name, named.arguments)
        make, name = functools.partial(environments.make, named.name, **named.arguments), named.name

    def make_environment(seed: int) -> dm_env.Environment:
        with _of_environment(f'making {name}'):
            made = make(seed)
        if not isinstance(made, dm_env.Environment):
            raise SettingTypeError(f'{name} must make a dm_env.Environment, got {made!r}.')
        return made

    return make_environment


@contextlib.contextmanager
def _of_environment(doing: str) -> Iterator[None]:
    """Names what an environment failed at; also where it calls sys.exit."""
    try:
        yield
    except (EnvironmentFailure, *_REFUSALS):
        raise
    except (Exception, SystemExit) as error:
        raise EnvironmentFailure(f'{doing} raised {type(error).__name__}: {error}') from error


def build_agent(agent: Agent, spec: EnvironmentSpec) -> Parts:
    """Builds an agent; its functions name themselves where they fail.

    Raises: what `build` refuses (a ValueError, a missing package or file); AgentFailure.
    """
    name = type(agent).__name__
    with failing_at(f'while building {name}:', *_REFUSALS):
        parts = agent.build(spec)
    if not isinstance(parts, Parts):
        raise SettingTypeError(f'{name}.build must give Parts, got {parts!r}.')
    return parts._replace(
        actor=_traced(
            parts.actor, init=f'{name}.actor.init', select_action=f'{name}.select_action'
        ),
        evaluator=_traced(
            parts.evaluator,
            init=f'{name}.evaluator.init',
            select_action=f'{name}.evaluator.select_action',
        ),
        learner=_traced(
            parts.learner,
            init=f'{name}.learner.init',
            update=f'{name}.update',
            variables=f'{name}.variables',
        ),
    )


def _traced(core: Any, **names: str) -> Any:
    """A core whose functions, which are called to be traced and never after, name themselves."""

    def named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def call(*args: Any, **options: Any) -> Any:
            with failing_at(f'while tracing {name}:'):
                given = function(*args, **options)
                for path, leaf in leaf_paths(given):
                    if not isinstance(leaf, _NUMBERS):
                        raise TypeError(f'what it gives must be of arrays, got {leaf!r} ({path}).')
                return given

        return call

    return core._replace(
        **{field: named(getattr(core, field), name) for field, name in names.items()}
    )


def evaluation_factory(experiment: Experiment) -> MakeEnvironment:
    """The callable seed -> environment of an experiment's evaluations.

    Raises: ValueError that names what of `Evaluation.environment` is not known, before anything is built.
    """
    environment, changes = experiment.environment, experiment.evaluation.environment
    if not callable(environment):
        return environment_factory(_evaluated(environment, changes))
    if not changes:
        return environment_factory(environment)
    try:
        inspect.signature(environment).bind(0, **changes)
    except TypeError as error:
        raise ValueError(
            f'Evaluation.environment must hold arguments of {environment!r}, got {dict(changes)}: '
            f'{error}.'
        ) from error
    return environment_factory(functools.partial(environment, **changes))


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
    Raises: ValueError that names what is wrong; AgentFailure, EnvironmentFailure.
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
        with _of_environment('reading the specs of the environment'):
            spec = make_environment_spec(made[0])
        check_spec(spec)
        if actor == 0:
            _check_evaluation(experiment, make_evaluation, spec)
        parts = build_agent(experiment.agent, spec)
        check_experience(parts.experience, lanes.total, experiment.updates_per_call)
    except BaseException:
        for environment in made:
            environment.close()
        raise
    lag = effective_lag(parts.experience, experiment.lag, experiment.updates_per_call)
    return Built(make_environment, make_evaluation, made, lanes, spec, parts, lag)


class Shapes(NamedTuple):
    """Shapes and dtypes of what an agent's functions give."""

    params: Params  # what actors read
    row_spec: RowSpec  # of the stream


def trace(parts: Parts, spec: EnvironmentSpec, lanes: Lanes) -> Shapes:
    """Traces what acts and what is learned before it is ever run: slips are found before any compute.

    Raises: ValueError that names a leaf which can't be stored; AgentFailure.
    """
    params = trace_params(parts)
    first = first_timestep(spec, len(lanes.index))
    extras_spec(parts.evaluator, params, first, lanes)
    return Shapes(params, RowSpec(spec, *extras_spec(parts.actor, params, first, lanes)))


def trace_params(parts: Parts) -> Params:
    """Shapes and dtypes of what actors read. Raises: ValueError that names a leaf which can't be stored."""

    def begin() -> tuple[State, Params]:
        state = parts.learner.init(jax.random.key(0))
        return state, parts.learner.variables(state)

    state, params = jax.eval_shape(begin)
    check_storable('training_state', state)
    check_storable('params', params)
    return params
