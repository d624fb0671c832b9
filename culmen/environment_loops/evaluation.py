"""Evaluation in environments, lanes and keys of its own. It never changes training.

Every evaluation builds new environments, seeded by (seed, lane, number of the evaluation), so a resumed
run needs only that number. Each lane plays a fixed share of the episodes: taking the first ones that
finish would favour short episodes.
"""

import math
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import dm_env
import numpy as np
from numpy.typing import NDArray

from culmen.components.actors import Actor
from culmen.components.counts import fold_seed
from culmen.components.dispatch import Contexts
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.core.types import Version
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.batched import reward_names
from culmen.environment_loops.batching import batch as make_batch

MakeEnvironment: TypeAlias = Callable[[int], dm_env.Environment]

MAX_LANES = 16
LONG_SECONDS = 5.0  # of an evaluation, before it reports its progress
_TELL_SECONDS = 1.0


def shares(episodes: int, num_environments: int = 1) -> list[int]:
    """How many of the episodes each lane of an evaluation plays.

    Lane i has environment i modulo their number. All have as many lanes, and as many episodes but for one.
    """
    by_environment = _share(episodes, num_environments)
    most = max(MAX_LANES // num_environments, 1)
    # An environment without an episode (Evaluation.episodes is never that small) has no lane.
    lanes = max(min(most, by_environment[-1]), 1)
    by_lane = [_share(each, lanes) for each in by_environment]
    return [of_environment[lane] for lane in range(lanes) for of_environment in by_lane]


def _share(episodes: int, parts: int) -> list[int]:
    return [episodes // parts + (part < episodes % parts) for part in range(parts)]


class EvaluationResult(NamedTuple):
    """Returns and lengths of the episodes of an evaluation, by lane, then in order."""

    returns: NDArray[Any]  # float64[episodes], or [episodes, numbers] for a nest of rewards
    lengths: NDArray[Any]  # int64[episodes]
    truncated: NDArray[Any]  # bool[episodes]: whether `max_steps` ended it
    reward_names: tuple[str, ...] = ()  # names of the numbers in a nest of rewards
    # Named numbers of the environments by column: float64[episodes].
    metrics: Mapping[str, NDArray[Any]] = MappingProxyType({})
    # The number of each episode's environment: int64[episodes]; None: there is only one.
    environments: NDArray[Any] | None = None


class Played:
    """The episodes that an evaluation has played, by lane."""

    def __init__(
        self,
        of_lanes: Sequence[int],
        reward_names: tuple[str, ...] = (),
        metric_names: Sequence[str] = (),
        num_environments: int = 1,
    ) -> None:
        """Args: of_lanes: how many episodes each lane plays; metric_names: columns of named numbers."""
        self._num_environments = num_environments
        self._shares = of_lanes
        self._reward_names = reward_names
        self._metric_names = metric_names
        self._episodes: list[list[tuple[Episode, bool]]] = [[] for _ in of_lanes]

    @property
    def is_over(self) -> bool:
        """Whether every lane has played its share."""
        return all(map(self.has_played, range(len(self._shares))))

    @property
    def count(self) -> int:
        """Episodes so far."""
        return sum(map(len, self._episodes))

    def has_played(self, lane: int) -> bool:
        """Whether a lane has played its share."""
        return len(self._episodes[lane]) >= self._shares[lane]

    def add(self, episode: Episode, truncated: bool) -> None:
        """Adds an episode, unless its lane has already played its share."""
        if not self.has_played(episode.lane):
            self._episodes[episode.lane].append((episode, truncated))

    def result(self) -> EvaluationResult:
        """The result over all episodes."""
        flat = [each for lane in self._episodes for each in lane]
        return EvaluationResult(
            np.asarray([episode.episode_return for episode, _ in flat], np.float64),
            np.asarray([episode.episode_length for episode, _ in flat], np.int64),
            np.asarray([truncated for _, truncated in flat], bool),
            self._reward_names,
            {
                name: np.asarray(
                    [episode.metrics.get(name, np.nan) for episode, _ in flat], np.float64
                )
                for name in self._metric_names
            },
            None
            if self._num_environments == 1
            else np.asarray(
                [episode.lane % self._num_environments for episode, _ in flat], np.int64
            ),
        )


class Teller:
    """Reports the progress of an evaluation that takes long."""

    def __init__(self, tell: Callable[[str], None] | None, episodes: int) -> None:
        """Args: tell: called with each report; None: no reports. episodes: of the whole evaluation."""
        self._tell = tell
        self._episodes = episodes
        self._next = math.inf if tell is None else time.monotonic() + LONG_SECONDS

    def update(self, played: int, steps: int) -> None:
        """Reports now if it is time to. Args: steps: that each lane took."""
        if time.monotonic() >= self._next and self._tell is not None:
            self._next = time.monotonic() + _TELL_SECONDS
            self._tell(f'evaluating: {played} of {self._episodes} episodes, {steps:,} steps each')


class Interrupted(Exception):
    """An evaluation was stopped before its end."""


class Held:
    """Variables that never change."""

    def __init__(self, params: Params, learner_steps: int = 0) -> None:
        """Args: learner_steps: updates behind the variables."""
        self._held = learner_steps, params

    def get_variables(self, have: Version | None) -> tuple[Version, Params] | None:
        return self._held if have is None else None


class Evaluator:
    """Evaluates variables with an ActorCore."""

    def __init__(
        self,
        core: ActorCore,
        make_environment: MakeEnvironment | Sequence[MakeEnvironment],
        spec: EnvironmentSpec,
        seed: int,
        episodes: int,
        stop: Callable[[], bool] = lambda: False,
        *,
        max_steps: int | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Makes an evaluator.

        Args:
            core: an agent's evaluator.
            make_environment: seed -> environment; of several of the same spec, lane i has the one i modulo
                their number.
            spec: of the environments.
            seed: of the experiment.
            episodes: of one evaluation.
            stop: called each tick; if it returns True, `Interrupted` is raised.
            max_steps: after which an episode is truncated; None: no limit.
            tell: called with the progress of an evaluation that takes long.
        """
        self._makes = (make_environment,) if callable(make_environment) else tuple(make_environment)
        self._spec = spec
        self._seed = seed
        self._episodes = episodes
        self._stop = stop
        self._max_steps = max_steps
        self._tell = tell
        self._shares = shares(episodes, len(self._makes))
        num_lanes = len(self._shares)
        self._lanes = Lanes(np.arange(num_lanes, dtype=np.int32), num_lanes)
        self._core = core
        self._actor: Actor | None = None

    def evaluate(
        self, params: Params, number: int, actor_steps: int, learner_steps: int
    ) -> EvaluationResult:
        """Plays the episodes.

        Args:
            params: the variables to evaluate.
            number: of this evaluation in the run; gives its seeds.
            actor_steps: of the training so far, for schedules.
            learner_steps: updates behind the variables.
        Raises: Interrupted, if `stop` returns True.
        """
        actor = self._begin(Held(params, learner_steps), number)
        environments = [
            self._makes[lane % len(self._makes)](fold_seed(self._seed, 'evaluator', lane, number))
            for lane in range(self._lanes.total)
        ]
        batch = make_batch(environments, self._spec, self._max_steps)
        played = Played(
            self._shares, reward_names(self._spec), batch.metric_names, len(self._makes)
        )
        teller = Teller(self._tell, self._episodes)
        ticks = 0
        try:
            timestep = batch.reset()
            while not played.is_over:
                if self._stop():
                    raise Interrupted
                timestep = batch.step(actor.select_action(timestep, actor_steps))
                ticks += 1
                for episode in batch.episodes:
                    played.add(episode, batch.was_cut(episode.lane))
                    if played.has_played(episode.lane):
                        batch.freeze(episode.lane)
                teller.update(played.count, ticks)
        finally:
            batch.close()
        return played.result()

    @property
    def num_compilations(self) -> int:
        """How often the policy was compiled: once for any number of evaluations."""
        return 0 if self._actor is None else self._actor.num_compilations

    def _begin(self, variables: Held, number: int) -> Actor:
        contexts = Contexts(self._seed, 'evaluator', number)
        init_seed = fold_seed(self._seed, 'evaluation', number)
        if self._actor is None:
            self._actor = Actor(self._core, variables, self._lanes, contexts, init_seed)
        else:
            self._actor.restart(variables, contexts, init_seed)
        return self._actor
