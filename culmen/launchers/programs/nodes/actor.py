"""The node that acts in lanes of environments. It claims steps from the counter before it takes them.

At the point of a tick where the loop of one process runs its learner, this node checks whether it has a
claim for the next step, whether its parameters are new enough for that step, and whether it has to pause
or to leave.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from culmen.components.actors import Actor
from culmen.components.counts import StepCounter
from culmen.components.counts import fold_seed
from culmen.components.dispatch import Contexts
from culmen.components.dispatch import run_small_networks_inline
from culmen.components.replay.served import ServedWriter
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.experience import Replay
from culmen.core.experience import live
from culmen.core.experience import tables
from culmen.core.experiment import Experiment
from culmen.core.rules import is_older
from culmen.core.rules import total
from culmen.core.types import LAST
from culmen.core.types import Params
from culmen.core.types import Version
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.batched import reward_names
from culmen.environment_loops.batching import batch as make_batch
from culmen.environment_loops.host import EnvironmentLoop
from culmen.launchers.building import Built
from culmen.launchers.building import build
from culmen.launchers.building import trace
from culmen.launchers.devices import find_devices
from culmen.launchers.factories import labels_of
from culmen.launchers.programs.nodes.counter import HOLD
from culmen.launchers.programs.nodes.counter import OVER
from culmen.launchers.programs.nodes.counter import Grant
from culmen.launchers.programs.nodes.replay import REVERB
from culmen.launchers.programs.nodes.replay import connect
from culmen.launchers.programs.nodes.replay import prepare
from culmen.launchers.programs.remote import Remote
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.stops import Stopped
from culmen.launchers.rows import actor_row
from culmen.launchers.schedule import Counts

_CLAIM_SECONDS = 0.1  # of stepping that a claim should last for
MAX_CLAIM = 16  # ticks
_AGAIN_SECONDS = 0.005  # until the next request, while there is nothing to do
_VERSION_SECONDS = 0.0005  # between requests while it waits for parameters
_GIVE_UP_SECONDS = 1.0  # of waiting in the table after the run is over
_GIVE_UP_LOOK_SECONDS = 0.2  # between checks whether it is


class ActorNode:
    """Acts in lanes of environments until the budget is used up."""

    def __init__(
        self,
        experiment: Experiment,
        index: int,
        num_actors: int,
        *,
        tables: str = REVERB,
        variables_every: int,
        state: Mapping[str, Any] | None,
        resumed_at: int,
        life: int = 0,
        device: str | None = None,
        stop: Stop,
        counter: Remote,
        learner: Remote,
        replay: Remote,
    ) -> None:
        """Makes the environments and the worker.

        Args:
            experiment: what is run.
            index, num_actors: the index of this actor, and how many there are.
            tables: the kind of the replay's server.
            variables_every: ticks between requests for new parameters; 1 where a Replay has max_lag.
            state: of the actor, from a checkpoint.
            resumed_at: actor steps at that checkpoint; the environments are new and have other seeds.
            life: how often this launch has started this actor again. Each life has seeds of its own, and goes
                on with the state with which the actor last paused; its episodes begin anew.
            device: where to act, by name; None: where JAX puts it.
            stop: ends every wait; counter, learner, replay: the other nodes.
        """
        prepare(tables)
        built = build(experiment, index, num_actors, resumed_at, life)
        shapes = trace(built.parts, built.spec, built.lanes)
        run_small_networks_inline(shapes.params)
        self._index = index
        self._stop = stop
        self._counter = counter
        self._learner = learner
        self._replay = replay
        self._over_since: float | None = None
        self._ask_at = 0.0
        self._writer = self._make_writer(built, shapes.row_spec, tables, life > 0)
        every = 1 if _has_max_lag(built.parts.experience) else variables_every
        self._variables = _Variables(learner, self._writer, every)
        seed, place = experiment.seed, (index, life) if life else (index,)
        self._actor = Actor(
            built.parts.actor,
            self._variables,
            built.lanes,
            Contexts(seed, 'actor', *place),
            fold_seed(seed, 'actor', *place),
            writer=self._writer,
            device=None if device is None else find_devices('actor_device', device)[0],
        )
        if (kept := counter.get_actor(index) if life else state) is not None:
            self._actor.set_state(dict(kept))
        self._taken = _Taken(resumed_at)
        self._reward_names = reward_names(built.spec)
        self._labels = labels_of(experiment)
        self._lane_index = built.lanes.index.tolist()
        self._environment = make_batch(built.environments, built.spec)
        self._loop = EnvironmentLoop(
            self._environment, self._actor, self._taken,
            on_episode=self._on_episode, on_tick=self._on_tick,
        )  # fmt: skip
        self._num_lanes = len(built.lanes.index)
        self._rows: list[dict[str, Any]] = []
        self._begin_to_count()

    def _make_writer(self, built: Built, row_spec: RowSpec, tables: str, again: bool) -> '_Writer':
        start = self._learner.get_start(again)
        written = live(built.parts.experience)
        assert written is not None
        return _Writer(
            written,
            row_spec,
            built.lanes,
            connect(tables, self._replay, self._gives_up),
            first_windows={
                name: of_lanes[built.lanes.index]
                for name, of_lanes in start['first_windows'].items()
            },
            tell_ended=self._learner.tell_ended,
            gates=self._learner,
        )

    def _begin_to_count(self) -> None:
        self._granted = 0  # steps granted at the last exchange
        self._total = 0  # steps of this actor
        self._ticks = 0
        self._ticks_at = (time.perf_counter(), 0)
        self._tick_seconds = _CLAIM_SECONDS
        self._waited = {'for the table': 0.0, 'for claims': 0.0, 'for parameters': 0.0}
        self._rate = 0.0
        self._rate_from = (time.monotonic(), 0)

    def run(self) -> None:
        """Acts until there is nothing left to claim."""
        begin = time.perf_counter()
        try:
            self._loop.run()
            self._counter.leave(self._index, self._actor.get_state())
            self._counter.report(
                f'actor-{self._index}',
                {
                    'seconds': time.perf_counter() - begin,
                    'waited': self._waited,
                    'spent': self._loop.timings,
                    'actor_steps': self._total,
                    'traffic': {
                        'counter': self._counter.traffic(),
                        'learner': self._learner.traffic(),
                        'replay': self._replay.traffic(),
                    },
                },
            )
            self._writer.close()
        finally:
            self._environment.close()

    def _on_tick(self) -> bool:
        """Waits until the next step may be taken. Returns: whether to end instead."""
        if self._stop():
            raise Stopped
        self._ticks += 1
        step_type = self._loop.get_state()['timestep'].step_type
        if self._writer.held is not None:
            self._variables.look()  # with newer ones a lane that waits may begin
        if self._writer.awaits_updates:
            self._variables.await_updates()
        while True:
            # A lane that waits for parameters holds no claims: the actors it waits for may need them.
            late = self._variables.are_late() or self._all_wait()
            held = False if self._writer.held is None else self._writer.held
            need = int(np.count_nonzero((step_type != LAST) & ~np.asarray(held)))
            if not late and need <= self._granted - self._taken.steps:
                return False
            grant = self._exchange(need, 0 if late else self._claim())
            begin = time.perf_counter()
            if grant.phase == OVER:
                return True
            if grant.phase == HOLD:
                self._counter.hold(self._index, self._actor.get_state())
                while self._counter.get_phase() == HOLD:
                    self._stop.sleep(_AGAIN_SECONDS)
                self._waited['for claims'] += time.perf_counter() - begin
            elif late:
                self._await_version()
                self._waited['for parameters'] += time.perf_counter() - begin
            elif not grant.steps and need:
                self._stop.sleep(_AGAIN_SECONDS)
                self._waited['for claims'] += time.perf_counter() - begin

    def _all_wait(self) -> bool:
        """Whether all lanes have to wait at FIRST. Asks for those that have not begun."""
        self._writer.ask_gates(self._variables.version)
        held = self._writer.held
        return held is not None and bool(held.all())

    def _await_version(self) -> None:
        """Waits until the parameters are new enough, or until it is time to ask the counter again."""
        until = time.monotonic() + 10 * _AGAIN_SECONDS
        while time.monotonic() < until:
            self._variables.look()
            if not (self._variables.are_late() or self._all_wait()):
                return
            self._stop.sleep(_VERSION_SECONDS)

    def _claim(self) -> int:
        """Steps for some milliseconds, so that the counter is asked neither too often nor too late."""
        ticks = max(1, min(int(_CLAIM_SECONDS / max(self._tick_seconds, 1e-9)), MAX_CLAIM))
        return ticks * self._num_lanes

    def _exchange(self, need: int, want: int) -> Grant:
        """Reports the steps taken, once their items are stored, and claims new ones."""
        now = time.perf_counter()
        since, ticks = self._ticks_at
        if self._ticks > ticks:
            self._tick_seconds = (now - since) / (self._ticks - ticks)
        stored = self._writer.flush()
        flushed = time.perf_counter()
        if not stored:
            if self._stop():
                raise Stopped
            return Grant(0, 0, OVER)
        steps, episodes = self._taken.take()
        self._granted = 0
        grant: Grant = self._counter.exchange(self._index, steps, episodes, self._rows, need, want)
        self._rows = []
        self._granted = grant.steps
        self._total += steps
        self._taken.actor_steps = grant.actor_steps
        end = time.perf_counter()
        self._waited['for the table'] = self._writer.waited
        self._waited['for claims'] += end - flushed
        self._ticks_at = (end, self._ticks)
        self._measure_rate()
        return grant

    def _measure_rate(self) -> None:
        since, steps = self._rate_from
        now = time.monotonic()
        if now - since >= 0.5:
            self._rate = (self._total - steps) / (now - since)
            self._rate_from = (now, self._total)

    def _gives_up(self) -> bool:
        """Whether to stop waiting for the table: the run has been over for a second, so nothing will draw."""
        if self._stop():
            return True
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + _GIVE_UP_LOOK_SECONDS
            if self._over_since is None and self._counter.get_phase() == OVER:
                self._over_since = now
        return self._over_since is not None and now - self._over_since >= _GIVE_UP_SECONDS

    def _on_episode(self, episode: Episode, metrics: Mapping[str, float]) -> None:
        counts = Counts(self._loop.actor_steps, max(total(self._variables.version), 0))
        label = None
        if self._labels:
            label = self._labels[self._lane_index[episode.lane] % len(self._labels)]
        self._rows.append(
            actor_row(counts, episode, self._rate, self._reward_names, metrics, label)
        )


class _Taken(StepCounter):
    """Counts the steps and episodes that have not been reported to the program's counter yet."""

    def __init__(self, actor_steps: int) -> None:
        super().__init__(actor_steps)
        self.steps = 0

    def add(self, actor_steps: int, episodes: int) -> None:
        super().add(actor_steps, episodes)
        self.steps += actor_steps

    def take(self) -> tuple[int, int]:
        """(steps, episodes) since the last call."""
        taken, self.steps, self.episodes = (self.steps, self.episodes), 0, 0
        return taken


class _Writer(ServedWriter):
    """Measures how long it waits for items to be stored, when the learner is behind or the server busy."""

    waited = 0.0

    def flush(self) -> bool:
        begin = time.perf_counter()
        stored = super().flush()
        self.waited += time.perf_counter() - begin
        return stored


class _Variables:
    """Gives the actor the last parameters fetched. Now and then it asks the learner for newer ones."""

    def __init__(self, learner: Remote, writer: ServedWriter, every: int) -> None:
        self._learner = learner
        self._writer = writer
        self._every = every
        self._ticks = 0
        self._params: Params = None
        self.version: Version = -1
        # Of the learner: one that is started again makes versions of the same numbers anew, from older ones.
        self._life = 0
        self._is_given = True  # whether the actor has the newest that this has
        self._awaited: int | None = (
            None  # a look of the learner at its tables has to come after this one
        )

    def await_updates(self) -> None:
        """Makes these parameters late until the learner has made all updates that are due now."""
        self._awaited, _ = self._learner.get_looks()

    def are_late(self) -> bool:
        """Whether newer parameters have to come before the next action."""
        if self._awaited is not None:
            _, settled = self._learner.get_looks()
            if settled <= self._awaited:
                return True
            self._awaited = None
            self.look()
        return is_older(self.version, self._writer.needed_version)

    def look(self) -> None:
        """Asks the learner for newer parameters."""
        news = self._learner.get_variables(self.version, self._life)
        if news is not None:
            self.version, self._params, largest, self._life = news
            self._is_given = False
            self._writer.set_largest_priorities(largest)

    def get_variables(self, have: Version | None) -> tuple[Version, Params] | None:
        if self._ticks % self._every == 0:
            self.look()
        self._ticks += 1
        if self._is_given and have == self.version:
            return None
        self._is_given = True
        return self.version, self._params


def _has_max_lag(experience: Any) -> bool:
    """Whether a table bounds the lag of hand-offs."""
    return any(
        isinstance(table, Replay) and table.max_lag is not None
        for table in tables(experience).values()
    )
