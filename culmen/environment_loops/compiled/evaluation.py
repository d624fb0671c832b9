"""The host's side of the compiled evaluation. It plays the same episodes and seeds as `Evaluator`."""

import copy
import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.counts import fold_seed
from culmen.components.dispatch import compile_lazily
from culmen.components.dispatch import distinct
from culmen.core.environments import JaxEnvironment
from culmen.core.types import MAX_COUNT
from culmen.core.types import ActorCore
from culmen.core.types import Params
from culmen.environment_loops.compiled import episodes as compiled_episodes
from culmen.environment_loops.compiled import playing as compiled_playing
from culmen.environment_loops.compiled.carry import key_data
from culmen.environment_loops.compiled.lanes import lane_groups
from culmen.environment_loops.compiled.plan import Settings
from culmen.environment_loops.compiled.plan import as_arrays
from culmen.environment_loops.compiled.playing import Given
from culmen.environment_loops.compiled.playing import Playing
from culmen.environment_loops.compiled.playing import PlayPlan
from culmen.environment_loops.compiled.playing import PlayRecord
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Interrupted
from culmen.environment_loops.evaluation import Played
from culmen.environment_loops.evaluation import Teller
from culmen.environment_loops.evaluation import shares
from culmen.environment_loops.faults import Faults


class EvaluationRequest(NamedTuple):
    """A request to evaluate the parameters of one run once."""

    params: Params
    number: int  # of the evaluation in the run; seeds environments and keys, with `seed`
    actor_steps: int
    learner_steps: int  # updates behind the params
    seed: int = 0
    settings: Mapping[str, Any] = {}


class CompiledEvaluator:
    """Evaluates variables with an ActorCore in compiled calls; lanes and seeds equal those of `Evaluator`."""

    def __init__(
        self,
        core: ActorCore,
        environment: JaxEnvironment | Sequence[JaxEnvironment],
        episodes: int,
        rebuild: Callable[[Settings], ActorCore] | None = None,
        max_steps: int | None = None,
    ) -> None:
        """Makes a plan; computes nothing.

        Args:
            core: an agent's evaluator.
            environment: one, or several, as for `CompiledLoop`.
            episodes: of one evaluation.
            rebuild: builds the core for a run with settings; None: no run has settings.
            max_steps: after which an episode is truncated; None: no limit.
        """
        several = environment if isinstance(environment, Sequence) else (environment,)
        of_lanes = tuple(shares(episodes, len(several)))
        groups = lane_groups(several, len(of_lanes))
        plan = PlayPlan(core, groups, of_lanes, Faults(groups.spec), max_steps, rebuild)
        self._plan = plan
        self._begin = jax.jit(functools.partial(compiled_playing.begin, plan))
        self._compiled: dict[int | None, _Compiled] = {None: _Compiled(plan)}
        self._episodes = episodes
        self._seed = 0
        self._settings: Mapping[str, Any] = {}
        self._stop: Callable[[], bool] = lambda: False
        self._tell: Callable[[str], None] | None = None

    def of(
        self,
        seed: int,
        stop: Callable[[], bool] = lambda: False,
        settings: Mapping[str, Any] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> 'CompiledEvaluator':
        """The evaluator of one run; all runs share the compiled functions.

        Args:
            seed: of the experiment.
            stop: called between compiled calls; if it returns True, `Interrupted` is raised.
            settings: of the run.
            tell: called with the progress of an evaluation that takes long.
        """
        evaluator = copy.copy(self)
        evaluator._seed, evaluator._stop, evaluator._settings = seed, stop, settings or {}
        evaluator._tell = tell
        return evaluator

    def evaluate(
        self, params: Params, number: int, actor_steps: int, learner_steps: int
    ) -> EvaluationResult:
        """Plays the episodes. Args and Raises: as for `Evaluator.evaluate`."""
        request = EvaluationRequest(
            params, number, actor_steps, learner_steps, self._seed, self._settings
        )
        played = self._played()
        for ticks, record in self._calls(None, *self._prepare(request), [played]):
            self._add(played, record, ticks)
        return played.result()

    def evaluate_all(self, requests: Sequence[EvaluationRequest]) -> list[EvaluationResult]:
        """Plays the episodes of many runs side by side. Raises: Interrupted."""
        prepared = [self._prepare(request) for request in requests]
        playing, given = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *prepared)
        results = [self._played() for _ in requests]
        for ticks, record in self._calls(len(requests), playing, given, results):
            for run, played in enumerate(results):
                of_run = jax.tree_util.tree_map(lambda leaf, run=run: leaf[:, run], record)
                self._add(played, of_run, ticks)
        return [played.result() for played in results]

    def compile(self, params: Params) -> None:
        """Compiles `evaluate` without playing."""
        request = EvaluationRequest(params, 0, 0, 0, self._seed, self._settings)
        playing, given = self._prepare(request)
        self._compiled[None].play_on(playing._replace(left=jnp.zeros_like(playing.left)), given)

    @property
    def num_compilations(self) -> int:
        """1 for all single evaluations, and 1 more for each number of evaluations side by side."""
        return sum(int(each.play_on._cache_size()) for each in self._compiled.values())

    def _prepare(self, request: EvaluationRequest) -> tuple[Playing, Given]:
        seed, number = request.seed, request.number
        lanes = range(self._plan.num_lanes)
        lane_seeds = [fold_seed(seed, 'evaluator', lane, number) for lane in lanes]
        actor_seed = fold_seed(fold_seed(seed, 'evaluation', number), 'init', 1)
        settings = as_arrays(request.settings)
        begun, faults = self._begin(
            np.uint32(actor_seed), np.asarray(lane_seeds, np.uint32), settings
        )
        self._plan.faults.check(faults)
        given = Given(
            request.params,
            key_data(fold_seed(seed, 'evaluator', number)),
            np.int32(min(request.actor_steps, MAX_COUNT)),
            np.int32(min(request.learner_steps, MAX_COUNT)),
            settings,
        )
        return distinct(begun), given

    def _calls(
        self, num_runs: int | None, playing: Playing, given: Given, results: Sequence[Played]
    ) -> Iterator[tuple[int, PlayRecord]]:
        """Makes calls until all episodes are played; yields (ticks, record) of each. Raises: Interrupted."""
        if num_runs not in self._compiled:
            plan = dataclasses.replace(self._plan, num_runs=num_runs)
            self._compiled[num_runs] = _Compiled(plan)
        compiled = self._compiled[num_runs]
        teller = Teller(self._tell, self._episodes * len(results))
        done = 0
        while not all(played.is_over for played in results):
            if self._stop():
                raise Interrupted
            was_cut = np.asarray(playing.cut).any()
            call = (compiled.play_anew if was_cut else compiled.play_on)(playing, given)
            playing, ticks = call.playing, int(call.ticks)
            yield ticks, jax.tree_util.tree_map(np.asarray, call.record)
            done += ticks
            teller.update(sum(played.count for played in results), done)

    def _played(self) -> Played:
        groups = self._plan.groups
        return Played(
            self._plan.shares, (), tuple(groups.metrics), num_environments=len(groups.environments)
        )

    def _add(self, played: Played, record: PlayRecord, ticks: int) -> None:
        """Adds the episodes of a call. Raises: EnvironmentFailure, ActionFailure."""
        self._plan.faults.check(record.faults[:ticks])
        groups = self._plan.groups
        for tick, episode in compiled_episodes.iterate(
            record.ended, ticks, groups.metrics, groups.columns_of_lanes
        ):
            played.add(episode, bool(record.cut[tick, episode.lane]))


class _Compiled:
    """The jitted functions of a plan; each is compiled at its first call."""

    def __init__(self, plan: PlayPlan) -> None:
        # Each call takes over what is played: the actor's state may be large.
        self.play_on = compile_lazily(
            functools.partial(compiled_playing.play_on, plan), donate_argnums=0
        )
        self.play_anew = compile_lazily(
            functools.partial(compiled_playing.play_anew, plan), donate_argnums=0
        )
