"""Builds what every launcher starts with from an experiment: environments, their spec, the agent's parts.

Where a user's code fails, the error names it: 'while building DQN', 'while tracing DQN.select_action',
'making the environment raised'. ValueErrors of constructors and of `Agent.build` are refusals and pass
unchanged.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import numpy as np

from culmen.components import environments
from culmen.components.actors.actor import extras_spec
from culmen.components.counts import fold_seed
from culmen.components.loggers import columns_of
from culmen.components.replay import RowSpec
from culmen.core.actions import check_shapes
from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.environments import model_of
from culmen.core.errors import SettingTypeError
from culmen.core.errors import failing_at
from culmen.core.experiment import Experiment
from culmen.core.experiment import NamedEnvironment
from culmen.core.metrics import metrics_of
from culmen.core.rules import arrange
from culmen.core.rules import map_rules
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import check_spec
from culmen.core.specs import check_storable
from culmen.core.specs import first_timestep
from culmen.core.specs import leaf_paths
from culmen.core.specs import make_environment_spec
from culmen.core.staleness import check_experience
from culmen.core.staleness import effective_lag
from culmen.core.types import ActorCore
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.core.types import State
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.environment_loops.batched import reward_names
from culmen.environment_loops.episode_metrics import columns_of_lanes
from culmen.environment_loops.evaluation import Evaluator

MakeEnvironment = Callable[[int], dm_env.Environment]


class Built(NamedTuple):
    """An experiment, checked and built."""

    make_environment: MakeEnvironment
    make_evaluation: MakeEnvironment  # for evaluations
    environments: list[dm_env.Environment]  # the lanes of one actor
    lanes: Lanes
    spec: EnvironmentSpec
    parts: Parts
    lag: int  # Experiment.lag, lowered where max_staleness requires it
    columns: Mapping[str, tuple[str, ...]]  # of the logs, known before tracing (loggers.columns_of)

    def close(self) -> None:
        """Closes the environments, if no loop owns them yet."""
        for environment in self.environments:
            environment.close()

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Closes the environments if the block raises."""
        try:
            yield
        except BaseException:
            self.close()
            raise


# The types of leaves that an agent's functions may return.
_NUMBERS = (jax.Array, np.ndarray, np.generic, bool, int, float)
# The errors by which an environment's constructor or `Agent.build` refuses its settings.
_REFUSALS = (ValueError, ImportError, OSError)


def environment_factory(environment: str | NamedEnvironment | MakeEnvironment) -> MakeEnvironment:
    """The callable seed -> environment of an experiment's environment.

    Raises: ValueError that names an unknown name or argument, before anything is built. The callable
        itself raises EnvironmentFailure if the environment's own code fails.
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
    """Turns what an environment's code raises, `SystemExit` too, into an error that says what failed."""
    try:
        yield
    except (EnvironmentFailure, *_REFUSALS):
        raise
    except (Exception, SystemExit) as error:
        raise EnvironmentFailure(f'{doing} raised {type(error).__name__}: {error}') from error


def build_agent(agent: Agent, spec: EnvironmentSpec) -> Parts:
    """Builds an agent. If one of its functions fails later, the error names that function.

    Raises: what `build` raises to refuse (a ValueError, a missing package or file); AgentFailure.
    """
    name = type(agent).__name__
    with failing_at(f'while building {name}:', *_REFUSALS):
        parts = agent.build(spec)
    if not isinstance(parts, Parts):
        raise SettingTypeError(f'{name}.build must give Parts, got {parts!r}.')
    parts = parts._replace(experience=arrange(parts.learner, parts.experience))
    named = map_rules(
        parts,
        lambda rule, each: each._replace(
            update=_named(each.update, f'{name}.update{f"[{rule!r}]" if rule else ""}')
        ),
    )
    return parts._replace(
        actor=_traced(
            parts.actor, init=f'{name}.actor.init', select_action=f'{name}.select_action'
        ),
        evaluator=_traced(
            parts.evaluator,
            init=f'{name}.evaluator.init',
            select_action=f'{name}.evaluator.select_action',
        ),
        learner=_traced(named.learner, init=f'{name}.learner.init', variables=f'{name}.variables'),
    )


def _traced(core: Any, **names: str) -> Any:
    """Wraps the functions of a core so that errors while they are traced name the function."""
    return core._replace(
        **{field: _named(getattr(core, field), name) for field, name in names.items()}
    )


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function, updated=())
    def call(*args: Any, **options: Any) -> Any:
        with failing_at(f'while tracing {name}:'):
            given = function(*args, **options)
            for path, leaf in leaf_paths(given):
                if not isinstance(leaf, _NUMBERS):
                    raise TypeError(f'what it gives must be of arrays, got {leaf!r} ({path}).')
            return given

    return call


def evaluation_factory(experiment: Experiment) -> MakeEnvironment:
    """The callable seed -> environment of an experiment's evaluations.

    Raises: ValueError that names an unknown argument in `Evaluation.environment`, before anything is built.
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


def make_evaluator(
    experiment: Experiment,
    core: ActorCore,
    spec: EnvironmentSpec,
    stop: Callable[[], bool],
    tell: Callable[[str], None],
) -> Evaluator:
    """Makes the evaluator of an experiment, for evaluations in Python environments.

    Args:
        core: the agent's evaluator.
        spec: of the environments of training.
        stop: an evaluation raises Interrupted when this returns True.
        tell: is called with the progress of a long evaluation.
    """
    return Evaluator(
        core,
        evaluation_factory(experiment),
        spec,
        experiment.seed,
        experiment.evaluation.episodes,
        stop=stop,
        max_steps=experiment.evaluation.max_steps,
        tell=tell,
    )


def _evaluated(
    environment: str | NamedEnvironment, changes: Mapping[str, Any]
) -> str | NamedEnvironment:
    named = NamedEnvironment(environment) if isinstance(environment, str) else environment
    arguments = environments.evaluation_arguments(named.arguments, changes)
    return environment if arguments == named.arguments else NamedEnvironment(named.name, arguments)


def _check_evaluation(
    experiment: Experiment, make: MakeEnvironment, spec: EnvironmentSpec, metrics: Sequence[str]
) -> None:
    """Refuses evaluation environments that the agent does not fit. Raises: ValueError with the leaf."""
    environment, changes = experiment.environment, experiment.evaluation.environment
    if not changes and (callable(environment) or _evaluated(environment, changes) is environment):
        return
    evaluated = make(fold_seed(experiment.seed, 'evaluator', 0))
    try:
        of_evaluation = make_environment_spec(evaluated)
        measured = columns_of_lanes([metrics_of(evaluated)])
    finally:
        evaluated.close()
    if set(measured) != set(metrics):
        raise ValueError(
            f'Evaluation.environment must leave the metrics as they are in training, {list(metrics)}, got '
            f'{list(measured)} with {dict(changes)}.'
        )
    for name in ('observation', 'action', 'reward', 'discount'):
        of_training = getattr(spec, name), getattr(of_evaluation, name)
        wanted, got = (leaf_paths(each, name) for each in of_training)
        # Observations may have other bounds than in training, actions may not.
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
    """Checks an experiment and builds it for one of its actors. Computes nothing.

    Args:
        experiment: what is run.
        actor, num_actors: the index of this actor, and how many there are.
        resumed_at: above 0, the environments get other seeds, for runs that resume with new environments.
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
            metrics = [metrics_of(each) for each in made]
        check_spec(spec)
        columns = columns_of(reward_names(spec), columns_of_lanes(metrics))
        if actor == 0:
            _check_evaluation(experiment, make_evaluation, spec, columns_of_lanes(metrics))
        parts = build_agent(experiment.agent, spec)
        check_experience(parts.experience, lanes.total, experiment.updates_per_call)
    except BaseException:
        for environment in made:
            environment.close()
        raise
    lag = effective_lag(parts.experience, experiment.lag, experiment.updates_per_call)
    return Built(make_environment, make_evaluation, made, lanes, spec, parts, lag, columns)


def with_model(experiment: Experiment, spec: EnvironmentSpec) -> EnvironmentSpec:
    """A spec with the model of an experiment's environment, which no pickle carries to another process."""
    environment = environment_factory(experiment.environment)(
        fold_seed(experiment.seed, 'environment', 0)
    )
    environment.close()
    return spec._replace(model=model_of(environment))


class Shapes(NamedTuple):
    """Shapes and dtypes of what an agent's functions return."""

    params: Params  # that actors read
    row_spec: RowSpec  # the rows of the stream


def trace(parts: Parts, spec: EnvironmentSpec, lanes: Lanes) -> Shapes:
    """Traces the actor and the learner, so that mistakes are found before anything is computed.

    Raises: ValueError that names a leaf which can't be stored, or an action that is not of its spec;
        AgentFailure.
    """
    params = trace_params(parts)
    first = first_timestep(spec, len(lanes.index))
    evaluated, _ = extras_spec(parts.evaluator, params, first, lanes)
    action, extras = extras_spec(parts.actor, params, first, lanes)
    check_shapes(spec.action, evaluated, 'evaluator')
    check_shapes(spec.action, action, 'actor')
    return Shapes(params, RowSpec(spec, action, extras))


def trace_params(parts: Parts) -> Params:
    """Shapes and dtypes of the params. Raises: ValueError that names a leaf which can't be stored."""

    def begin() -> tuple[State, Params]:
        state = parts.learner.init(jax.random.key(0))
        return state, parts.learner.variables(state)

    state, params = jax.eval_shape(begin)
    check_storable('training_state', state)
    check_storable('params', params)
    return params
