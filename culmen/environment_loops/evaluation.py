"""Evaluation: an evaluator in environments, lanes and keys of its own. It never touches training.

Every evaluation builds its environments anew, seeded by (seed, lane, number of the evaluation), so a
resumed run needs only that number. Each lane plays a fixed share of the episodes: to take the first
that finish would favour short ones.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import dm_env
import numpy as np
from numpy.typing import NDArray

from culmen.components.actors import Actor
from culmen.components.keys import Contexts
from culmen.components.keys import fold_seed
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.environment_loops.batched import batch as make_batch

MAX_LANES = 16


def shares(episodes: int, num_lanes: int) -> list[int]:
    """How many of the episodes each lane plays."""
    return [episodes // num_lanes + (lane < episodes % num_lanes) for lane in range(num_lanes)]


class EvaluationResult(NamedTuple):
    """Returns and lengths of the episodes of an evaluation, by lane, then in order."""

    returns: NDArray[Any]  # float64[episodes] or [episodes, leaves] where reward is a nest
    lengths: NDArray[Any]  # int64[episodes]


class Interrupted(Exception):
    """An evaluation was stopped before its end."""


class Held:
    """Variables that never change."""

    def __init__(self, params: Params) -> None:
        self._params = params

    def get_variables(self, have: int | None) -> tuple[int, Params] | None:
        return (0, self._params) if have is None else None


class Evaluator:
    """Evaluates variables with an ActorCore."""

    def __init__(
        self,
        core: ActorCore,
        make_environment: Callable[[int], dm_env.Environment],
        spec: EnvironmentSpec,
        seed: int,
        episodes: int,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Makes an evaluator.

        Args:
            core: an agent's evaluator.
            make_environment: seed -> environment.
            spec: of the environments.
            seed: of the experiment.
            episodes: of one evaluation.
            stop: asked each tick; True raises `Interrupted`.
        """
        self._make_environment = make_environment
        self._spec = spec
        self._seed = seed
        self._episodes = episodes
        self._stop = stop
        num_lanes = min(episodes, MAX_LANES)
        self._lanes = Lanes(np.arange(num_lanes, dtype=np.int32), num_lanes)
        self._shares = shares(episodes, num_lanes)
        self._core = core
        self._actor: Actor | None = None

    def evaluate(self, params: Params, number: int, actor_steps: int = 0) -> EvaluationResult:
        """Plays the episodes.

        Args:
            params: the variables to evaluate.
            number: of this evaluation in the run; gives its seeds.
            actor_steps: of the training so far, for schedules.
        Raises: Interrupted, if told to stop.
        """
        actor = self._begin(params, number, actor_steps)
        environments = [
            self._make_environment(fold_seed(self._seed, 'evaluator', lane, number))
            for lane in range(self._lanes.total)
        ]
        batch = make_batch(environments, self._spec)
        played: list[list[tuple[float | list[float], int]]] = [[] for _ in environments]
        try:
            timestep = batch.reset()
            while any(len(p) < share for p, share in zip(played, self._shares, strict=True)):
                if self._stop():
                    raise Interrupted
                timestep = batch.step(actor.select_action(timestep))
                for episode in batch.episodes:
                    if len(played[episode.lane]) < self._shares[episode.lane]:
                        played[episode.lane].append(
                            (episode.episode_return, episode.episode_length)
                        )
                        if len(played[episode.lane]) == self._shares[episode.lane]:
                            batch.freeze(episode.lane)
        finally:
            batch.close()
        flat = [episode for lane in played for episode in lane]
        return EvaluationResult(
            np.asarray([r for r, _ in flat], np.float64), np.asarray([n for _, n in flat], np.int64)
        )

    @property
    def num_compilations(self) -> int:
        """How often the policy was compiled: 1 for any number of evaluations."""
        return 0 if self._actor is None else self._actor.num_compilations

    def _begin(self, params: Params, number: int, actor_steps: int) -> Actor:
        contexts = Contexts(self._seed, 'evaluator', number)
        init_seed = fold_seed(self._seed, 'evaluation', number)
        if self._actor is None:
            self._actor = Actor(self._core, Held(params), self._lanes, contexts, init_seed)
        else:
            self._actor.restart(Held(params), contexts, init_seed)
        self._actor.actor_steps = actor_steps
        return self._actor
