"""The launcher of one process: an actor, a learner and a table as plain objects in one loop."""

import json
import os
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Literal

import jax

from culmen.components.checkpointing import Checkpointer
from culmen.components.checkpointing import from_paths
from culmen.components.loggers import Sink
from culmen.components.replay.reverb import require_reverb
from culmen.core.experiment import Experiment
from culmen.core.experiment import NamedEnvironment
from culmen.core.types import Agent
from culmen.core.types import Params
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Evaluator
from culmen.environment_loops.host import Observer
from culmen.launchers import configs
from culmen.launchers.building import Built
from culmen.launchers.building import MakeEnvironment
from culmen.launchers.building import build
from culmen.launchers.policies import Policy
from culmen.launchers.results import Result
from culmen.launchers.results import refusing
from culmen.launchers.training import CHECKPOINTS
from culmen.launchers.training import CONFIG
from culmen.launchers.training import RESULT
from culmen.launchers.training import Training
from culmen.launchers.training import make_summary


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
    Returns: the Result.
    Raises: Refused (a ValueError) for what is wrong before any compute; NonFiniteLossError;
        EnvironmentFailure and ActionFailure that name the lane; OSError that names a file.
    """
    with refusing():
        check_choice('replay', replay, ('in_process', 'reverb'))
        if replay == 'reverb':
            require_reverb()
        check_choice('on_non_finite', on_non_finite, ('stop', 'log'))
        folder = None if workdir is None else Path(workdir)
        config = configs.to_json(experiment, launcher='local', replay=replay)
        stored = None if folder is None else check_workdir(folder, experiment, config)
        if stored is not None:
            return stored
        training = Training(
            experiment,
            build(experiment),
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
            record=None if record is None else Path(record),
        )
    return training.run()


def check_choice(name: str, value: Any, accepted: Sequence[Any]) -> None:
    """Raises: ValueError that names the option, for a value that is none of the accepted."""
    if value not in accepted:
        raise ValueError(f'{name} must be one of {list(accepted)}, got {value!r}.')


def check_workdir(folder: Path, experiment: Experiment, config: Mapping[str, Any]) -> Result | None:
    """Refuses a folder of another experiment; gives the stored result of a finished run."""
    if not (folder / CONFIG).exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(
                f'workdir must be a new or empty folder, or that of a run, got {folder}.'
            )
        return None
    old = json.loads((folder / CONFIG).read_text())
    different = configs.same_experiment(old, config)
    if different:
        raise ValueError(
            f'{folder} holds another experiment: {", ".join(different)} differ; choose another workdir.'
        )
    if not (folder / RESULT).exists():
        return None
    summary = json.loads((folder / RESULT).read_text())
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
        make_policy=loaded.policy,
    )


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

    def policy(self, seed: int = 0) -> Policy:
        """policy(timestep) -> action, by the agent's evaluator; `.batched(n)` for n lanes."""
        return Policy(self._built.parts.evaluator, self.params, self._built.spec, seed)

    def evaluate(
        self, episodes: int, seed: int | None = None, make_environment: Any = None
    ) -> EvaluationResult:
        """Plays episodes with the evaluator, in fresh environments."""
        evaluator = Evaluator(
            self._built.parts.evaluator,
            make_environment or self._built.make_environment,
            self._built.spec,
            self.experiment.seed if seed is None else seed,
            episodes,
        )
        return evaluator.evaluate(self.params, 0)


def load(
    workdir: str | os.PathLike[str],
    agent: Agent | None = None,
    environment: str | NamedEnvironment | MakeEnvironment | None = None,
) -> Loaded:
    """Loads the newest variables of a run. Opens no pickle.

    Args:
        workdir: of the run.
        agent, environment: the run's, where its config.json could not hold it (a class of a notebook).
    Raises: FileNotFoundError without a run or a checkpoint there.
    """
    folder = Path(workdir)
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(f'{folder} holds no run: there is no {CONFIG}.')
    config = json.loads((folder / CONFIG).read_text())
    experiment = configs.from_json(config, agent=agent, environment=environment)
    built = build(experiment)
    for each in built.environments:
        each.close()
    state = Checkpointer(folder / CHECKPOINTS).read().state
    learner = built.parts.learner
    template = jax.eval_shape(lambda: learner.variables(learner.init(jax.random.key(0))))
    params = from_paths('variables', template, state['learner']['newest'])
    counts = {
        'actor_steps': state['loop']['actor_steps'],
        'learner_steps': state['learner']['updates'],
    }
    summary = make_summary(
        config,
        folder,
        **counts,
        episodes=state['counter']['episodes'],
        resumed_at=counts[_clock(config)],
    )
    return Loaded(experiment, params, built, summary)
