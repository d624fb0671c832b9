"""One run of an experiment in this process: the workers, and what happens between updates.

Evaluations, rows of the logs and checkpoints fall on counted steps, where somebody acts between the
updates and the action of a tick, so a run that was stopped there and restored is the run that was not.
`Training` acts; the offline launcher has a `Run` that does not.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from culmen.components import environments
from culmen.components.actors import Actor
from culmen.components.checkpointing import Checkpointer
from culmen.components.checkpointing import Saved
from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.counts import RunCounts
from culmen.components.counts import fold_seed
from culmen.components.dispatch import Contexts
from culmen.components.files import OnLostRows
from culmen.components.learners import Learner
from culmen.components.learners import NonFiniteLossError
from culmen.components.learners import metric_names
from culmen.components.loggers import COLUMNS
from culmen.components.loggers import Logs
from culmen.components.loggers import Sink
from culmen.components.loggers import columns_of
from culmen.components.loggers import make_progress
from culmen.components.replay import DatasetReader
from culmen.components.replay import InProcessTable
from culmen.components.replay import Recorder
from culmen.components.replay import Writers
from culmen.components.replay import check_recording
from culmen.components.replay import sample_spec
from culmen.components.replay.reverb import ReverbTable
from culmen.core.experience import live
from culmen.core.experience import recorded
from culmen.core.experiment import Experiment
from culmen.core.specs import zeros_like
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.batched import batch as make_batch
from culmen.environment_loops.batched import reward_names
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Evaluator
from culmen.environment_loops.evaluation import Interrupted
from culmen.environment_loops.host import EnvironmentLoop
from culmen.environment_loops.host import Observer
from culmen.launchers.building import Built
from culmen.launchers.building import prepare
from culmen.launchers.policies import MakePolicy
from culmen.launchers.restoring import fitting
from culmen.launchers.restoring import refusing_checkpoints
from culmen.launchers.restoring import tell_losses
from culmen.launchers.results import Result
from culmen.launchers.results import exits_fail

LEARNER_LOG_PERIOD = 1_000  # steps between rows of learner.csv
CONFIG, RESULT, CHECKPOINTS, LOGS = 'config.json', 'result.json', 'checkpoints', 'logs'
_POLL_SECONDS = 0.1
NO_EVALUATION: dict[str, Any] = {'episodes': 0, 'return_mean': None, 'return_std': None}


class Run:
    """What every run in this process does around its updates: evaluations, logs, checkpoints, signals.

    A kind of run makes the workers, trains in `_train`, and asks `_is_over` between updates. Its events
    are counted in `steps`: actor steps where somebody acts, learner steps where nobody does.
    """

    _learner: Learner
    _metric_names: tuple[str, ...]  # of an update, 'loss' first
    _has_python = False  # whether its checkpoints hold what only pickle can

    def __init__(
        self,
        experiment: Experiment,
        built: Built,
        folder: Path | None,
        config: Mapping[str, Any],
        *,
        sinks: Sequence[Sink],
        progress: bool | None,
        until_return: float | None,
        trust: bool = False,
        on_lost_rows: OnLostRows = 'drop',
    ) -> None:
        self._experiment = experiment
        self._built = built
        self._folder = folder
        self._config = config
        self._until_return = until_return
        self._trust = trust
        self._on_lost_rows: OnLostRows = on_lost_rows
        self._counter = RunCounts()
        self._evaluator = Evaluator(
            built.parts.evaluator,
            built.make_evaluation,
            built.spec,
            experiment.seed,
            experiment.evaluation.episodes,
            stop=lambda: self._stop_asked,
            max_steps=experiment.evaluation.max_steps,
            tell=self._tell,
        )
        self._checkpointer = (
            None
            if folder is None
            else Checkpointer(folder / CHECKPOINTS, experiment.checkpoint.keep)
        )
        self._sinks = sinks
        self._show_progress = progress

        # Events, as the steps at which they are next due.
        self._next_evaluation = experiment.evaluation.every
        self._next_checkpoint = experiment.checkpoint.every
        self._next_learner_row = LEARNER_LOG_PERIOD
        self._logged_updates = 0
        self._stop_asked = False
        self._signal: int | None = None
        self._finished = False
        self._last_evaluation: dict[str, Any] | None = None
        self._evaluated_at: tuple[int, int] | None = None
        self._said_cut = False
        self.evaluating: str | None = None  # how far an evaluation is that takes long
        self._resumed_at = 0
        self._poll_at = 0.0
        self._rate = 0.0
        self._rate_from = (0.0, 0)
        self._evaluation_seconds = 0.0
        self._episode_return: float | None = None

    # What a kind of run brings.

    @property
    def actor_steps(self) -> int:
        """Steps of the environments so far."""
        raise NotImplementedError

    @property
    def steps(self) -> int:
        """The count by which events fall due."""
        raise NotImplementedError

    @property
    def _budget(self) -> int | None:
        """Steps of the whole run."""
        raise NotImplementedError

    def _train(self) -> None:
        """Trains until `_is_over`, asked before each piece of work, is True."""
        raise NotImplementedError

    def _begin_anew(self) -> None:
        """Called where there is no checkpoint to go on from."""

    def _close(self) -> None:
        """Lets go of what the workers hold."""

    def _get_worker_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the learner: arrays and plain values."""
        return {'loop': {'actor_steps': self.actor_steps}}

    def _get_python(self) -> dict[str, Any] | None:
        """What only pickle can hold."""
        return None

    def _set_learner_state(self, saved: Any) -> int:
        """Goes on from a checkpoint. Returns: how many items are dropped, since their rows are lost."""
        self._learner.set_state(saved.state['learner'])
        return 0

    def _set_worker_state(self, saved: Any) -> int:
        """Goes on from a checkpoint; the learner has already. Returns: as `_set_learner_state`."""
        return 0

    @property
    def _table_to_save(self) -> Any:
        """The table whose rows a checkpoint takes."""
        return None

    # The run.

    def run(self) -> Result:
        """Trains to the end of the budget, or until it is stopped."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(exits_fail())
            stack.callback(self._close)
            saved = self._restore()
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_json(self._folder / CONFIG, self._config)
            columns = columns_of(reward_names(self._built.spec))
            columns['learner'] = learner_columns(self._metric_names)
            directory = None if self._folder is None else self._folder / LOGS
            self._logs = Logs(directory, columns, self._sinks)
            stack.callback(self._logs.close)
            if saved is not None:
                self._go_on(saved)
            else:
                self._begin_anew()
            if self._checkpointer is not None:
                stack.callback(self._checkpointer.wait)
            self._progress = make_progress(self._show_progress, self._budget)
            stack.callback(self._progress.close)
            stack.enter_context(self._signals())
            begin = self._begin = time.monotonic()
            self._rate_from = (begin, self.steps)
            try:
                self._train()
            except NonFiniteLossError as error:
                self._save_apart(error)
                raise
            seconds = time.monotonic() - begin - self._evaluation_seconds
            steps = self.steps - self._resumed_at
            summary = make_summary(
                self._config,
                self._folder,
                self.actor_steps,
                self._learner.learner_steps,
                self._counter.get_counts()['episodes'],
                resumed_at=self._resumed_at,
                steps_per_second=steps / seconds if seconds > 0 else 0.0,
                evaluation=self._last_evaluation or NO_EVALUATION,
            )
            if self._finished:
                say_endless(summary)
            if self._finished and self._folder is not None:
                if self._checkpointer is not None:
                    self._checkpointer.wait()
                self._logs.flush()
                write_json(self._folder / RESULT, summary)
        params = jax.tree_util.tree_map(np.asarray, self._learner.newest_variables)
        counts = self.actor_steps, self._learner.learner_steps
        return Result(
            experiment=self._experiment,
            workdir=None if self._folder is None else str(self._folder),
            summary=summary,
            interrupted=not self._finished,
            signal=self._signal,
            params=params,
            logs=self._logs,
            make_policy=MakePolicy(self._experiment.agent, self._built.spec, params, counts),
        )

    # Between updates.

    def _is_over(self) -> bool:
        """Sees to what is due; True ends the run."""
        steps = self.steps
        now = time.monotonic()
        if now >= self._poll_at:
            self._poll(now)
            if self._checkpointer is not None:
                self._checkpointer.poll()  # a full disk is told now, not at the next checkpoint
        over = self._over()
        if over:
            self._learner.run_rest()
        if steps >= self._next_learner_row or over:
            self._log_learner()
            self._next_learner_row = next_multiple(steps, LEARNER_LOG_PERIOD)
        every = self._experiment.evaluation.every
        if over or (self._next_evaluation is not None and steps >= self._next_evaluation):
            if not self._evaluate():
                over = False
            elif every is not None:
                self._next_evaluation = next_multiple(steps, every)
            if self._reached_return():
                over = True
        self._finished = over
        if over or self._stop_asked or steps >= self._next_checkpoint:
            self._next_checkpoint = next_multiple(steps, self._experiment.checkpoint.every)
            self._save()
        if over or self._stop_asked:
            self._poll(now)
        return over or self._stop_asked

    def _over(self) -> bool:
        steps, updates = self._experiment.max_actor_steps, self._experiment.max_learner_steps
        return (steps is not None and self.actor_steps >= steps) or (
            updates is not None and self._learner.learner_steps >= updates
        )

    def _poll(self, now: float) -> None:
        self._poll_at = now + _POLL_SECONDS
        since, steps = self._rate_from
        if now - since >= 0.5:
            self._rate = (self.steps - steps) / (now - since)
            self._rate_from = (now, self.steps)
        self._logs.poll()
        self._show()

    def _show(self) -> None:
        self._progress.update(
            self.steps,
            self._learner.learner_steps,
            self._rate,
            self._episode_return,
            None if self._last_evaluation is None else self._last_evaluation['return_mean'],
            self.evaluating,
        )

    def _tell(self, text: str) -> None:
        """Shows how far an evaluation is."""
        self.evaluating = text
        self._show()

    def _log_learner(self) -> None:
        if self._learner.learner_steps == self._logged_updates:
            return
        self._learner.check_finite()
        self._logged_updates = self._learner.learner_steps
        self._logs.write(
            'learner',
            {
                'actor_steps': self.actor_steps,
                'learner_steps': self._learner.learner_steps,
                **self._learner.metrics,
            },
        )

    def _evaluate(self) -> bool:
        """Evaluates the newest variables; False where it was stopped, and so has to be done again."""
        at = (self.actor_steps, self._learner.learner_steps)
        if self._evaluated_at == at:
            return True
        self._learner.check_finite()
        start = time.monotonic()
        try:
            result = self._evaluator.evaluate(self._learner.newest_variables, self.steps, *at)
        except Interrupted:
            return False
        finally:
            self.evaluating = None
            self._evaluation_seconds += time.monotonic() - start
            self._rate_from = (time.monotonic(), self.steps)
        self._evaluated_at = at
        self._counter.increment(evaluations=1)
        self._last_evaluation = summarise(result)
        self._logs.write('evaluator', evaluation_row(result, *at))
        if not self._said_cut:
            self._said_cut = say_cut(result, self._experiment.evaluation.max_steps)
        return True

    def _reached_return(self) -> bool:
        return (
            self._until_return is not None
            and self._last_evaluation is not None
            and self._last_evaluation['return_mean'] >= self._until_return
        )

    def ask_to_stop(self, number: int) -> None:
        """Ends the run after a checkpoint, for the signal of this number."""
        self._stop_asked = True
        self._signal = number

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM asks for a stop, a second SIGINT interrupts at once."""

        def ask(number: int) -> None:
            if self._stop_asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.ask_to_stop(number)

        with signals_to(ask):
            yield

    # Checkpoints and results.

    def _save(self) -> None:
        if self._checkpointer is None:
            return
        self._learner.check_finite()
        self._checkpointer.save(
            self.steps, self._get_state(), self._get_python(), self._table_to_save
        )

    def _save_apart(self, error: NonFiniteLossError) -> None:
        if self._checkpointer is not None:
            name = f'non-finite-{self._learner.learner_steps}'
            self._checkpointer.save(
                self.steps,
                self._get_state(),
                self._get_python(),
                self._table_to_save,
                name=name,
            )
            self._checkpointer.wait()
            assert self._folder is not None
            error.checkpoint = str(self._folder / CHECKPOINTS / name)

    def _get_state(self) -> dict[str, Any]:
        return {
            **self._get_worker_state(),
            'learner': self._learner.get_state(),
            'counter': self._counter.get_state(),
            'logs': self._logs.get_state(),
            'events': {
                'evaluation': self._next_evaluation,
                'checkpoint': self._next_checkpoint,
                'learner_row': self._next_learner_row,
                'logged_updates': self._logged_updates,
                'evaluated_at': self._evaluated_at,
                'last_evaluation': self._last_evaluation,
            },
        }

    def _restore(self) -> Saved | None:
        if self._checkpointer is None:
            return None
        with refusing_checkpoints():
            return self._checkpointer.restore(
                python=self._has_python, trust=self._trust, on_lost_rows=self._on_lost_rows
            )

    def _go_on(self, saved: Saved) -> None:
        assert self._folder is not None
        path = self._folder / CHECKPOINTS / saved.name
        with refusing_checkpoints(), fitting(path):
            dropped = self._set_state(saved)
        tell_losses(path, saved, dropped)

    def _set_state(self, saved: Any) -> int:
        state = saved.state
        dropped = self._set_learner_state(saved) + self._set_worker_state(saved)
        self._counter.set_state(state['counter'])
        self._logs.set_state(state['logs'])
        events = state['events']
        self._next_evaluation = later_or(events['evaluation'], self._experiment.evaluation.every)
        self._next_checkpoint = events['checkpoint']
        self._next_learner_row = events['learner_row']
        self._logged_updates = events['logged_updates']
        self._evaluated_at = (
            None if events['evaluated_at'] is None else tuple(events['evaluated_at'])
        )
        self._last_evaluation = events['last_evaluation']
        self._resumed_at = self.steps
        return dropped


class Training(Run):
    """A run that acts: an actor, a learner and a table as plain objects in one loop."""

    _has_python = True

    def __init__(
        self,
        experiment: Experiment,
        built: Built,
        folder: Path | None,
        config: Mapping[str, Any],
        *,
        replay: str,
        sinks: Sequence[Sink],
        observers: Sequence[Observer],
        devices: Sequence[jax.Device] | None,
        actor_device: jax.Device | None,
        progress: bool | None,
        stop_on_non_finite: bool,
        until_return: float | None,
        record: Path | None = None,
        trust: bool = False,
        on_lost_rows: OnLostRows = 'drop',
    ) -> None:
        super().__init__(
            experiment,
            built,
            folder,
            config,
            sinks=sinks,
            progress=progress,
            until_return=until_return,
            trust=trust,
            on_lost_rows=on_lost_rows,
        )
        spec, parts, lanes = built.spec, built.parts, built.lanes
        seed, num_lanes = experiment.seed, len(lanes.index)

        row_spec = prepare(parts, spec, lanes)
        samples = sample_spec(parts.experience, row_spec, num_lanes)
        self._metric_names = metric_names(parts.learner, samples)
        acted_on = live(parts.experience)
        if acted_on is None:
            raise ValueError(
                'experience is of Datasets alone, which no actor writes to: the offline launcher '
                'trains on it (culmen.launchers.offline.run, --launcher offline).'
            )
        self._table: InProcessTable | ReverbTable
        arguments = (acted_on, row_spec, num_lanes)
        if replay == 'reverb':
            self._table = ReverbTable(*arguments)
        else:
            self._table = InProcessTable(*arguments, fold_seed(seed, 'table'))
        self._datasets: DatasetReader | None = None
        if recorded(parts.experience):
            self._datasets = DatasetReader(
                parts.experience,
                row_spec,
                fold_seed(seed, 'table'),
                self._table,
                on_lost_rows,
            )
        self._recorder: Recorder | None = None
        if record is not None:
            run = recorded_run(config, folder, record)
            check_recording(record, run, resumed=has_checkpoint(folder))
            self._recorder = Recorder(record, row_spec, num_lanes, run)
        self._learner = Learner(
            parts.learner,
            self._datasets or self._table,
            seed,
            updates_per_call=experiment.updates_per_call,
            lag=built.lag,
            devices=devices,
            stop_on_non_finite=stop_on_non_finite,
            max_updates=experiment.max_learner_steps,
        )
        self._learner.check_batch(samples)
        self._actor = Actor(
            parts.actor,
            self._learner,
            lanes,
            Contexts(seed, 'actor', 0),
            fold_seed(seed, 'actor', 0),
            writer=self._table if self._recorder is None else Writers(self._table, self._recorder),
            device=actor_device,
        )
        self._reward_names = reward_names(spec)
        self._environment = make_batch(built.environments, spec)
        self._loop = EnvironmentLoop(
            self._environment,
            self._actor,
            self._counter,
            learner=self._learner,
            observers=observers,
            on_episode=self._on_episode,
            on_tick=self._is_over,
        )
        self._observers = observers

    @property
    def actor_steps(self) -> int:
        """Steps of the environments so far."""
        return self._loop.actor_steps

    @property
    def steps(self) -> int:
        """Actor steps: events fall between the updates and the action of a tick."""
        return self._loop.actor_steps

    @property
    def _budget(self) -> int | None:
        return self._experiment.max_actor_steps

    @property
    def _table_to_save(self) -> InProcessTable | ReverbTable:
        return self._table

    def _train(self) -> None:
        if isinstance(self._table, ReverbTable):
            print(
                f'culmen: Reverb listens on port {self._table.port} of every interface, and asks '
                'nobody who he is: whoever reaches it can read, alter and empty the tables, and run no '
                'code.',
                file=sys.stderr,
            )
        self._loop.run()
        if self._recorder is not None:
            self._recorder.close()

    def _begin_anew(self) -> None:
        if self._recorder is not None:
            self._recorder.begin()

    def _close(self) -> None:
        self._environment.close()
        if isinstance(self._table, ReverbTable):
            self._table.close()

    def _on_episode(self, episode: Episode, metrics: Mapping[str, float]) -> None:
        row = episode_row(episode, self._reward_names)
        self._episode_return = row['episode_return']
        self._logs.write(
            'actor',
            {
                'actor_steps': self._loop.actor_steps,
                'learner_steps': self._learner.learner_steps,
                'steps_per_second': self._rate,
                **row,
                **metrics,
            },
        )

    def _get_worker_state(self) -> dict[str, Any]:
        loop = self._loop.get_state()
        return {
            'loop': {'timestep': to_paths(loop['timestep']), 'actor_steps': loop['actor_steps']},
            'lanes': self._environment.get_state(),
            'actor': self._actor.get_state(),
            'table': self._table.get_state(),
            'recording': None if self._recorder is None else self._recorder.get_state(),
        }

    def _get_python(self) -> dict[str, Any]:
        """Environments (None for one that can't be saved) and observers."""
        return {
            'environments': [
                environment.get_state() if environments.is_restorable(environment) else None
                for environment in self._environment.environments
            ],
            'observers': [
                observer.get_state() if hasattr(observer, 'get_state') else None
                for observer in self._observers
            ],
        }

    def _set_worker_state(self, saved: Any) -> int:
        state = saved.state
        num_lanes, spec = len(self._built.lanes.index), self._built.spec
        timestep = TimeStep(
            np.zeros(num_lanes, np.int32),
            *(
                zeros_like(nest, (num_lanes,))
                for nest in (spec.reward, spec.discount, spec.observation)
            ),
        )
        self._loop.set_state(
            {
                'timestep': from_paths('timestep', timestep, state['loop']['timestep']),
                'actor_steps': state['loop']['actor_steps'],
            }
        )
        self._environment.set_state(state['lanes'])
        self._actor.set_state(state['actor'])
        if isinstance(self._table, ReverbTable):
            dropped = self._table.set_state(state['table'], saved.table)
        else:
            dropped = self._table.set_state(state['table'], saved.rows, saved.lost)
        if self._datasets is not None:
            self._datasets.seek(self._learner.learner_steps)
        if self._recorder is not None:
            self._recorder.set_state(state.get('recording'), drop=self._on_lost_rows == 'drop')
        for environment, old in zip(
            self._environment.environments, saved.python['environments'], strict=True
        ):
            if old is not None:
                environment.set_state(old)
        for observer, old in zip(self._observers, saved.python['observers'], strict=False):
            if old is not None and hasattr(observer, 'set_state'):
                observer.set_state(old)
        return dropped


def learner_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The header of learner.csv. Args: names: of the metrics."""
    return (*COLUMNS['learner'], *(name for name in names if name not in COLUMNS['learner']))


def recorded_run(config: Mapping[str, Any], folder: Path | None, record: Path) -> dict[str, Any]:
    """What names a run in its recording. Both may move, together."""
    return {
        'agent': config['agent']['name'],
        'environment': config['environment']['name'],
        'seed': config['seed'],
        'workdir': None if folder is None else os.path.relpath(folder, record),
    }


@contextlib.contextmanager
def signals_to(handle: Callable[[int], None]) -> Iterator[None]:
    """Hands SIGINT and SIGTERM on, where this is the main thread, which alone can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = {each: signal.signal(each, lambda number, frame: handle(number)) for each in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def has_checkpoint(folder: Path | None) -> bool:
    """Whether there is a checkpoint to go on from."""
    return folder is not None and bool(Checkpointer(folder / CHECKPOINTS).names())


def summarise(result: EvaluationResult) -> dict[str, Any]:
    """An evaluation as the JSON line has it.

    A nest of rewards is summed over its leaves, and each number has a mean and a deviation of its own beside;
    `truncations` is there where `Evaluation.max_steps` ended episodes.
    """
    returns = result.returns if result.returns.ndim == 1 else result.returns.sum(axis=1)
    summary: dict[str, Any] = {
        'episodes': len(returns),
        'return_mean': float(np.mean(returns)),
        'return_std': float(np.std(returns)),
    }
    for i, name in enumerate(result.reward_names):
        summary[f'return_mean/{name}'] = float(np.mean(result.returns[:, i]))
        summary[f'return_std/{name}'] = float(np.std(result.returns[:, i]))
    if result.truncated.any():
        summary['truncations'] = int(result.truncated.sum())
    return summary


def evaluation_row(
    result: EvaluationResult, actor_steps: int, learner_steps: int
) -> dict[str, float]:
    """An evaluation as a row of evaluator.csv."""
    summary = summarise(result)
    row = {
        'actor_steps': actor_steps,
        'learner_steps': learner_steps,
        'episode_return': summary['return_mean'],
        'episode_length': float(np.mean(result.lengths)),
        'episode_return_std': summary['return_std'],
        'episodes': summary['episodes'],
        'truncations': summary.get('truncations', 0),
    }
    for name in result.reward_names:
        row[f'episode_return/{name}'] = summary[f'return_mean/{name}']
        row[f'episode_return_std/{name}'] = summary[f'return_std/{name}']
    return row


def episode_row(episode: Episode, names: Sequence[str]) -> dict[str, float]:
    """What actor.csv has of the episode alone. Args: names: of the numbers of a nest of rewards."""
    returns = np.atleast_1d(episode.episode_return).tolist()
    row = {'episode_return': float(np.sum(returns)), 'episode_length': episode.episode_length}
    return {**row, **{f'episode_return/{name}': r for name, r in zip(names, returns, strict=False)}}


def say_endless(summary: Mapping[str, Any]) -> None:
    """Says on standard error that no episode of a run's training has ended, and so no log tells of one."""
    if summary['actor_steps'] and not summary['episodes']:
        print(
            f'culmen: no episode ended in the {summary["actor_steps"]:,} steps of training, so actor.csv has '
            f'no row; the argument step_limit of an environment truncates its episodes.',
            file=sys.stderr,
        )


def say_cut(result: EvaluationResult, max_steps: int | None) -> bool:
    """Says on standard error how many episodes `max_steps` ended; whether there was anything to say."""
    cut = int(result.truncated.sum())
    if cut:
        print(
            f'culmen: {cut} of {len(result.lengths)} episodes of an evaluation did not end in '
            f'{max_steps:,} steps and were cut there, which counts as a truncation '
            f'(Evaluation.max_steps, --evaluation-max-steps).',
            file=sys.stderr,
        )
    return bool(cut)


def next_multiple(steps: int, every: int) -> int:
    """The first multiple of `every` above `steps`."""
    return (steps // every + 1) * every


def later_or(stored: int | None, every: int | None) -> int | None:
    """When the next evaluation is due, where the period may have changed since."""
    if every is None:
        return None
    return stored if stored is not None and stored % every == 0 else every


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    temporary = path.with_name(f'.{path.name}-{os.getpid()}')
    try:
        temporary.write_text(json.dumps(value, indent=2) + '\n')
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno or 0, f'could not write: {error.strerror}', str(path)) from error


def make_summary(
    config: Mapping[str, Any],
    folder: Path | None,
    actor_steps: int,
    learner_steps: int,
    episodes: int,
    *,
    resumed_at: int,
    steps_per_second: float = 0.0,
    evaluation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The fields of a summary, in the order they are printed."""
    return {
        'agent': config['agent']['name'],
        'environment': config['environment']['name'],
        'launcher': config['launcher'],
        'seed': config['seed'],
        'actor_steps': actor_steps,
        'learner_steps': learner_steps,
        'episodes': episodes,
        'steps_per_second': steps_per_second,
        'resumed_at': resumed_at,
        'workdir': None if folder is None else str(folder),
        'evaluation': evaluation,
    }
