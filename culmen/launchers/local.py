"""The launcher of one process: an actor, a learner and a table as plain objects in one loop."""

import contextlib
import os
import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Literal

import jax

from culmen.components.checkpointing import Checkpointer
from culmen.components.checkpointing import from_paths
from culmen.components.files import LOCK
from culmen.components.files import DamagedError
from culmen.components.files import OnLostRows
from culmen.components.files import check_writable
from culmen.components.files import expanded
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.components.loggers import Sink
from culmen.components.loggers import make_progress
from culmen.components.replay.reverb import require_reverb
from culmen.core.agent import Agent
from culmen.core.checks import check_range
from culmen.core.experiment import Experiment
from culmen.core.experiment import NamedEnvironment
from culmen.core.types import Params
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Evaluator
from culmen.environment_loops.host import Observer
from culmen.launchers import configs
from culmen.launchers.building import Built
from culmen.launchers.building import MakeEnvironment
from culmen.launchers.building import build
from culmen.launchers.locking import Locks
from culmen.launchers.policies import MakePolicy
from culmen.launchers.policies import Policy
from culmen.launchers.restoring import fitting
from culmen.launchers.restoring import refusing_checkpoints
from culmen.launchers.results import SUMMARY_FIELDS
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import exits_fail
from culmen.launchers.results import refusing
from culmen.launchers.training import CHECKPOINTS
from culmen.launchers.training import CONFIG
from culmen.launchers.training import RESULT
from culmen.launchers.training import Training
from culmen.launchers.training import make_summary
from culmen.launchers.training import say_cut

ON_LOST_ROWS: tuple[OnLostRows, ...] = ('drop', 'refuse')


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

    The same experiment on the same workdir goes on where it stopped. SIGINT and SIGTERM end a run
    after a checkpoint; the Result so far is returned.

    Args:
        experiment: what to run.
        workdir: of config, logs, checkpoints and the result; None: nothing is written.
        replay: which tables: 'in_process', or 'reverb', a server in this process, whose draws have no
            seed: a run with it is not repeatable, and its port is open to the network.
        loggers: take every row of the logs too.
        observers: watch every tick of training; their metrics join the rows of actor.csv.
        device: where to learn; several: the batch is sharded over them; None: where JAX puts it.
        actor_device: where to act.
        progress: whether to show it; None: by what standard error is.
        on_non_finite: what a loss that is not finite does: 'stop' the run after a checkpoint kept
            apart, or 'log' it and go on.
        until_return: an evaluation with this mean return ends the run.
        record: a folder for the streams of the run, which a `Dataset` reads; a run that goes on has to be
            recorded from its beginning.
        trust: whether to go on with a run whose files somebody else may have written: environments in its
            checkpoints are unpickled, which may run any code.
        on_lost_rows: what damaged files of rows do, where all else of a checkpoint or of a recording is
            whole: 'drop' the items that need them and go on, or 'refuse'.
    Returns: the Result.
    Raises: Refused (a ValueError) for what is wrong before any compute; NonFiniteLossError;
        EnvironmentFailure and ActionFailure that name the lane; OSError that names a file.
    """
    locks = Locks()
    with contextlib.ExitStack() as stack, refusing(), locks.released_on_error():
        check_choice('replay', replay, ('in_process', 'reverb'))
        if replay == 'reverb':
            require_reverb()
        check_choice('on_non_finite', on_non_finite, ('stop', 'log'))
        check_choice('on_lost_rows', on_lost_rows, ON_LOST_ROWS)
        folder = None if workdir is None else expanded(workdir)
        config = configs.to_json(experiment, launcher='local', replay=replay)
        stored = claim_workdir(locks, folder, experiment, config, record)
        if stored is not None:
            return stored
        built = build(experiment)
        stack.callback(built.close)  # where the run is refused yet
        training = Training(
            experiment,
            built,
            folder,
            config,
            replay=replay,
            sinks=loggers,
            observers=observers,
            devices=[device] if isinstance(device, jax.Device) else device,
            actor_device=actor_device,
            progress=progress,
            stop_on_non_finite=on_non_finite == 'stop',
            until_return=until_return,
            record=None if record is None else expanded(record),
            trust=trust,
            on_lost_rows=on_lost_rows,
        )
        stack.pop_all()
    with locks:
        return training.run()


def check_choice(name: str, value: Any, accepted: Sequence[Any]) -> None:
    """Raises: ValueError that names the option, for a value that is none of the accepted."""
    if value not in accepted:
        raise ValueError(f'{name} must be one of {list(accepted)}, got {value!r}.')


def claim_workdir(
    locks: Locks,
    folder: Path | None,
    experiment: Experiment,
    config: Mapping[str, Any],
    record: str | os.PathLike[str] | None = None,
) -> Result | None:
    """Takes the folders of a run for its own, or gives the stored result of one that is finished.

    Raises: ValueError for a folder of another experiment; Refused for one that another run is in.
    """

    def check() -> Result | None:
        with refusing_checkpoints():
            return None if folder is None else check_workdir(folder, experiment, config)

    stored = check()
    if stored is not None:
        return stored
    folders = folder, None if record is None else Path(record)
    locks.take(*folders)
    stored = check()  # another run may have ended in it since
    if stored is not None:
        locks.release(*folders)
    return stored


def check_workdir(folder: Path, experiment: Experiment, config: Mapping[str, Any]) -> Result | None:
    """Refuses a folder of another experiment, or that can't be written; gives a finished run's result."""
    stored = _stored_result(folder, experiment, config)
    if stored is None:
        check_writable('workdir', folder)
    return stored


def _stored_result(
    folder: Path, experiment: Experiment, config: Mapping[str, Any]
) -> Result | None:
    if not (folder / CONFIG).exists():
        if folder.exists() and (not folder.is_dir() or set(os.listdir(folder)) - {LOCK}):
            raise ValueError(
                f'workdir must be a new or empty folder, or that of a run, got {folder}.'
            )
        return None
    with reading(folder / CONFIG):
        different = configs.same_experiment(read_json(folder / CONFIG), config)
    if different:
        raise ValueError(
            f'{folder} holds another experiment: {", ".join(different)} differ; choose another workdir.'
        )
    summary = _stored_summary(folder)
    if summary is None:
        return None
    left = [
        budget is not None and summary[count] < budget
        for budget, count in (
            (experiment.max_actor_steps, 'actor_steps'),
            (experiment.max_learner_steps, 'learner_steps'),
        )
    ]
    if any(left) and not any(
        budget is not None and not more
        for budget, more in zip(
            (experiment.max_actor_steps, experiment.max_learner_steps), left, strict=True
        )
    ):
        return None
    loaded = load(folder, experiment.agent, experiment.environment)
    summary['resumed_at'] = summary[_clock(config)]
    return Result(
        experiment=experiment,
        workdir=str(folder),
        summary=summary,
        interrupted=False,
        params=loaded.params,
        logs=None,
        make_policy=loaded.make_policy,
    )


def _stored_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished run; None where there is none, or none that can be read."""
    path = folder / RESULT
    if not path.exists():
        return None
    try:
        with reading(path):
            summary = read_json(path)
            for name in SUMMARY_FIELDS:
                if name not in summary:
                    raise ValueError(f'{name} is missing')
            for name in ('actor_steps', 'learner_steps'):
                if type(summary[name]) is not int:
                    raise ValueError(f'{name} must be an int, got {summary[name]!r:.40}')
    except DamagedError as error:
        warnings.warn(f'{error} It is made anew from the newest checkpoint.', stacklevel=2)
        return None
    return summary


def _clock(config: Mapping[str, Any]) -> str:
    """The count by which the events of a run fall due."""
    return 'learner_steps' if config['launcher'] == 'offline' else 'actor_steps'


class Loaded:
    """A run's newest variables, and policies that act with them."""

    def __init__(
        self, experiment: Experiment, params: Params, built: Built, summary: Mapping[str, Any]
    ) -> None:
        self.experiment = experiment
        self.params = params
        self.summary = summary  # of the checkpoint, as a Result's; evaluation is None
        self._built = built
        self._counts = int(summary['actor_steps']), int(summary['learner_steps'])
        self.make_policy = MakePolicy(experiment.agent, built.spec, params, self._counts)

    def policy(self, seed: int = 0) -> Policy:
        """policy(timestep) -> action, by the agent's evaluator; `.batched(n)` for n lanes."""
        return self.make_policy(seed)

    def evaluate(
        self,
        episodes: int,
        seed: int | None = None,
        make_environment: Any = None,
        max_steps: int | None = None,
        progress: bool | None = None,
    ) -> EvaluationResult:
        """Plays episodes with the evaluator, in fresh environments.

        Args:
            episodes: how many.
            seed: of environments and draws; None: the run's.
            make_environment: seed -> environment; None: that of the run's evaluations.
            max_steps: of an episode, which is truncated there; None: as the run's evaluations have it.
            progress: whether to show it, where it takes long; None: by what standard error is.
        """
        check_range('episodes', episodes, 1)
        check_range('max_steps', max_steps, 1)
        max_steps = self.experiment.evaluation.max_steps if max_steps is None else max_steps
        shown = make_progress(progress, None)
        evaluator = Evaluator(
            self._built.parts.evaluator,
            make_environment or self._built.make_evaluation,
            self._built.spec,
            self.experiment.seed if seed is None else seed,
            episodes,
            max_steps=max_steps,
            tell=lambda text: shown.update(*self._counts, evaluating=text),
        )
        with contextlib.closing(shown), exits_fail():
            result = evaluator.evaluate(self.params, 0, *self._counts)
        say_cut(result, max_steps)
        return result


def load(
    workdir: str | os.PathLike[str],
    agent: Agent | None = None,
    environment: str | NamedEnvironment | MakeEnvironment | None = None,
    *,
    trust: bool = False,
) -> Loaded:
    """Loads the newest variables of a run. Opens no pickle.

    Args:
        workdir: of the run.
        agent, environment: the run's, where its config.json could not hold it (a class of a notebook),
            or names it as `module:name` and you would rather name it yourself.
        trust: whether names of the form `module:name` in config.json are imported and called.
    A damaged checkpoint is passed over with a warning, for the one before it.

    Raises: FileNotFoundError without a run or a checkpoint there; DamagedError, a ValueError, that names
        a file; ValueError for what would be imported without trust.
    """
    folder = expanded(workdir)
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(f'{folder} holds no run: there is no {CONFIG}.')
    config = read_json(folder / CONFIG)
    try:
        experiment = configs.from_json(config, agent, environment, trust=trust)
    except Refused:
        raise
    except ValueError as error:
        raise DamagedError(f'{folder / CONFIG}: {error}') from error
    except (TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DamagedError(f'{folder / CONFIG}: {type(error).__name__}: {error}.') from error
    built = build(experiment)
    built.close()
    saved = Checkpointer(folder / CHECKPOINTS).read_newest()
    learner = built.parts.learner
    template = jax.eval_shape(lambda: learner.variables(learner.init(jax.random.key(0))))
    with fitting(folder / CHECKPOINTS / saved.name):
        state = saved.state
        params = from_paths('variables', template, state['learner']['newest'])
        steps, updates = int(state['loop']['actor_steps']), int(state['learner']['updates'])
        episodes = int(state['counter']['episodes'])
    with reading(folder / CONFIG):
        resumed_at = {'actor_steps': steps, 'learner_steps': updates}[_clock(config)]
        summary = make_summary(config, folder, steps, updates, episodes, resumed_at=resumed_at)
    return Loaded(experiment, params, built, summary)
