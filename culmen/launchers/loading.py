"""Loads what a run has learned from its workdir: its newest variables, and policies that use them."""

import contextlib
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax

from culmen.components.checkpointing import Checkpointer
from culmen.components.checkpointing import from_paths
from culmen.components.files import DamagedError
from culmen.components.files import expanded
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.components.loggers import make_progress
from culmen.core.agent import Agent
from culmen.core.checks import check_range
from culmen.core.experiment import AnyEnvironment
from culmen.core.experiment import Experiment
from culmen.core.types import Params
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Evaluator
from culmen.launchers import configs
from culmen.launchers import provenance
from culmen.launchers.building import Built
from culmen.launchers.building import build
from culmen.launchers.policies import MakePolicy
from culmen.launchers.policies import Policy
from culmen.launchers.restoring import fitting
from culmen.launchers.restoring import refusing_checkpoints
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import exits_fail
from culmen.launchers.results import refusing
from culmen.launchers.rows import say_cut
from culmen.launchers.workdir import CHECKPOINTS
from culmen.launchers.workdir import CONFIG
from culmen.launchers.workdir import RunState
from culmen.launchers.workdir import Workdir
from culmen.launchers.workdir import clock_of
from culmen.launchers.workdir import make_summary


class Loaded:
    """A run's newest variables, and policies that use them."""

    def __init__(
        self,
        experiment: Experiment,
        params: Params,
        built: Built,
        summary: Mapping[str, Any],
        commands: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.experiment = experiment
        self.params = params
        self.summary = summary  # of the checkpoint, as in a Result; evaluation is None
        self.commands = commands  # that ran it (culmen.launchers.provenance), the first one first
        self._built = built
        self._counts = int(summary['actor_steps']), int(summary['learner_steps'])
        self.make_policy = MakePolicy(experiment, built.spec, params, self._counts)

    def policy(self, seed: int = 0, lane: int = 0) -> Policy:
        """policy(timestep) -> action, from the agent's evaluator; `.batched(n)`: for n lanes, from `lane`."""
        return self.make_policy(seed, lane)

    def evaluate(
        self,
        episodes: int,
        seed: int | None = None,
        make_environment: Any = None,
        max_steps: int | None = None,
        progress: bool | None = None,
    ) -> EvaluationResult:
        """Plays episodes with the evaluator, in new environments.

        Args:
            episodes: how many.
            seed: of environments and keys; None: the run's seed.
            make_environment: seed -> environment, or several, as the run has them; None: those of its
                evaluations.
            max_steps: after which an episode is truncated; None: as in the run's evaluations.
            progress: whether to show progress if it takes long; None: depends on what standard error is.
        """
        makes = make_environment or self._built.make_evaluations
        check_range('episodes', episodes, 1 if callable(makes) else len(makes))
        check_range('max_steps', max_steps, 1)
        max_steps = self.experiment.evaluation.max_steps if max_steps is None else max_steps
        shown = make_progress(progress, None)
        evaluator = Evaluator(
            self._built.parts.evaluator,
            makes,
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
    environment: AnyEnvironment | tuple[AnyEnvironment, ...] | None = None,
    *,
    trust: bool = False,
) -> Loaded:
    """Loads the newest variables of a run. Opens no pickle.

    Args:
        workdir: of the run.
        agent, environment: those of the run, needed if its config.json could not hold them (classes of a
            notebook); also for ones that it names as `module:name`, instead of `trust`.
        trust: whether names of the form `module:name` in config.json are imported and called.
    If a checkpoint is damaged, this warns and loads the one before it.

    Raises: FileNotFoundError if there is no run or no checkpoint; DamagedError (a ValueError) that names
        a file; ValueError for a name that needs `trust` to be imported.
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
        state = RunState.from_dict(saved.state)
        params = from_paths('variables', template, state.variables)
        episodes = state.counter['episodes']
    with reading(folder / CONFIG):
        resumed_at: int = getattr(state.counts, clock_of(config))
        summary = make_summary(config, str(folder), state.counts, episodes, resumed_at=resumed_at)
    return Loaded(experiment, params, built, summary, provenance.read(folder))


def stored_result(workdir: Workdir, experiment: Experiment) -> Result:
    """The Result of a finished run. Raises: Refused for a damaged checkpoint."""
    assert workdir.folder is not None and workdir.summary is not None
    with refusing(), refusing_checkpoints():
        loaded = load(workdir.folder, experiment.agent, experiment.environment)
    return Result(
        experiment=experiment,
        workdir=workdir.name,
        summary=workdir.summary,
        interrupted=False,
        params=loaded.params,
        logs=None,
        make_policy=loaded.make_policy,
    )
