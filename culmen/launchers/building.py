"""Builds what every launcher starts with from an experiment: environments, their spec, the agent's parts.

Where a user's code fails, the error names it: 'while building DQN', 'while tracing DQN.select_action',
'making the environment raised'. ValueErrors of constructors and of `Agent.build` are refusals and pass
unchanged.
"""

import contextlib
import functools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import numpy as np

from culmen.components.actors.actor import extras_spec
from culmen.components.counts import fold_seed
from culmen.components.loggers import columns_of
from culmen.components.replay import RowSpec
from culmen.core.actions import check_shapes
from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.errors import SettingTypeError
from culmen.core.errors import failing_at
from culmen.core.experiment import Experiment
from culmen.core.pretraining import check_pretraining
from culmen.core.rules import arrange
from culmen.core.rules import map_rules
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import check_storable
from culmen.core.specs import first_timestep
from culmen.core.specs import leaf_paths
from culmen.core.staleness import check_experience
from culmen.core.staleness import effective_lag
from culmen.core.types import ActorCore
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.core.types import State
from culmen.environment_loops.batched import reward_names
from culmen.environment_loops.evaluation import Evaluator
from culmen.launchers.factories import REFUSALS
from culmen.launchers.factories import MakeEnvironment
from culmen.launchers.factories import check_evaluations
from culmen.launchers.factories import environment_factories
from culmen.launchers.factories import evaluation_factories
from culmen.launchers.factories import read_environment
from culmen.launchers.factories import read_environments


class Built(NamedTuple):
    """An experiment, checked and built."""

    # Lane i has environment i modulo their number.
    make_environments: tuple[MakeEnvironment, ...]
    make_evaluations: tuple[MakeEnvironment, ...]  # for evaluations
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


def build_agent(agent: Agent, spec: EnvironmentSpec) -> Parts:
    """Builds an agent. If one of its functions fails later, the error names that function.

    Raises: what `build` raises to refuse (a ValueError, a missing package or file); AgentFailure.
    """
    name = type(agent).__name__
    with failing_at(f'while building {name}:', *REFUSALS):
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
        evaluation_factories(experiment),
        spec,
        experiment.seed,
        experiment.evaluation.episodes,
        stop=stop,
        max_steps=experiment.evaluation.max_steps,
        tell=tell,
    )


def build(
    experiment: Experiment,
    actor: int = 0,
    num_actors: int = 1,
    resumed_at: int = 0,
    life: int = 0,
) -> Built:
    """Checks an experiment and builds it for one of its actors. Computes nothing.

    Args:
        experiment: what is run.
        actor, num_actors: the index of this actor, and how many there are.
        resumed_at: above 0, the environments get other seeds, for runs that resume with new environments.
        life: the same, for actors that are started again.
    Raises: ValueError that names what is wrong; AgentFailure, EnvironmentFailure.
    """
    make_environments = environment_factories(experiment)
    make_evaluations = evaluation_factories(experiment)
    num_lanes = experiment.num_environments
    index = np.arange(actor * num_lanes, (actor + 1) * num_lanes, dtype=np.int32)
    lanes = Lanes(index, num_actors * num_lanes)
    made: list[dm_env.Environment] = []
    try:
        for lane in index:
            make = make_environments[lane % len(make_environments)]
            counts = (int(lane), resumed_at) if resumed_at else (int(lane),)
            counts = (int(lane), resumed_at, life) if life else counts
            made.append(make(fold_seed(experiment.seed, 'environment', *counts)))
        if actor == 0:  # others have what the first has checked
            reads = read_environments(experiment, make_environments, made)
            check_evaluations(experiment, make_evaluations, reads)
        else:
            reads = [read_environment(made[0])]
        several = len(make_environments) > 1
        # No one environment is the model of lanes that differ, nor are its goals theirs.
        spec = reads[0].spec.without_functions() if several else reads[0].spec
        spec = spec._replace(num_tasks=len(make_environments))
        metrics = dict.fromkeys(name for read in reads for name in read.metrics)
        columns = columns_of(reward_names(spec), tuple(metrics), has_environments=several)
        parts = build_agent(experiment.agent, spec)
        check_experience(parts.experience, lanes.total, experiment.updates_per_call)
        check_pretraining(parts.experience)
    except BaseException:
        for environment in made:
            environment.close()
        raise
    lag = effective_lag(parts.experience, experiment.lag, experiment.updates_per_call)
    return Built(make_environments, make_evaluations, made, lanes, spec, parts, lag, columns)


def with_functions(experiment: Experiment, spec: EnvironmentSpec) -> EnvironmentSpec:
    """A spec with the functions of an experiment's environment, which no pickle carries elsewhere."""
    make, *_ = environment_factories(experiment)
    environment = make(fold_seed(experiment.seed, 'environment', 0))
    made = read_environment(environment).spec
    environment.close()
    return spec._replace(model=made.model, goals=made.goals)


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
