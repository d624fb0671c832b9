"""The loop inside one compiled program: environments written in JAX, the actor, the tables and the learner.

It reads an agent's Parts and nothing else, and keeps the order of every loop (culmen.core.types). A tick is

    act -> step the environments -> observe -> the updates that are due

so between two ticks the time step is observed and not acted on: there the program stops, is saved,
evaluated and goes on, at any tick and with the same bits. Hand-offs are those of lag 0: nothing is waited for
inside one program, so priorities are written before the next draw and actors act with the newest
variables. The host is told of every tick of a call at its end.
"""

import copy
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components import wide
from culmen.components.actors.actor import extras_spec
from culmen.components.compiling import compile_lazily
from culmen.components.environments import functional
from culmen.components.keys import fold_seed
from culmen.components.learners.learner import keep_like
from culmen.components.replay import sample_spec
from culmen.components.replay.device import DeviceTables
from culmen.components.replay.device.tables import TablesState
from culmen.components.wide import Wide
from culmen.core.environments import JaxEnvironment
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import zeros_like
from culmen.core.types import ActorCore
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Parts
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.evaluation import MAX_LANES
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Interrupted
from culmen.environment_loops.evaluation import shares

_REPORTED = 2**16  # time steps of all lanes that one call can tell of
_UNLIMITED = 2**31 - 1


class Sums(NamedTuple):
    """The running return and length of each lane. Two floats make one sum of 48 bits."""

    high: jax.Array  # float32[B]
    low: jax.Array  # float32[B]
    length: jax.Array  # int32[B]


class Keys(NamedTuple):
    """What a seed gives: uint32[2] each."""

    actor: jax.Array
    learner: jax.Array
    table: jax.Array


class Carry(NamedTuple):
    """All of a run between two ticks."""

    lanes: functional.Lane  # [B, ...]
    timestep: TimeStep  # [B, ...]: observed, not acted on
    actor: Any
    training_state: Any
    tables: TablesState
    sums: Sums
    metrics: dict[str, jax.Array]  # float32[]: of the last update
    non_finite: jax.Array  # int32[]: the first update whose loss was not finite, 0 for none
    ticks: Wide  # calls of the actor
    actor_steps: Wide
    learner_steps: Wide
    keys: Keys


class Learning(NamedTuple):
    """What the updates of a tick read and write."""

    training_state: Any
    items: dict[str, Any]
    metrics: dict[str, jax.Array]
    non_finite: jax.Array
    learner_steps: Wide
    left: jax.Array  # int32[]: updates that the budget leaves


class Limits(NamedTuple):
    """Where a call ends, at the first that is reached: int32[] each."""

    ticks: Any
    actor_steps: Any
    updates: Any


class Ended(NamedTuple):
    """The episodes that ended at a tick, or [ticks, ...] of several."""

    high: jax.Array  # float32[B]
    low: jax.Array  # float32[B]
    length: jax.Array  # int32[B]; 0: none


class Report(NamedTuple):
    """What happened at each tick of a call: [max_ticks, ...], of which the first ones are told of."""

    ended: Ended
    actor_steps: jax.Array  # int32[]: since the call began
    updates: jax.Array  # int32[]: since the call began
    metrics: jax.Array  # float32[metrics]: of the last update, by name


class CompiledLoop:
    """The program of an experiment: made once, and run by any number of seeds one after another."""

    def __init__(
        self,
        environment: JaxEnvironment,
        parts: Parts,
        lanes: Lanes,
    ) -> None:
        """Plans; computes nothing.

        Args:
            environment: of a scalar reward and a scalar discount.
            parts: the agent, built.
            lanes: of its one actor.
        Raises: ValueError that names what of the environment or of the experience can't be compiled.
        """
        self._environment = environment
        self._parts = parts
        self._lanes = lanes
        self.num_lanes = len(lanes.index)
        spec = environment.spec()
        if getattr(spec.reward, 'shape', None) != ():
            raise ValueError(
                f'reward must be one number in a compiled program, got {spec.reward}; the local '
                f'launcher takes nests of them.'
            )
        action, extras = self._shapes(spec)
        self.tables = DeviceTables(parts.experience, spec, action, extras, self.num_lanes)
        samples = sample_spec(parts.experience, spec, action, extras, self.num_lanes)
        self.metric_names = self._metric_names(samples)
        self.max_ticks = max(_REPORTED // self.num_lanes, 16)
        self._begin = jax.jit(self._begin_run)
        self._run = compile_lazily(self._run_ticks, donate_argnums=0)
        self._variables = jax.jit(lambda state: self._parts.learner.variables(state))

    def _shapes(self, spec: EnvironmentSpec) -> tuple[Nest, Nest]:
        """Shapes and dtypes of one lane's (action, extras)."""
        learner = self._parts.learner
        params = jax.eval_shape(lambda: learner.variables(learner.init(jax.random.key(0))))
        first = TimeStep(
            np.zeros(self.num_lanes, np.int32),
            *(
                zeros_like(nest, (self.num_lanes,))
                for nest in (spec.reward, spec.discount, spec.observation)
            ),
        )
        return extras_spec(self._parts.actor, params, first, self._lanes)

    def _metric_names(self, samples: Any) -> tuple[str, ...]:
        """The names of the metrics, 'loss' first."""

        def update(key: jax.Array, samples: Any) -> Metrics:
            context = Context(key, jnp.int32(0), jnp.int32(0))
            return self._parts.learner.update(self._parts.learner.init(key), samples, context)[1]

        metrics = jax.eval_shape(update, jax.random.key(0), samples)
        if 'loss' not in metrics:
            raise ValueError(f"an update's metrics must hold 'loss', got {sorted(metrics)}.")
        return ('loss', *sorted(set(metrics) - {'loss'}))

    # The program.

    def _begin_run(self, init_key: Any, actor_key: Any, lane_keys: Any, keys: Keys) -> Carry:
        learner, actor = self._parts.learner, self._parts.actor
        lanes, timestep = jax.vmap(lambda key: functional.begin(self._environment, key))(lane_keys)
        index = Lanes(jnp.asarray(self._lanes.index), self._lanes.total)
        zeros = jnp.zeros(self.num_lanes, jnp.float32)
        zero = Wide(jnp.uint32(0), jnp.uint32(0))
        carry = Carry(
            lanes,
            timestep,
            actor.init(jax.random.wrap_key_data(actor_key), index),
            learner.init(jax.random.wrap_key_data(init_key)),
            self.tables.init(),
            Sums(zeros, zeros, jnp.zeros(self.num_lanes, jnp.int32)),
            {name: jnp.float32(0) for name in self.metric_names},
            jnp.int32(0),
            zero,
            zero,
            zero,
            keys,
        )
        return carry._replace(tables=self.tables.observe(carry.tables, timestep))

    def _run_ticks(self, carry: Carry, limits: Limits) -> tuple[Carry, Report, jax.Array]:
        """Ticks up to a limit: (carry, report, int32[3]: ticks, actor steps and updates of this call)."""
        report = jax.tree_util.tree_map(
            lambda leaf: jnp.zeros((self.max_ticks, *leaf.shape), leaf.dtype),
            jax.eval_shape(lambda carry: self._tick(carry, jnp.int32(0))[1], carry),
        )

        def goes_on(state: tuple[Carry, Report, jax.Array]) -> jax.Array:
            ticks, actor_steps, updates = state[2]
            return (
                (ticks < limits.ticks)
                & (actor_steps < limits.actor_steps)
                & (updates < limits.updates)
            )

        def tick(state: tuple[Carry, Report, jax.Array]) -> tuple[Carry, Report, jax.Array]:
            carry, report, done = state
            carry, row = self._tick(carry, limits.updates - done[2])
            row = row._replace(actor_steps=done[1] + row.actor_steps, updates=done[2] + row.updates)
            report = jax.tree_util.tree_map(
                lambda rows, new: jax.lax.dynamic_update_index_in_dim(rows, new, done[0], 0),
                report,
                row,
            )
            return carry, report, jnp.stack([done[0] + 1, row.actor_steps, row.updates])

        return jax.lax.while_loop(goes_on, tick, (carry, report, jnp.zeros(3, jnp.int32)))

    def _tick(self, carry: Carry, updates_left: jax.Array) -> tuple[Carry, Report]:
        """Act, step, observe, learn."""
        params = self._parts.learner.variables(carry.training_state)
        version = wide.saturated(carry.learner_steps)
        context = Context(
            _key(carry.keys.actor, carry.ticks), wide.saturated(carry.actor_steps), version
        )
        action, actor, extras = self._parts.actor.select_action(
            params, carry.timestep, carry.actor, context
        )
        actor = keep_like('actor_state', carry.actor, actor)
        tables = self.tables.act(carry.tables, action, extras, version)
        lanes, timestep = jax.vmap(
            lambda lane, action: functional.advance(self._environment, lane, action)
        )(carry.lanes, action)
        tables = self.tables.observe(tables, timestep)
        sums, ended = _sum(carry.sums, timestep)
        new_steps = jnp.sum(~timestep.first(), dtype=jnp.int32)
        actor_steps = wide.add(carry.actor_steps, new_steps)
        learning = self._learn(
            carry._replace(tables=tables), wide.saturated(actor_steps), updates_left
        )
        metrics = [learning.metrics[name] for name in self.metric_names]
        row = Report(ended, new_steps, updates_left - learning.left, jnp.stack(metrics))
        return Carry(
            lanes,
            timestep,
            actor,
            learning.training_state,
            TablesState(tables.rows, learning.items),
            sums,
            learning.metrics,
            learning.non_finite,
            wide.add(carry.ticks, 1),
            actor_steps,
            learning.learner_steps,
            carry.keys,
        ), row

    def _learn(self, carry: Carry, actor_steps: jax.Array, updates_left: jax.Array) -> Learning:
        """Makes the updates that are due."""
        rows = carry.tables.rows

        def is_due(state: Learning) -> jax.Array:
            return self.tables.due(state.items) & (state.left > 0)

        def update(state: Learning) -> Learning:
            of_draw = _key(carry.keys.table, state.learner_steps)
            items, keys, samples = self.tables.draw(rows, state.items, of_draw)
            context = Context(
                _key(carry.keys.learner, state.learner_steps),
                actor_steps,
                wide.saturated(state.learner_steps),
            )
            training_state, metrics, priorities = self._parts.learner.update(
                state.training_state, samples, context
            )
            bad = (state.non_finite == 0) & ~jnp.all(jnp.isfinite(metrics['loss']))
            learner_steps = wide.add(state.learner_steps, 1)
            return Learning(
                keep_like('training_state', state.training_state, training_state),
                self.tables.update_priorities(items, keys, priorities),
                {name: jnp.asarray(metrics[name], jnp.float32) for name in self.metric_names},
                jnp.where(bad, wide.saturated(learner_steps), state.non_finite),
                learner_steps,
                state.left - 1,
            )

        return jax.lax.while_loop(
            is_due,
            update,
            Learning(
                carry.training_state,
                carry.tables.items,
                carry.metrics,
                carry.non_finite,
                carry.learner_steps,
                updates_left,
            ),
        )

    # The host's side.

    def begin(self, seed: int) -> Carry:
        """The first tick of a run, observed."""
        lanes = [fold_seed(seed, 'environment', int(lane)) for lane in self._lanes.index]
        keys = Keys(
            actor=_seed_key(fold_seed(seed, 'actor')),
            learner=_seed_key(fold_seed(seed, 'learner')),
            table=_seed_key(fold_seed(seed, 'table')),
        )
        init = _seed_key(fold_seed(seed, 'init', 0))
        actor = _seed_key(fold_seed(fold_seed(seed, 'actor', 0), 'init', 1))
        carry: Carry = distinct(self._begin(init, actor, functional.lane_keys(lanes), keys))
        return carry

    def run(
        self, carry: Carry, ticks: int, actor_steps: int | None = None, updates: int | None = None
    ) -> tuple[Carry, 'Heard']:
        """Ticks until a limit is reached; the carry that is given is used up.

        Args:
            ticks: at most `max_ticks`.
            actor_steps, updates: of this call; with several lanes at most B - 1 steps over; None: no limit.
        Returns: (carry, what happened).
        """
        limits = Limits(
            *(
                np.int32(_UNLIMITED if limit is None else min(limit, _UNLIMITED))
                for limit in (min(ticks, self.max_ticks), actor_steps, updates)
            )
        )
        carry, report, done = self._run(carry, limits)
        return carry, Heard(report, done)

    def variables(self, carry: Carry) -> Params:
        """What actors and evaluators read, in memory of its own."""
        return distinct(self._variables(carry.training_state))

    @property
    def num_compilations(self) -> int:
        """How often the program was compiled: 1 for any number of runs."""
        return int(self._run._cache_size())


class Heard:
    """What a call told: waits for the device when it is first asked."""

    def __init__(self, report: Report, done: jax.Array) -> None:
        self._report = report
        self._done = done

    @property
    def ticks(self) -> int:
        """Ticks of the call."""
        return int(np.asarray(self._done)[0])

    @property
    def actor_steps(self) -> int:
        """Steps of the environments in the call."""
        return int(np.asarray(self._done)[1])

    @property
    def updates(self) -> int:
        """Updates of the call."""
        return int(np.asarray(self._done)[2])

    def actor_steps_by_tick(self) -> NDArray[Any]:
        """int32[ticks]: since the call began."""
        return np.asarray(self._report.actor_steps)[: self.ticks]

    def updates_by_tick(self) -> NDArray[Any]:
        """int32[ticks]: since the call began."""
        return np.asarray(self._report.updates)[: self.ticks]

    def metrics(self, tick: int) -> NDArray[Any]:
        """float32[metrics] of the last update up to a tick."""
        return np.asarray(self._report.metrics)[tick]

    def episodes(self) -> Iterator[tuple[int, Episode]]:
        """(tick, episode) of those that ended, in order."""
        return _episodes(self._report.ended, self.ticks)


class CompiledEvaluator:
    """Evaluates variables with an ActorCore, in one program. Lanes and seeds are the `Evaluator`'s."""

    def __init__(
        self,
        core: ActorCore,
        environment: JaxEnvironment,
        episodes: int,
    ) -> None:
        """Args: core: an agent's evaluator. episodes: of one evaluation."""
        self._core = core
        self._environment = environment
        self._seed = 0
        self._stop: Callable[[], bool] = lambda: False
        self._num_lanes = min(episodes, MAX_LANES)
        self._shares = shares(episodes, self._num_lanes)
        self._max_ticks = 1024
        self._begin = jax.jit(self._begin_lanes)
        self._play = compile_lazily(self._play_ticks)

    def of(self, seed: int, stop: Callable[[], bool] = lambda: False) -> 'CompiledEvaluator':
        """The evaluator of a run, of the same program.

        Args:
            seed: of the experiment.
            stop: asked between calls of the program; True raises `Interrupted`.
        """
        evaluator = copy.copy(self)
        evaluator._seed, evaluator._stop = seed, stop
        return evaluator

    def _begin_lanes(self, actor_key: Any, lane_keys: Any) -> Any:
        lanes, timestep = jax.vmap(lambda key: functional.begin(self._environment, key))(lane_keys)
        index = jnp.arange(self._num_lanes, dtype=jnp.int32)
        actor = self._core.init(jax.random.wrap_key_data(actor_key), Lanes(index, self._num_lanes))
        zeros = jnp.zeros(self._num_lanes, jnp.float32)
        sums = Sums(zeros, zeros, jnp.zeros(self._num_lanes, jnp.int32))
        left = jnp.asarray(self._shares, jnp.int32)
        return lanes, timestep, actor, sums, left, jnp.int32(0)

    def _play_ticks(self, state: Any, params: Params, key: Any, actor_steps: Any) -> Any:
        none = jnp.zeros((self._max_ticks, self._num_lanes), jnp.float32)
        record = Ended(none, none, none.astype(jnp.int32))

        def goes_on(carry: Any) -> jax.Array:
            return (carry[0] < self._max_ticks) & jnp.any(carry[1][4] > 0)

        def tick(carry: Any) -> Any:
            done, (lanes, timestep, actor, sums, left, ticks), record = carry
            of_call = jax.random.fold_in(jax.random.wrap_key_data(key), ticks)
            context = Context(of_call, actor_steps, jnp.int32(0))
            action, after, _ = self._core.select_action(params, timestep, actor, context)
            actor = keep_like('actor_state', actor, after)
            lanes, timestep = jax.vmap(
                lambda lane, action: functional.advance(self._environment, lane, action)
            )(lanes, action)
            sums, ended = _sum(sums, timestep)
            record = jax.tree_util.tree_map(
                lambda rows, new: jax.lax.dynamic_update_index_in_dim(rows, new, done, 0),
                record,
                ended,
            )
            left = left - timestep.last()
            return done + 1, (lanes, timestep, actor, sums, left, ticks + 1), record

        return jax.lax.while_loop(goes_on, tick, (jnp.int32(0), state, record))

    def evaluate(self, params: Params, number: int, actor_steps: int = 0) -> EvaluationResult:
        """Plays the episodes. Args and Raises: as of `Evaluator.evaluate`."""
        seed = self._seed
        lanes = [fold_seed(seed, 'evaluator', lane, number) for lane in range(self._num_lanes)]
        actor_key = _seed_key(fold_seed(fold_seed(seed, 'evaluation', number), 'init', 1))
        key = _seed_key(fold_seed(seed, 'evaluator', number))
        state = distinct(self._begin(actor_key, functional.lane_keys(lanes)))
        played: list[list[Episode]] = [[] for _ in lanes]
        steps = np.int32(min(actor_steps, _UNLIMITED))
        while any(len(p) < share for p, share in zip(played, self._shares, strict=True)):
            if self._stop():
                raise Interrupted
            ticks, state, record = self._play(state, params, key, steps)
            for _, episode in _episodes(record, int(ticks)):
                if len(played[episode.lane]) < self._shares[episode.lane]:
                    played[episode.lane].append(episode)
        flat = [episode for lane in played for episode in lane]
        return EvaluationResult(
            np.asarray([episode.episode_return for episode in flat], np.float64),
            np.asarray([episode.episode_length for episode in flat], np.int64),
        )

    @property
    def num_compilations(self) -> int:
        """How often the program was compiled: 1 for any number of evaluations."""
        return int(self._play._cache_size())


def _sum(sums: Sums, timestep: TimeStep) -> tuple[Sums, Ended]:
    """Sums up episodes: (sums, those that end here)."""
    first, last = timestep.first(), timestep.last()
    reward = timestep.reward
    high = sums.high + reward
    # Knuth's: what the rounding of `high` left out, exactly.
    of_reward = high - sums.high
    lost = (sums.high - (high - of_reward)) + (reward - of_reward)
    zero = jnp.zeros_like(high)
    sums = Sums(
        jnp.where(first, zero, high),
        jnp.where(first, zero, sums.low + lost),
        jnp.where(first, 0, sums.length + 1),
    )
    return sums, Ended(sums.high, sums.low, jnp.where(last, sums.length, 0))


def _episodes(ended: Ended, ticks: int) -> Iterator[tuple[int, Episode]]:
    length = np.asarray(ended.length)[:ticks]
    at, lane = length.nonzero()
    returns = np.asarray(ended.high, np.float64)[at, lane] + np.asarray(ended.low)[at, lane]
    lengths = length[at, lane]
    for row in zip(at.tolist(), lane.tolist(), returns.tolist(), lengths.tolist()):
        yield row[0], Episode(*row[1:])


def _key(base: jax.Array, count: Wide) -> jax.Array:
    return wide.fold(jax.random.wrap_key_data(base), count)


def _seed_key(seed: int) -> jax.Array:
    return jax.random.key_data(jax.random.key(seed))


def distinct(tree: Any) -> Any:
    """Leaves of their own and strongly typed, so that donation is legal and nothing compiles twice."""
    return jax.tree_util.tree_map(lambda leaf: jnp.array(leaf, dtype=leaf.dtype, copy=True), tree)
