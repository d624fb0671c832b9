"""The nodes of a program as data: what each runs, and which others it calls. An engine places them.

counter     <- actors, learner, evaluator
replay      <- actors, learner
learner     <- actors, evaluator
"""

import functools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from typing import NamedTuple

from culmen.components.counts import fold_seed
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import tables
from culmen.core.staleness import waits_at_first
from culmen.launchers.programs import nodes
from culmen.launchers.programs.connections import Address
from culmen.launchers.programs.nodes.counter import CounterState
from culmen.launchers.programs.nodes.further import EVALUATOR as EVALUATOR
from culmen.launchers.programs.placement import variables_of
from culmen.launchers.programs.program import Program
from culmen.launchers.workdir import CHECKPOINTS
from culmen.launchers.workdir import LOGS
from culmen.launchers.workdir import Restored

COUNTER, REPLAY, LEARNER = 'counter', 'replay', 'learner'
SERVED = (COUNTER, REPLAY, LEARNER)  # nodes that others call
# Beside these, the address of Reverb's server, which has one of its own. Absent where any port will do.
TABLES = 'tables'


class NodePlan(NamedTuple):
    """One node of a program, or several actors that share a process."""

    label: str
    # Each: (stop=Stop, <label>=Remote of each node that it calls) -> node.
    makes: tuple[Callable[..., Any], ...]
    calls: tuple[str, ...] = ()  # labels of the nodes that it calls
    # What it tells the counter before it may end; None: it serves the others to the end of the run.
    reports: tuple[str, ...] | None = None
    life: int = 0  # how often this launch has started it again
    # Of its process, over those of `supervisor.node_environment`; None: as the launching process has it.
    variables: Mapping[str, str | None] = MappingProxyType({})

    @property
    def is_served(self) -> bool:
        """Whether others call it."""
        return self.label in SERVED


def kind_of(label: str) -> str:
    """The kind of a node: counter, replay, learner, actor or evaluator. Args: label: of its plan."""
    kind = label.partition('-')[0]
    return 'actor' if kind == 'actors' else kind


def further_label(name: str) -> str:
    """The label of a further evaluator."""
    return f'{EVALUATOR}-{name}'


def plan_nodes(
    program: Program, folder: Path, restored: Restored | None, tables: Address | None = None
) -> list[NodePlan]:
    """The nodes of a program, those that are called before those that call them.

    Args:
        program: what is run.
        folder: of logs and checkpoints.
        restored: the checkpoint to resume from.
        tables: the address of Reverb's server; None: a free port of this machine.
    """
    experiment, folder = program.experiment, folder.absolute()
    table = None if restored is None else restored.saved.table
    plans = [
        _plan_counter(program, folder / LOGS, restored),
        NodePlan(
            REPLAY,
            (
                functools.partial(
                    nodes.ReplayNode,
                    kind=program.replay,
                    experience=program.experience,
                    num_lanes=program.num_lanes,
                    lead=program.lead,
                    seed=fold_seed(experiment.seed, 'table'),
                    port=None if tables is None else int(tables[1]),
                    restore=None if table is None else table.absolute(),
                ),
            ),
        ),
        NodePlan(
            LEARNER,
            (
                functools.partial(
                    nodes.LearnerNode,
                    experiment,
                    program.spec,
                    has_functions=program.has_functions,
                    tables=program.replay,
                    num_lanes=program.num_lanes,
                    lead=program.lead,
                    checkpoints=folder / CHECKPOINTS,
                    restore=None if restored is None else restored.path.name,
                    lost_table=restored is not None and table is None,
                    stop_on_non_finite=program.options.stop_on_non_finite,
                    on_lost_rows=program.options.on_lost_rows,
                    device=program.device,
                ),
            ),
            (COUNTER, REPLAY),
        ),
        *_plan_actors(program, restored),
        *_plan_evaluators(program),
    ]
    placed = program.device, program.actor_device, program.variables
    return [plan._replace(variables=variables_of(kind_of(plan.label), *placed)) for plan in plans]


def _plan_evaluators(program: Program) -> list[NodePlan]:
    further = {further_label(name): each for name, each in program.evaluators.items()}
    return [
        NodePlan(
            label,
            (
                functools.partial(
                    nodes.EvaluatorNode,
                    program.experiment,
                    program.spec,
                    has_functions=program.has_functions,
                    label=label,
                    further=each,
                ),
            ),
            (COUNTER, LEARNER),
            (label,),
        )
        for label, each in {EVALUATOR: None, **further}.items()
    ]


def _counter_state(restored: Restored | None) -> CounterState | None:
    if restored is None:
        return None
    state = restored.state
    return CounterState(
        state.counter, state.workers.actors or {}, state.last_evaluation, state.logs
    )


def _plan_counter(program: Program, logs: Path, restored: Restored | None) -> NodePlan:
    make = functools.partial(
        nodes.CounterNode,
        num_actors=program.num_actors,
        max_actor_steps=program.experiment.max_actor_steps,
        logs=logs,
        sinks=program.options.loggers,
        until_return=program.options.until_return,
        columns=program.columns,
        evaluators={
            further_label(name): columns for name, columns in program.evaluator_columns.items()
        },
        state=_counter_state(restored),
    )
    return NodePlan(COUNTER, (make,))


def _plan_actors(program: Program, restored: Restored | None) -> Sequence[NodePlan]:
    states = {} if restored is None else restored.state.workers.actors or {}
    resumed_at = 0 if restored is None else restored.state.counts.actor_steps
    share = program.actors_per_process
    plans = []
    for first in range(0, program.num_actors, share):
        actors = range(first, min(first + share, program.num_actors))
        makes = tuple(
            functools.partial(
                nodes.ActorNode,
                program.experiment,
                i,
                program.num_actors,
                tables=program.replay,
                variables_every=program.variables_every,
                state=states.get(str(i)),
                resumed_at=resumed_at,
                device=program.actor_device,
            )
            for i in actors
        )
        label = f'actor-{first}' if share == 1 else f'actors-{first // share}'
        plans.append(NodePlan(label, makes, SERVED, tuple(f'actor-{actor}' for actor in actors)))
    return plans


def restarted_with(
    label: str, labels: Iterable[str], experience: Experience, num_lanes: int
) -> tuple[str, ...]:
    """The nodes that are started again when one has failed, itself included, those that are called first.

    An actor or evaluator is started alone. A learner goes back to its checkpoint. What the others hold of the
    one before is dropped: evaluations that are being played always, windows where they are numbered by its
    updates. The tables go back to the learner's checkpoint, and it to theirs, and all that writes to them
    begins anew. The counts, logs and claims of the counter belong to a checkpoint as a whole.

    Args:
        label: of the node.
        labels: of all nodes, in the order in which they are started.
        experience: whose tables the actors write to.
        num_lanes: of the whole program.
    """
    found = list(tables(experience).values())
    # Of other tables the learner holds a part, or the actors count by its updates.
    plain = all(
        isinstance(table, Replay)
        and table.draw == 'sample'
        and table.max_lag is None
        and not table.by_tick
        for table in found
    )
    # An actor that ends within an episode leaves its place among those that may begin one.
    gated = any(isinstance(table, Queue) and waits_at_first(table, num_lanes) for table in found)

    def is_with(other: str) -> bool:
        if other == label or label == COUNTER:
            return True
        is_evaluator = other.startswith(EVALUATOR)
        if label == LEARNER and plain:
            return is_evaluator
        if label in (LEARNER, REPLAY) or (gated and not label.startswith(EVALUATOR)):
            return other != COUNTER
        return False

    return tuple(filter(is_with, labels))
