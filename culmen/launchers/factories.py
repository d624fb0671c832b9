"""The environments of an experiment as callables seed -> environment, and what they have to agree in."""

import contextlib
import functools
import inspect
import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import dm_env

from culmen.components import environments
from culmen.components.counts import fold_seed
from culmen.core.errors import SettingTypeError
from culmen.core.experiment import AnyEnvironment
from culmen.core.experiment import Experiment
from culmen.core.experiment import NamedEnvironment
from culmen.core.goals import check_goals
from culmen.core.metrics import metrics_of
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import check_spec
from culmen.core.specs import leaf_paths
from culmen.core.specs import make_environment_spec
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.environment_loops.episode_metrics import columns_of_lanes
from culmen.launchers.module_names import whereabouts

MakeEnvironment = Callable[[int], dm_env.Environment]

# The errors by which an environment's constructor or `Agent.build` refuses its settings.
REFUSALS = (ValueError, ImportError, OSError)


class Read(NamedTuple):
    """What is known of an environment before it is stepped."""

    spec: EnvironmentSpec
    metrics: tuple[str, ...]  # columns of its named numbers


def environment_factory(environment: AnyEnvironment) -> MakeEnvironment:
    """The callable seed -> environment of one environment of an experiment.

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
        with of_environment(f'making {name}'):
            made = make(seed)
        if not isinstance(made, dm_env.Environment):
            raise SettingTypeError(f'{name} must make a dm_env.Environment, got {made!r}.')
        return made

    return make_environment


def environment_factories(experiment: Experiment) -> tuple[MakeEnvironment, ...]:
    """The callables of all environments of an experiment. Raises: as `environment_factory`."""
    return tuple(map(environment_factory, experiment.environments))


def evaluation_factories(experiment: Experiment) -> tuple[MakeEnvironment, ...]:
    """The callables seed -> environment of an experiment's evaluations.

    Raises: ValueError that names an unknown argument in `Evaluation.environment`, before anything is built.
    """
    changes = experiment.evaluation.environment
    return tuple(_evaluation_factory(each, changes) for each in experiment.environments)


def _evaluation_factory(environment: AnyEnvironment, changes: Mapping[str, Any]) -> MakeEnvironment:
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


def labels_of(experiment: Experiment) -> tuple[str, ...]:
    """How logs call the environments of an experiment, () if there is only one.

    It is the name, with the arguments where environments of one name differ in them. Equal environments
    have one label.
    """
    several = experiment.environments
    if len(several) == 1:
        return ()
    names = [_name(each) for each in several]
    labels = []
    for each, name in zip(several, names, strict=True):
        alike = [other for other, its in zip(several, names, strict=True) if its == name]
        if any(other != each for other in alike):
            arguments = getattr(each, 'arguments', {})
            name = ' '.join([name, *(f'{key}={arguments[key]}' for key in sorted(arguments))])
        labels.append(re.sub(r'[,"\r\n]', '_', name))  # characters that a cell of a log can't hold
    for i, label in enumerate(labels):  # functions of one name
        first = next(j for j, other in enumerate(several) if labels[j] == label)
        if several[first] != several[i]:
            labels[i] = f'{label} #{i}'
    return tuple(labels)


def _name(environment: AnyEnvironment) -> str:
    if isinstance(environment, str):
        return environment
    return (
        environment.name
        if isinstance(environment, NamedEnvironment)
        else whereabouts(environment)[0]
    )


@contextlib.contextmanager
def of_environment(doing: str) -> Iterator[None]:
    """Turns what an environment's code raises, `SystemExit` too, into an error that says what failed."""
    try:
        yield
    except (EnvironmentFailure, *REFUSALS):
        raise
    except (Exception, SystemExit) as error:
        raise EnvironmentFailure(f'{doing} raised {type(error).__name__}: {error}') from error


def read_environment(environment: dm_env.Environment) -> Read:
    """Reads the specs of an environment, and what it has logged. Raises: ValueError that names a leaf."""
    with of_environment('reading the specs of the environment'):
        spec = make_environment_spec(environment)
        metrics = columns_of_lanes([metrics_of(environment)])
    check_spec(spec)
    check_goals(spec)
    return Read(spec, metrics)


def check_lanes(experiment: Experiment, num_actors: int = 1) -> None:
    """Refuses environments that no lane would have. Raises: ValueError."""
    several, lanes = len(experiment.environments), experiment.num_environments * num_actors
    if lanes < several:
        actors = '' if num_actors == 1 else f' for each of {num_actors} actors'
        raise ValueError(
            f'num_environments must give each of the {several} environments a lane, got '
            f'{experiment.num_environments}{actors}: lane i has environment i modulo {several}.'
        )


def read_environments(
    experiment: Experiment,
    makes: Sequence[MakeEnvironment],
    made: Sequence[dm_env.Environment],
) -> list[Read]:
    """Reads all environments of an experiment.

    Args:
        makes: of its environments.
        made: the lanes of the first actor.
    Raises: ValueError that names what two environments differ in.
    """
    reads = [read_environment(each) for each in made[: len(makes)]]
    for number in range(len(reads), len(makes)):  # those that other actors have
        environment = makes[number](fold_seed(experiment.seed, 'environment', number))
        try:
            reads.append(read_environment(environment))
        finally:
            environment.close()
    for number, read in enumerate(reads):
        different = _difference(reads[0].spec, read.spec)
        if different is not None:
            name, one, other = different
            labels = labels_of(experiment)
            raise ValueError(
                f'environment must be of environments with the same specs, got the {name} {one} of '
                f'{labels[0]} and {other} of {labels[number]}.'
            )
    return reads


def check_evaluations(
    experiment: Experiment, makes: Sequence[MakeEnvironment], reads: Sequence[Read]
) -> None:
    """Refuses evaluation environments that the agent does not fit.

    Args: makes: of evaluations; reads: of training's environments.
    Raises: ValueError with the leaf.
    """
    evaluation = experiment.evaluation
    if evaluation.episodes < len(makes):
        raise ValueError(
            f'Evaluation.episodes must be at least {len(makes)}, one for each environment, got '
            f'{evaluation.episodes}.'
        )
    changes = evaluation.environment
    for environment, make, read in zip(experiment.environments, makes, reads, strict=True):
        if not changes and (
            callable(environment) or _evaluated(environment, changes) is environment
        ):
            continue
        evaluated = make(fold_seed(experiment.seed, 'evaluator', 0))
        try:
            of_evaluation = read_environment(evaluated)
        finally:
            evaluated.close()
        if set(of_evaluation.metrics) != set(read.metrics):
            raise ValueError(
                f'Evaluation.environment must leave the metrics as they are in training, '
                f'{list(read.metrics)}, got {list(of_evaluation.metrics)} with {dict(changes)}.'
            )
        different = _difference(read.spec, of_evaluation.spec)
        if different is not None:
            name, one, other = different
            raise ValueError(
                f'Evaluation.environment must leave the {name} as it is in training, {one}, '
                f'got {other} with {dict(changes)}.'
            )


def check_alike(what: str, spec: EnvironmentSpec, other: EnvironmentSpec) -> None:
    """Refuses an environment that an agent does not fit.

    Args: what: names it in the error; spec: of training; other: its own.
    Raises: ValueError that names the first nest in which they differ.
    """
    different = _difference(spec, other)
    if different is not None:
        name, one, given = different
        raise ValueError(f'{what} must leave the {name} as it is in training, {one}, got {given}.')


def _difference(one: EnvironmentSpec, other: EnvironmentSpec) -> tuple[str, Any, Any] | None:
    """The first nest in which two specs differ, as (name, one's, the other's)."""
    for name, nest in one.nests().items():
        # Observations may have other bounds, actions may not.
        known, given = (
            [
                (path, leaf if name == 'action' else _shape(leaf))
                for path, leaf in leaf_paths(each, name)
            ]
            for each in (nest, getattr(other, name))
        )
        if known != given:
            return name, nest, getattr(other, name)
    return None


def _shape(leaf: Any) -> tuple[Any, ...]:
    of_type = getattr(leaf, 'num_values', None), getattr(leaf, 'num_frames', None)
    return tuple(leaf.shape), leaf.dtype, *of_type
