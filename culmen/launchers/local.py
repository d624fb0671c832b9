"""The launcher of one process: an actor, a learner and a table as plain objects in one loop."""

import contextlib
import os
from collections.abc import Sequence
from typing import Any
from typing import Literal

import jax

from culmen.components.dispatch import run_small_networks_inline
from culmen.components.files import OnLostRows
from culmen.components.files import expanded
from culmen.components.loggers import Sink
from culmen.components.replay.reverb import require_reverb
from culmen.core.experiment import Experiment
from culmen.environment_loops.observers import Observer
from culmen.environment_loops.observers import hearing
from culmen.launchers import configs
from culmen.launchers.building import build
from culmen.launchers.building import trace
from culmen.launchers.factories import check_lanes
from culmen.launchers.loading import stored_result
from culmen.launchers.local_engine import LocalEngine
from culmen.launchers.options import RunOptions
from culmen.launchers.options import check_choice
from culmen.launchers.results import Result
from culmen.launchers.results import refusing
from culmen.launchers.run import Run
from culmen.launchers.run import drive
from culmen.launchers.workdir import Workdir


def run(
    experiment: Experiment,
    workdir: str | os.PathLike[str] | None = None,
    *,
    replay: Literal['in_process', 'reverb'] = 'in_process',
    loggers: Sequence[Sink] = (),
    observers: Sequence[Observer] = (),
    device: jax.Device | Sequence[jax.Device] | None = None,
    actor_device: jax.Device | None = None,
    progress: bool | None = None,
    on_non_finite: Literal['stop', 'log'] = 'stop',
    until_return: float | None = None,
    record: str | os.PathLike[str] | None = None,
    trust: bool = False,
    on_lost_rows: OnLostRows = 'drop',
) -> Result:
    """Trains in this process, and evaluates the final variables.

    The same experiment on the same workdir resumes where it stopped. SIGINT and SIGTERM end a run
    after a checkpoint, and the Result so far is returned.

    Args:
        experiment: what to run.
        workdir: for config, logs, checkpoints and the result; None: nothing is written.
        replay: the kind of tables: 'in_process', or 'reverb', a server in this process. Reverb's draws have
            no seed, so such a run is not repeatable, and its port is open to the network.
        loggers: receive every row of the logs too.
        observers: hear of the events of the run (culmen.Observer); their metrics are added to the rows of
            actor.csv.
        device: where to learn; several: the batch is sharded over them; None: where JAX puts it.
        actor_device: where to act.
        progress: whether to show progress; None: depends on what standard error is.
        on_non_finite: how to treat a loss that is not finite: 'stop' the run after a checkpoint in a
            place of its own, or 'log' the loss and continue.
        until_return: the run ends when the mean return of an evaluation reaches this.
        record: a folder for the streams of the whole run, which a `Dataset` reads.
        trust: whether to resume a run with files that another user may have written: environments in its
            checkpoints are unpickled, which may run any code.
        on_lost_rows: what to do if only files of rows in a checkpoint or a recording are damaged: 'drop'
            the items that need them and continue, or 'refuse'.
    Returns: the Result.
    Raises: Refused (a ValueError) for what is wrong before anything is computed; NonFiniteLossError;
        EnvironmentFailure and ActionFailure that name the lane; OSError that names a file.
    """
    home, made = prepare(
        experiment,
        workdir,
        replay=replay,
        loggers=loggers,
        progress=progress,
        on_non_finite=on_non_finite,
        until_return=until_return,
        on_lost_rows=on_lost_rows,
        trust=trust,
        observers=observers,
        device=device,
        actor_device=actor_device,
        record=record,
    )
    if made is None:
        return stored_result(home, experiment)
    with home:
        return drive(made)


def prepare(
    experiment: Experiment,
    workdir: str | os.PathLike[str] | None = None,
    *,
    replay: str = 'in_process',
    device: jax.Device | Sequence[jax.Device] | None = None,
    actor_device: jax.Device | None = None,
    record: str | os.PathLike[str] | None = None,
    **watched: Any,
) -> tuple[Workdir, 'Run[LocalEngine] | None']:
    """Claims the folder and builds the run, to be driven within it; None for a run that is finished.

    Args: as for `run`; watched: fields of `RunOptions`. Raises: as `run`.
    """
    with refusing(), contextlib.ExitStack() as stack:
        _check(experiment, replay)
        options = RunOptions(**watched)
        for check in hearing(options.observers, 'check_experiment'):
            check(experiment)
        config = configs.to_json(experiment, launcher='local', replay=replay)
        recording = None if record is None else expanded(record)
        home = Workdir(workdir, experiment, config, record=recording, ends=options.ends)
        if home.summary is not None:
            return home, None
        stack.enter_context(home)
        built = build(experiment)
        with built.closed_on_error():
            shapes = trace(built.parts, built.spec, built.lanes)
            run_small_networks_inline(shapes.params)
            engine = LocalEngine(
                experiment,
                built,
                shapes.row_spec,
                home,
                options,
                replay=replay,
                devices=[device] if isinstance(device, jax.Device) else device,
                actor_device=actor_device,
                record=recording,
            )
            made = Run(experiment, built, engine, home, options)
        stack.pop_all()
    return home, made


def _check(experiment: Experiment, replay: str) -> None:
    check_lanes(experiment)
    check_choice('replay', replay, ('in_process', 'reverb'))
    if replay == 'reverb':
        require_reverb()
