"""A program as data: an experiment and its distribution over nodes."""

import os
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated
from typing import Literal

from culmen.components.files import OnLostRows
from culmen.components.files import expanded
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.components.learners import metric_names
from culmen.components.loggers import Sink
from culmen.components.replay import sample_spec
from culmen.components.replay.recording.recorded import Recorded
from culmen.components.replay.served.rules import lead_of
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import live
from culmen.core.experience import recorded
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.experiment import Experiment
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Params
from culmen.launchers.building import Built
from culmen.launchers.building import build
from culmen.launchers.building import trace
from culmen.launchers.factories import check_lanes
from culmen.launchers.folders import PROGRAM as PROGRAM
from culmen.launchers.options import RunOptions
from culmen.launchers.programs.evaluators import FurtherEvaluator
from culmen.launchers.programs.evaluators import check_evaluators
from culmen.launchers.programs.faults import Faults
from culmen.launchers.programs.nodes.actor import MAX_CLAIM
from culmen.launchers.programs.nodes.replay import REVERB
from culmen.launchers.programs.placement import Variables
from culmen.launchers.programs.placement import check_placement
from culmen.launchers.results import refusing


@dataclass(frozen=True)
class Program:
    """An experiment with its distribution over nodes. `make_program` makes it, and an engine runs it."""

    experiment: Experiment
    workdir: Path | None
    num_actors: int
    actors_per_process: int
    lead: float
    variables_every: int
    options: RunOptions
    spec: EnvironmentSpec  # without functions, which nodes make again
    experience: Experience  # the tables that actors write to
    columns: Mapping[str, tuple[str, ...]]  # of the logs, known before tracing
    has_functions: bool = False  # whether there are any
    faults: Faults = Faults()
    device: str | None = None  # where to learn
    actor_device: str | None = None
    variables: Variables = MappingProxyType({})
    evaluators: Mapping[str, FurtherEvaluator] = MappingProxyType({})
    evaluator_columns: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # of their logs
    replay: str = REVERB  # what keeps the tables

    @property
    def num_lanes(self) -> int:
        """Environments of all actors."""
        return self.num_actors * self.experiment.num_environments


@dataclass(frozen=True)
class NodeOptions:
    """How many nodes a program has, and where they compute, as `make_program` was asked.

    Raises: SettingError, SettingTypeError that name an option.
    """

    num_actors: Annotated[int, Range(1)]
    actors_per_process: Annotated[int, Range(1, 'num_actors')]
    lead: float | None  # None: the largest that a table needs
    variables_every: Annotated[int, Range(1)]
    device: str | None
    actor_device: str | None
    variables: Variables
    evaluators: Mapping[str, FurtherEvaluator]
    replay: Literal['reverb', 'in_process']

    def __post_init__(self) -> None:
        check_fields(self)
        check_placement(self.device, self.actor_device, self.variables)


def make_program(
    experiment: Experiment,
    workdir: str | os.PathLike[str] | None = None,
    *,
    num_actors: int = 1,
    replay: Literal['reverb', 'in_process'] = 'reverb',
    actors_per_process: int = 1,
    lead: float | None = None,
    variables_every: int = 4,
    loggers: Sequence[Sink] = (),
    on_non_finite: Literal['stop', 'log'] = 'stop',
    until_return: float | None = None,
    on_lost_rows: OnLostRows = 'drop',
    restarts: int = 0,
    restart_window: float = 600.0,
    hang_after: float | None = None,
    grace: float = 9.0,
    device: str | None = None,
    actor_device: str | None = None,
    variables: Variables = MappingProxyType({}),
    evaluators: Mapping[str, FurtherEvaluator] = MappingProxyType({}),
) -> Program:
    """Checks an experiment and its distribution over nodes. Writes nothing and starts nothing.

    Args:
        experiment: what to run; each actor has `num_environments` lanes.
        workdir: for config, logs, checkpoints and the result; None: nothing is kept.
        num_actors: how many actors run side by side.
        replay: what keeps the tables: a 'reverb' server, or the replay's node 'in_process', which the others
            call for them.
        actors_per_process: how many of them share a process, as threads.
        lead: by how many samples the actors may be ahead of the learner (inserted items times
            samples_per_insert, minus samples drawn) before they wait. At least a batch and
            samples_per_insert; None: one claim of steps for every lane, and two batches.
        variables_every: ticks between an actor's requests for parameters; with a Replay's max_lag, 1.
        loggers: receive every row of the logs too; they must pickle.
        on_non_finite: how to treat a loss that is not finite: 'stop' the run, or 'log' the loss.
        until_return: the run ends when the mean return of an evaluation reaches this.
        on_lost_rows: if only tables of a checkpoint are damaged, 'drop' their items and go on, or 'refuse'.
        restarts: nodes that fail are started again, as long as there are no more failures than this in any
            `restart_window` seconds; 0: the first failure ends the program (docs/faults.md).
        restart_window: seconds.
        hang_after: seconds without progress after which a node has failed; None: it may take any time. Longer
            than the longest update, step and call of the run; compiling and saving count as progress.
        grace: seconds that a signal leaves for the checkpoint before the program ends without it.
        device: where to learn, by name: 'gpu:1', or several that share the batch, 'gpu:0,gpu:1'; None: where
            JAX puts it. The learner's process looks for it.
        actor_device: where to act; None: in processes the CPU, in threads where JAX puts it.
        variables: environment variables of the processes of 'actor', 'learner', 'evaluator', 'replay' and
            'counter'. They come before Culmen's own and those of this process.
        evaluators: further ones by name, with environments and policies of their own.
    Returns: the program, for `launch`.
    Raises: Refused (a ValueError) that names what is wrong, or what the engine needs to be installed.
    """
    with refusing():
        nodes = NodeOptions(
            num_actors=num_actors, actors_per_process=actors_per_process, lead=lead,
            variables_every=variables_every, device=device, actor_device=actor_device,
            variables=variables, evaluators=evaluators, replay=replay,
        )  # fmt: skip
        options = RunOptions(
            loggers=tuple(loggers),
            on_non_finite=on_non_finite,
            until_return=until_return,
            on_lost_rows=on_lost_rows,
        )
        faults = Faults(restarts, restart_window, hang_after, grace)
        return _distribute(experiment, workdir, nodes, options, faults)


def _distribute(
    experiment: Experiment,
    workdir: str | os.PathLike[str] | None,
    nodes: NodeOptions,
    options: RunOptions,
    faults: Faults,
) -> Program:
    """The program of `make_program`, from options that are checked by themselves."""
    check_lanes(experiment, nodes.num_actors)
    built = build(experiment, 0, nodes.num_actors)
    built.close()
    experience = built.parts.experience
    written = live(experience)
    if written is None:
        raise ValueError(
            'experience is of Datasets alone, which no actor writes to: the offline launcher '
            'trains on it (culmen.launchers.offline.run, --launcher offline).'
        )
    _check_queues(experience, experiment.num_environments)
    lanes = nodes.num_actors * experiment.num_environments
    params = _check_updates(built, lanes, options.on_lost_rows)
    columns = check_evaluators(nodes.evaluators, experiment, built.spec, built.parts, params)
    return Program(
        experiment=experiment,
        workdir=None if workdir is None else expanded(workdir),
        num_actors=nodes.num_actors,
        actors_per_process=nodes.actors_per_process,
        lead=_checked_lead(experience, lanes, nodes.lead),
        variables_every=nodes.variables_every,
        options=options,
        spec=built.spec.without_functions(),
        experience=written,
        columns=built.columns,
        has_functions=built.spec.has_functions,
        faults=faults,
        device=nodes.device,
        actor_device=nodes.actor_device,
        variables={kind: dict(of_kind) for kind, of_kind in nodes.variables.items()},
        evaluators=dict(nodes.evaluators),
        evaluator_columns=columns,
        replay=nodes.replay,
    )


def _check_updates(built: Built, num_lanes: int, on_lost_rows: OnLostRows) -> Params:
    """Traces the updates of an agent. Returns: shapes and dtypes of the params.

    Raises: ValueError that names what is wrong with an update.
    """
    experience = built.parts.experience
    params, row_spec = trace(built.parts, built.spec, built.lanes)
    sizes = {
        name: len(Recorded(dataset, row_spec, on_lost_rows))
        for name, dataset in recorded(experience).items()
    }
    metric_names(built.parts.learner, sample_spec(experience, row_spec, num_lanes, sizes))
    return params


def _checked_lead(experience: Experience, num_lanes: int, lead: float | None) -> float:
    """The lead, by default the largest that a table needs. Raises: ValueError if it is too small for one."""
    replays = [
        table
        for table in tables(experience).values()
        if isinstance(table, Replay) and not table.by_tick
    ]
    if lead is None:
        lead = max([0.0, *(_default_lead(table, num_lanes) for table in replays)])
    for table in replays:
        lead_of(table, lead)
    return float(lead)


def _check_queues(experience: Experience, num_lanes: int) -> None:
    """Refuses a Queue for which an actor would wait for its own lanes.

    Args: num_lanes: of an actor.
    Raises: ValueError that names the table.
    """
    for name, table in tables(experience).items():
        if not isinstance(table, Queue) or table.batch_size is not None:
            continue
        if num_lanes > 1 and not table.window.cross_episodes:
            raise ValueError(
                f'{table_label(name)} must have a batch_size in a program whose actors have several '
                f'lanes, got None with {num_lanes}: with one window of every lane, a lane of short '
                f'episodes would stop its actor, whose other lanes it waits for.'
            )


def _default_lead(table: Replay, num_lanes: int) -> float:
    """A lead so large that an actor waits only if it is ahead of the learner, and not for its claims."""
    least = 2 * table.batch_size + table.samples_per_insert
    return float(max(least, 2 * MAX_CLAIM * num_lanes * table.samples_per_insert))


def describe_tables(program: Program) -> dict[str, object]:
    """What program.json holds of the tables that are saved in a workdir."""
    return {'lead': program.lead, 'replay': program.replay}


def check_tables(folder: Path, program: Program) -> None:
    """Refuses to go on with tables that were made otherwise than this program's. Raises: ValueError."""
    if not (folder / PROGRAM).exists():
        return
    with reading(folder / PROGRAM):
        saved = read_json(folder / PROGRAM)
        old = {'lead': float(saved['lead']), 'replay': str(saved.get('replay', REVERB))}
    for name, wanted in describe_tables(program).items():
        if old[name] != wanted:
            texts = [f'{each:g}' if name == 'lead' else each for each in (old[name], wanted)]
            raise ValueError(
                f'{name} must be {texts[0]} in {folder}, whose tables were made with it, '
                f'got {texts[1]}; choose another workdir.'
            )
