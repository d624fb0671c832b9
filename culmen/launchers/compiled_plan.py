"""Plans what to compile for an experiment, and checks which experiments can share it."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from culmen.components.counts import fold_seed
from culmen.components.environments.alike import are_alike
from culmen.components.environments.catalogue import FAMILIES
from culmen.components.environments.functional import DmEnvironment
from culmen.components.environments.functional import lane_keys
from culmen.components.files import OnLostRows
from culmen.core.agent import Parts
from culmen.core.environments import JaxEnvironment
from culmen.core.errors import AgentFailure
from culmen.core.experiment import AnyEnvironment
from culmen.core.experiment import Experiment
from culmen.environment_loops.compiled import CompiledEvaluator
from culmen.environment_loops.compiled import CompiledLoop
from culmen.environment_loops.compiled import Settings
from culmen.environment_loops.evaluation import shares
from culmen.launchers import configs
from culmen.launchers.building import Built
from culmen.launchers.building import build
from culmen.launchers.building import build_agent
from culmen.launchers.building import trace
from culmen.launchers.factories import check_lanes
from culmen.launchers.results import refusing


class CompiledPlan(NamedTuple):
    """What is compiled for an experiment, for any of its seeds and values of its swept settings."""

    built: Built
    loop: CompiledLoop
    evaluator: CompiledEvaluator
    environments: tuple[JaxEnvironment, ...]  # lane i has environment i modulo their number
    evaluations: tuple[JaxEnvironment, ...]  # for evaluations
    swept: tuple[str, ...] = ()  # traced fields of the agent: 'learning_rate', 'base.discount'

    def settings_of(self, experiment: Experiment) -> dict[str, Any]:
        """The values of the swept fields, by name."""
        return {name: get_field(experiment.agent, name) for name in self.swept}

    def compile(self, experiment: Experiment) -> None:
        """Compiles before runs begin in several threads at once. Args: experiment: of one of the runs."""
        settings = self.settings_of(experiment)
        carry, _ = self.loop.run(self.loop.begin(experiment.seed, settings), 0)
        self.evaluator.of(experiment.seed, settings=settings).compile(self.loop.variables(carry))


def make_plan(
    experiment: Experiment,
    swept: Sequence[str] = (),
    devices: Sequence[jax.Device] = (),
    on_lost_rows: OnLostRows = 'drop',
) -> CompiledPlan:
    """Checks an experiment, reads its Datasets, and plans what is compiled; nothing is compiled yet.

    Args:
        experiment: what is run.
        swept: names of numbers in the agent's config that are traced, so that one compilation serves all
            their values.
        devices: to run on; (): JAX's default.
        on_lost_rows: what to do if files of rows in a recording are damaged: 'drop' the windows that need
            them and continue, or 'refuse'.
    Raises: Refused (a ValueError) that names what can't be compiled (and what to use instead) or swept.
    """
    with refusing():
        for name, accepted in (('lag', (0, 1)), ('updates_per_call', (1,))):
            if getattr(experiment, name) not in accepted:
                raise ValueError(
                    f'{name} must be {" or ".join(map(str, accepted))} in a compiled program, where '
                    f'every update is handed on at once, got {getattr(experiment, name)}.'
                )
        check_lanes(experiment)
        built = build(experiment)
        built.close()
        several = experiment.environments
        of_training = [
            _as_jax(built.environments[i], each, several) for i, each in enumerate(several)
        ]
        of_evaluation = []
        for i, (each, make) in enumerate(zip(several, built.make_evaluations, strict=True)):
            evaluated = make(fold_seed(experiment.seed, 'evaluator', i, 0))
            evaluated.close()
            of_evaluation.append(_as_jax(evaluated, each, several))
        check_environments(experiment, built, of_training, of_evaluation)

        def rebuild(settings: Settings) -> Parts:
            return build_agent(with_fields(experiment.agent, settings), built.spec)

        trace(built.parts, built.spec, built.lanes)
        loop = CompiledLoop(of_training, built.parts, built.lanes, rebuild, devices, on_lost_rows)
        evaluator = CompiledEvaluator(
            built.parts.evaluator,
            of_evaluation,
            experiment.evaluation.episodes,
            lambda settings: rebuild(settings).evaluator,
            experiment.evaluation.max_steps,
        )
        compiled = CompiledPlan(
            built, loop, evaluator, tuple(of_training), tuple(of_evaluation), tuple(swept)
        )
        for name in swept:
            check_traceable(compiled, experiment, name)
        return compiled


def _as_jax(
    environment: Any, named: AnyEnvironment, several: Sequence[AnyEnvironment]
) -> JaxEnvironment:
    """The JaxEnvironment of an environment. Raises: ValueError that names one which is not written in JAX."""
    if isinstance(environment, DmEnvironment):
        return environment.functions
    one = '' if len(several) == 1 else f', one of {len(several)}'
    written = ', '.join(family.pattern for family in FAMILIES if family.jax)
    raise ValueError(
        f'environment must be written in JAX to be compiled ({written}, or a function that makes a '
        f'DmEnvironment, without wrappers), got {_name(named)}{one}; use the local launcher, which '
        f'takes any.'
    )


def check_environments(
    experiment: Experiment,
    built: Built,
    of_training: Sequence[JaxEnvironment],
    of_evaluation: Sequence[JaxEnvironment],
) -> None:
    """Refuses a function that makes different environments for different seeds, since its lanes share one.

    Args:
        experiment: what is run.
        built: from this experiment, or from another with the same environments.
        of_training, of_evaluation: the compiled environments.
    Raises: ValueError that names the lane.
    """
    seed, several = experiment.seed, experiment.environments
    num_evaluated = len(shares(experiment.evaluation.episodes, len(several)))
    lanes = [
        (f'lane {lane}', lane, ('environment', int(lane)), built.make_environments, of_training)
        for lane in built.lanes.index
    ] + [
        (f'lane {lane} of evaluations', lane, ('evaluator', lane, 0), built.make_evaluations, of_evaluation)
        for lane in range(num_evaluated)
    ]  # fmt: skip
    for where, lane, folded, makes, wanted in lanes:
        number = lane % len(several)
        named = several[number]
        name = named if isinstance(named, str) else getattr(named, 'name', '')
        if not callable(named) and ':' not in name:
            continue  # families make the same environment for all seeds
        of_lane = fold_seed(seed, *folded)
        made = makes[number](of_lane)
        made.close()
        if not isinstance(made, DmEnvironment) or not are_alike(made.functions, wanted[number]):
            raise ValueError(
                f'environment must be the same JAX environment for every seed to be compiled, got '
                f'another one for {where} (seed {of_lane}) of {_name(named)}; give a tuple of '
                f'environments for lanes that differ, or use the local launcher.'
            )
        if not np.array_equal(made.first_key, lane_keys([of_lane])[0]):
            raise ValueError(
                f'environment must make a DmEnvironment of the seed that it is given to be compiled, got '
                f'another seed for {where} (seed {of_lane}) of {_name(named)}; use the local launcher.'
            )


def as_devices(device: jax.Device | Sequence[jax.Device] | None) -> list[jax.Device]:
    """The `device` argument of a run as a list."""
    if device is None:
        return []
    return list(device) if isinstance(device, Sequence) else [device]


def check_shares(experiment: Experiment, devices: Sequence[jax.Device]) -> None:
    """Refuses environments that devices can't share. Raises: ValueError."""
    several = len(experiment.environments)
    if len(devices) > 1 and experiment.num_environments % (len(devices) * several):
        each = '' if several == 1 else f' for each of the {several} environments'
        raise ValueError(
            f'num_environments must be a multiple of the {len(devices)} devices{each}, '
            f'got {experiment.num_environments}.'
        )


def check_traceable(plan: CompiledPlan, experiment: Experiment, name: str) -> None:
    """Refuses a field of the agent that the experiment's program can't trace. Raises: ValueError."""
    value = get_field(experiment.agent, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f'agent.{name} must be a number to be swept, got {value!r}.')
    try:
        plan.loop.check({name: value})
    except (AgentFailure, jax.errors.JAXTypeError, TypeError, ValueError) as error:
        raise ValueError(
            f'agent.{name} can not be swept in one program: a shape, a size or a choice depends on it.'
        ) from error


def get_field(agent: Any, name: str) -> Any:
    """A field of an agent, or of the agent within ('base.learning_rate'). Raises: ValueError."""
    head, _, rest = name.partition('.')
    if not dataclasses.is_dataclass(agent) or head not in {
        f.name for f in dataclasses.fields(agent)
    }:
        raise ValueError(f'agent has no field {name!r} to sweep.')
    value = getattr(agent, head)
    return get_field(value, rest) if rest else value


def with_fields(agent: Any, values: Mapping[str, Any]) -> Any:
    """An agent with other values of some fields, named as for `get_field`."""
    for name, value in values.items():
        head, _, rest = name.partition('.')
        if rest:
            value = with_fields(getattr(agent, head), {rest: value})
        agent = dataclasses.replace(agent, **{head: value})
    return agent


def _name(environment: AnyEnvironment) -> str:
    config = configs.environment_data(environment)
    arguments = ', '.join(f'{key}={value!r}' for key, value in config.items() if key != 'name')
    return f'{config["name"]!r}{f" with {arguments}" if arguments else ""}'
