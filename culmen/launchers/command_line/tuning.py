"""The options of `culmen train --tune optuna`, and the search itself."""

import sys
from collections import deque
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from culmen.launchers.command_line.parameters import Count
from culmen.launchers.command_line.pools import Inline
from culmen.launchers.command_line.pools import Pool
from culmen.launchers.command_line.pools import Task
from culmen.launchers.command_line.pools import run_command
from culmen.launchers.command_line.sweeps import make_variant
from culmen.launchers.outcomes import Outcome
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import RunsFailed
from culmen.launchers.sweeping import studies
from culmen.launchers.sweeping.files import SweepFile

NAMES = ('tune', 'trials', 'sampler', 'pruner', 'storage')

# Makes one run: (its experiment, folder, observers) -> Result.
MakeRun = Callable[[Any, Path, Sequence[Any]], Result]


def tuning_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command."""
    options = (
        click.option(
            '--tune',
            type=click.Choice(['optuna']),
            help='Search the [ranges] of --sweep FILE.toml for the best mean return.',
        ),
        click.option('--trials', type=Count(), help='Of the whole search; with --tune.'),
        click.option(
            '--sampler',
            type=click.Choice(list(studies.SAMPLERS)),
            help='What draws the settings of a trial.  [default: tpe]',
        ),
        click.option(
            '--pruner',
            type=click.Choice([*studies.PRUNERS, 'none']),
            help='What ends a trial by the evaluations of its first seed.  '
            '[default: median with --launcher local and --evaluate-every, else none]',
        ),
        click.option(
            '--storage',
            metavar='URL',
            help='A database of the study, which several commands may share.  '
            '[default: a file in the workdir]',
        ),
        click.option('--report-to', hidden=True, help='Of a run of a search: its trial.'),
    )
    for option in reversed(options):
        function = option(function)
    return function


def check_tuning(given: Mapping[str, Any], file: SweepFile | None, axes: Mapping[str, Any]) -> None:
    """Refuses options of a search that do not fit together."""
    if given['tune'] is None:
        typed = [name for name in NAMES if given[name] is not None]
        if typed:
            raise Refused(f'--{typed[0]} is for --tune.')
        if file is not None and file.ranges:
            raise Refused(f'{file.path} has ranges, which are for --tune; a grid has axes.')
        return
    if given['trials'] is None:
        raise Refused('--tune needs --trials N.')
    if file is None or not file.ranges:
        raise Refused('--tune needs --sweep FILE.toml with ranges of fields, and there are none.')
    if axes:
        raise Refused(f'--tune searches ranges, and {min(axes)} has an axis, which is for a grid.')
    studies.require_optuna()


def observers_of(report_to: str | None) -> list[Any]:
    """The observers of a run. Args: report_to: the trial that it is of, if any."""
    if report_to is None:
        return []
    from culmen.launchers.sweeping import pruning

    return [pruning.pruning_of(report_to)]


class Search:
    """A search for the settings with the best score: trials, each with a run for each seed."""

    def __init__(
        self,
        context: click.Context,
        config: dict[str, Any],
        file: SweepFile,
        workdir: Path,
        seeds: int,
        jobs: int,
        read: Callable[[Mapping[str, Any]], Any],
        write: Callable[[Any], dict[str, Any]],
        make_run: MakeRun,
        given: Mapping[str, Any],
    ) -> None:
        """Checks all of it before the first trial, and writes nothing.

        Args:
            context: of the command.
            config: of the experiment, without the searched fields.
            file: gives the ranges.
            workdir: of the study and its trials.
            seeds: runs of a trial.
            jobs: runs at a time; 1: in this process.
            read, write: make an experiment of a config, and the reverse.
            make_run: makes a run in this process.
            given: the options of NAMES.
        Raises: Refused, or an error that `refusing` turns into it.
        """
        from culmen.launchers.options import Interruption

        self._context = context
        self._config = config
        self._file = file
        self._seeds = seeds
        self._jobs = jobs
        self._read = read
        self._make_run = make_run
        self._trials = given['trials']
        for name, each in file.ranges.items():
            for text in each.ends():
                read(make_variant(config, {name: text}))
        base = read(config)
        self._pruner = _pruner(given['pruner'], config, base)
        if (workdir / 'config.json').exists():
            raise Refused(f'{workdir} holds a run; with --tune it must be a folder of trials.')
        self._study = studies.Study(
            workdir,
            given['storage'],
            file.ranges,
            {'experiment': write(base), 'seeds': seeds},
            sampler=given['sampler'] or 'tpe',
            pruner=self._pruner,
            seed=config['seed'],
        )
        self._workdir = workdir
        self._interruption = Interruption()

    def run(self) -> list[Result]:
        """Makes the trials that are left. Returns: the Results of their runs."""
        from culmen.launchers.locking import Locks

        locks = Locks()
        locks.take(self._workdir)
        every: list[_Trial] = []
        failed: dict[str, str] = {}
        with locks, self._interruption.by_signals(), self._executor() as executor:
            left = deque(self._study.begin())
            trials: dict[str, _Trial] = {}  # by the name of the run that is under way
            while True:
                while executor.has_room and not self._interruption.is_asked():
                    trial = left.popleft() if left else self._ask(len(trials))
                    if trial is None:
                        break
                    every.append(_Trial(trial, self._study.values(trial)))
                    self._start(executor, every[-1], trials)
                if executor.is_empty:
                    break
                name, outcome = executor.wait()
                ended = trials.pop(name)
                if self._take(ended, outcome, failed) and not self._interruption.is_asked():
                    self._start(executor, ended, trials)
        self._say_end()
        results = [result for trial in every for result in trial.results]
        if failed:
            raise RunsFailed(failed, results)
        return results

    def groups(self) -> dict[str, list[Path]]:
        """The workdirs of each trial that ran in this folder, of earlier commands too."""
        return {
            f'trial {number} ({state}), {_text(values)}': sorted(folder.glob('seed-*'))
            for number, state, values, folder in self._study.trials()
        }

    def _executor(self) -> Inline | Pool:
        if self._jobs == 1:
            return Inline()
        return Pool(self._jobs, self._workdir, self._interruption)

    def _ask(self, running: int) -> Any:
        """A new trial; None if there are enough."""
        return self._study.ask() if self._study.ended + running < self._trials else None

    def _start(self, executor: Inline | Pool, trial: '_Trial', trials: dict[str, '_Trial']) -> None:
        """Starts the run of the trial's next seed."""
        config, folder = self._next_run(trial)
        number = trial.optuna.number
        observers: list[Any] = []
        options: list[str] = []
        if self._pruner != 'none' and not trial.results:
            from culmen.launchers.sweeping import pruning

            observers.append(pruning.Pruning(number, lambda: trial.optuna))
            text = pruning.pruning_text(self._study.place, self._pruner, number)
            options.append(f'--report-to={text}')
        task = Task(
            str(folder.relative_to(self._workdir)),
            run_command(self._context, trial.values, config['seed'], folder, options),
            lambda: self._make_run(self._read(config), folder, observers),
        )
        trials[task.name] = trial
        executor.start(task)

    def _next_run(self, trial: '_Trial') -> tuple[dict[str, Any], Path]:
        """The config and the folder of the trial's next seed."""
        seed = self._config['seed'] + len(trial.results)
        config = {**make_variant(self._config, trial.values), 'seed': seed}
        return config, self._study.trial_folder(trial.optuna.number) / f'seed-{seed}'

    def _take(self, trial: '_Trial', outcome: Outcome, failed: dict[str, str]) -> bool:
        """Takes what became of a run. Returns: whether the trial goes on with its next seed."""
        config, folder = self._next_run(trial)
        if outcome.summary is not None:
            signal = self._interruption.signal
            trial.results.append(outcome.result(self._read(config), folder, signal))
        if outcome.signal is not None:  # the trial goes on with the same command
            self._interruption.ask(outcome.signal)
            return False
        if outcome.summary is None:
            failed[str(folder)] = outcome.error
            self._end(trial, None, 'failed')
            return False
        pruned = 'stopped' in outcome.summary
        if not pruned and len(trial.results) < self._seeds:
            return True
        from culmen.launchers.sweeping import frames

        scores = [frames.score(Path(str(each.workdir))) for each in trial.results]
        known = [each for each in scores if each is not None]
        mean = sum(known) / len(known) if known else None
        if mean is None:
            failed[str(folder)] = 'it has no evaluation'
        text = 'pruned' if pruned else 'no evaluation' if mean is None else f'{mean:.4g}'
        self._end(trial, mean, text, pruned)
        return False

    def _end(self, trial: '_Trial', score: float | None, text: str, pruned: bool = False) -> None:
        self._study.tell(trial.optuna, score, pruned)
        self._say(trial, text)

    def _say(self, trial: '_Trial', text: str) -> None:
        number, values = trial.optuna.number, _text(trial.values)
        print(f'culmen: trial {number}: {text} ({values})', file=sys.stderr, flush=True)

    def _say_end(self) -> None:
        best = self._study.best()
        if best is not None:
            number, score = best
            config = (
                self._study.trial_folder(number) / f'seed-{self._config["seed"]}' / 'config.json'
            )
            print(
                f'culmen: the best of {self._study.ended} trials is {number} with {score:.4g}: '
                f'culmen train --config {config} --workdir NEW',
                file=sys.stderr,
            )


class _Trial:
    """A trial with the Results of its seeds so far."""

    def __init__(self, optuna: Any, values: Mapping[str, str]) -> None:
        self.optuna = optuna
        self.values = values
        self.results: list[Result] = []


def _pruner(name: str | None, config: Mapping[str, Any], experiment: Any) -> str:
    """The pruner by its name, or the default. Raises: Refused, ValueError where it can't prune."""
    local = config.get('launcher', 'local') == 'local'
    evaluated = experiment.evaluation.every is not None
    if name is None:
        return 'median' if local and evaluated else 'none'
    if name == 'none':
        return name
    if not local:
        raise Refused(
            f'--pruner is for --launcher local, got {config["launcher"]}; or --pruner none.'
        )
    from culmen.launchers.sweeping import pruning

    pruning.Pruning(0, lambda: None).check_experiment(experiment)
    return name


def _text(values: Mapping[str, Any]) -> str:
    return ', '.join(f'{name.partition(".")[2]}={value}' for name, value in values.items())
