"""The result of a run, and the errors that end one."""

import contextlib
import os
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from culmen.components.loggers import LogFiles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from culmen.core import Experiment
    from culmen.launchers.comparing import Comparison
    from culmen.launchers.plots import Floats

# The fields of a summary, in the order they are printed.
SUMMARY_FIELDS = (
    'agent',
    'environment',
    'launcher',
    'seed',
    'actor_steps',
    'learner_steps',
    'episodes',
    'steps_per_second',
    'resumed_at',
    'workdir',
    'evaluation',
)


class Refused(ValueError):
    """A run that was refused before anything was computed. It left no workdir behind."""


class UnexpectedExit(RuntimeError):
    """Code within a run called sys.exit; the message says where."""


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turns refusals raised inside, while settings are read or a run is built, into `Refused`.

    Checks, constructors and `Agent.build` refuse by a ValueError; a package or a file may be missing. Other
    errors are bugs, and pass unchanged.
    """
    try:
        with exits_fail():
            yield
    except Refused:
        raise
    except (ValueError, ImportError, OSError) as error:
        raise Refused(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def exits_fail() -> Iterator[None]:
    """Turns a call of sys.exit inside, with any code, into a failure of the run.

    Raises: UnexpectedExit.
    """
    try:
        yield
    except SystemExit as error:
        *_, frame = traceback.extract_tb(error.__traceback__)
        raise UnexpectedExit(
            f'sys.exit({error.code!r}) was called within the run, at line {frame.lineno} of '
            f'{frame.filename}, in {frame.name}.'
        ) from error


class LearningCurve(NamedTuple):
    """Returns against steps."""

    steps: 'Floats'  # [n] actor steps, increasing; learner steps of a run without actors
    returns: 'Floats'  # [n] means


@dataclass(repr=False, eq=False)
class Result:
    """The result of a run: its numbers, logs and parameters, and the policy that it learned.

    result.logs['evaluator']        # a pandas DataFrame
    result.plot('curve.png')
    policy = result.policy()        # policy(timestep) -> action
    """

    experiment: 'Experiment'
    workdir: str | None  # None: the run wrote nothing
    summary: Mapping[
        str, Any
    ]  # SUMMARY_FIELDS; 'stopped' {reason, by} if an observer ended the run
    interrupted: bool = False  # stopped by a signal, after a checkpoint
    signal: int | None = None  # the signal that stopped it
    params: Any = None  # what actors and evaluators read
    logs: Mapping[str, 'pd.DataFrame'] | None = None  # by label; None: read from the workdir
    make_policy: Callable[[int, int], Callable[..., Any]] | None = None  # seed, lane -> policy

    def __post_init__(self) -> None:
        if self.logs is None:
            self.logs = {} if self.workdir is None else LogFiles(Path(self.workdir) / 'logs')

    def policy(self, seed: int = 0, lane: int = 0) -> Any:
        """The learned policy: takes an unbatched dm_env.TimeStep and returns a NumPy action.

        It holds the actor's state and resets it at FIRST. `.batched(n)` is for n lanes, from `lane` on; of
        several environments lane i has the one i modulo their number.
        """
        if self.make_policy is None:
            raise ValueError('this Result has no policy: it was made without one.')
        return self.make_policy(seed, lane)

    @property
    def stopped(self) -> str | None:
        """Why an observer ended the run before its budget (`culmen.StopWhen`); None: none did."""
        stopped = self.summary.get('stopped')
        return None if stopped is None else str(stopped['reason'])

    def curve(self, training: bool = False, draw: bool = False) -> 'LearningCurve':
        """The returns of the run against its steps, as arrays.

        Args:
            training: means of pieces of the training episodes; False: of the evaluations.
            draw: whether a notebook shows the picture of `plot` here.
        Raises: ImportError if it is to be drawn where there is no notebook's IPython.
        """
        from culmen.launchers import plots

        if draw:
            try:
                from IPython.display import display
            except ImportError as error:
                raise ImportError('draw=True is for notebooks: pip install ipython.') from error
            display(self.plot())
        series = plots.training_series if training else plots.evaluation_series
        return LearningCurve(*series(self.logs or {}))

    def compare(self, *others: 'Result | str | os.PathLike[str]', **options: Any) -> 'Comparison':
        """Compares the run with others: Results or their folders, which may hold several runs.

        Args: options: of `culmen.compare`: by, last, scales, repetitions, seed.
        Raises: ValueError for a Result without a workdir; as `culmen.compare`.
        """
        from culmen.launchers import comparing

        paths: list[str | os.PathLike[str]] = []
        for each in (self, *others):
            path = each.workdir if isinstance(each, Result) else each
            if path is None:
                raise ValueError(
                    'a comparison reads logs in workdirs, and this Result has none: give its run one.'
                )
            paths.append(path)
        return comparing.compare(list(dict.fromkeys(paths)), **options)

    def plot(self, path: str | os.PathLike[str] | None = None) -> 'Figure':
        """Draws the return against actor steps, and writes a file if `path` is given."""
        from culmen.launchers import plots

        curve = plots.Curve(
            str(self.summary.get('agent', 'run')),
            str(self.summary.get('environment', '')),
            [self.logs or {}],
        )
        return plots.draw([curve], path)

    def __getstate__(self) -> dict[str, Any]:
        """The state with logs as data frames, so that the pickle needs neither files nor this process."""
        return {**vars(self), 'logs': dict(self.logs or {})}

    def __repr__(self) -> str:
        known = [key for key in (*SUMMARY_FIELDS, 'stopped') if key in self.summary]
        lines = [f'{key}: {describe(self.summary[key])}' for key in known]
        if self.interrupted:
            lines.append('interrupted: the same call with its workdir goes on')
        return 'Result\n  ' + '\n  '.join(lines)


def environment_name(environment: Any) -> str:
    """The name of a config's environment; of several their names, with commas."""
    several = environment if isinstance(environment, list) else [environment]
    return ','.join(str(each['name']) for each in several)


def describe(value: Any) -> str:
    """A value of a summary as readable text."""
    if isinstance(value, Mapping):
        texts = {key: describe(each) for key, each in value.items()}
        return ', '.join(
            f'{key} ({text})' if isinstance(value[key], Mapping) else f'{key} {text}'
            for key, text in texts.items()
        )
    if isinstance(value, float):
        return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'{value:,}'
    return str(value)


class RunsFailed(RuntimeError):
    """Some of many runs failed, and the others went on to their ends."""

    def __init__(self, failed: Mapping[str, str], results: Sequence[Result]) -> None:
        """Args: failed: why, by workdir; results: of the others."""
        texts = '; '.join(f'{workdir}: {reason}' for workdir, reason in failed.items())
        super().__init__(f'{len(failed)} of {len(failed) + len(results)} runs failed: {texts}')
        self.results = list(results)
