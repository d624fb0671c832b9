"""The loop inside one compiled program: environments written in JAX, the actor, the tables and the learner.

It reads an agent's Parts and nothing else, and keeps the order of every loop (culmen.core.types). A tick is

    act -> step the environments -> observe -> the updates that are due

so between two ticks the time step is observed and not acted on: there the program stops, is saved,
evaluated and goes on, at any tick and with the same bits. Hand-offs are those of lag 0: nothing is waited for
inside one program, so priorities are written before the next draw and actors act with the newest
variables. The host is told of every tick of a call at its end.
"""

import copy
import functools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.actors.actor import extras_spec
from culmen.components.counts import fold_seed
from culmen.components.counts import wide
from culmen.components.counts.wide import Wide
from culmen.components.dispatch import compile_lazily
from culmen.components.dispatch import distinct
from culmen.components.dispatch import in_one_thread
from culmen.components.environments import functional
from culmen.components.learners.learner import keep_like
from culmen.components.learners.learner import metric_names
from culmen.components.replay import RowSpec
from culmen.components.replay import sample_spec
from culmen.components.replay.device import DeviceTables
from culmen.components.replay.device.masking import On
from culmen.components.replay.device.masking import counted
from culmen.components.replay.device.masking import keep
from culmen.components.replay.device.tables import TablesState
from culmen.core.agent import Parts
from culmen.core.environments import JaxEnvironment
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import zeros_like
from culmen.core.types import LAST
from culmen.core.types import MAX_COUNT
from culmen.core.types import ActorCore
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.evaluation import MAX_LANES
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Interrupted
from culmen.environment_loops.evaluation import Played
from culmen.environment_loops.evaluation import Teller
from culmen.environment_loops.evaluation import shares
from culmen.environment_loops.faults import Faults

_REPORTED = 2**16  # time steps of all lanes that one call can tell of
_UNLIMITED = 2**31 - 1


Settings: TypeAlias = dict[str, Any]  # numbers of the agent's that a run is traced with, by name
Each: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


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


class Seeds(NamedTuple):
    """What a run begins with, folded from its seed: uint32[] each."""

    training_state: Any
    actor_state: Any
    lanes: Any  # uint32[B]
    actor: Any
    learner: Any
    table: Any


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
    settings: Settings


class Learning(NamedTuple):
    """What the updates of a tick read and write."""

    training_state: Any
    items: dict[str, Any]
    metrics: dict[str, jax.Array]
    non_finite: jax.Array
    learner_steps: Wide
    left: jax.Array  # int32[]: updates that the budget leaves


class Limits(NamedTuple):
    """Where a call ends, at the first that is reached: int32[], or int32[K] of many runs, each."""

    ticks: Any
    actor_steps: Any
    updates: Any


class Ended(NamedTuple):
    """The episodes that ended at a tick, or [ticks, ...] of several."""

    high: jax.Array  # float32[B]
    low: jax.Array  # float32[B]
    length: jax.Array  # int32[B]; 0: none


class Record(NamedTuple):
    """What happened at each tick of a call: [max_ticks, ...], of which the first ones are told of."""

    ended: Ended
    actor_steps: jax.Array  # int32[]: since the call began
    updates: jax.Array  # int32[]: since the call began
    metrics: jax.Array  # float32[metrics]: of the last update, by name
    faults: jax.Array  # int32[B]: of each lane, as of `Faults`


class Shards:
    """How several devices share a program."""

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        """Args: devices: at least one."""
        self.devices = list(devices)
        self._mesh = jax.sharding.Mesh(np.asarray(self.devices), ('devices',))
        self.whole = self.on(None)

    def on(self, axis: int | None) -> jax.sharding.NamedSharding:
        """Shares of an axis; None: every device has the whole."""
        names = [] if axis is None else [None] * axis + ['devices']
        return jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec(*names))

    def share(self, batch: Any) -> Any:
        """Shares of the first axis of all leaves that can be shared."""
        return jax.tree_util.tree_map(
            lambda leaf: (
                jax.lax.with_sharding_constraint(leaf, self.on(0))
                if leaf.ndim and leaf.shape[0] % len(self.devices) == 0
                else leaf
            ),
            batch,
        )

    def of_lanes(self, tables: DeviceTables) -> Any:
        """Of a Carry: each device has its lanes, and all that is no lane's."""
        whole, shared = self.whole, self.on(0)
        empty = jax.eval_shape(tables.init)
        rows = jax.tree_util.tree_map(self.on, tables.lane_axes(empty.rows), is_leaf=_is_axis)
        of_lanes = {'lanes': shared, 'timestep': shared, 'sums': shared}
        fields: dict[str, Any] = dict.fromkeys(Carry._fields, whole) | of_lanes
        return Carry(**fields | {'tables': TablesState(rows, whole)})  # type: ignore[arg-type]


def _is_axis(value: Any) -> bool:
    return value is None or isinstance(value, int)


class CompiledLoop:
    """The program of an experiment: made once, and run by any number of seeds.

    One run, or many side by side (`run_all`), whose carries are stacked: leaves [K, ...]. Runs may differ
    in their seeds and in settings, numbers of the agent's that are traced.
    """

    def __init__(
        self,
        environment: JaxEnvironment,
        parts: Parts,
        lanes: Lanes,
        rebuild: Callable[[Settings], Parts] | None = None,
        devices: Sequence[jax.Device] = (),
    ) -> None:
        """Plans; computes nothing.

        Args:
            environment: of a scalar reward and a scalar discount.
            parts: the agent, built.
            lanes: of its one actor.
            rebuild: the agent built with a run's settings, called where it has some; None: none has.
            devices: to run on; of several each takes its share of the lanes, of which there must be a
                multiple, and of every batch; of many runs its share of them. (): JAX's default.
        Raises: ValueError that names what of the environment or of the experience can't be compiled.
        """
        self._shards = Shards(devices) if devices else None
        self._environment = environment
        self._parts = parts
        self._lanes = lanes
        self._rebuild = rebuild
        self.num_lanes = len(lanes.index)
        spec = environment.spec()
        if getattr(spec.reward, 'shape', None) != ():
            raise ValueError(
                f'reward must be one number in a compiled program, got {spec.reward}; the local '
                f'launcher takes nests of them.'
            )
        self.faults = Faults(spec)
        row_spec = self._row_spec(spec)
        self._make_tables = lambda experience: DeviceTables(experience, row_spec, self.num_lanes)
        self.tables = self._make_tables(parts.experience)
        samples = sample_spec(parts.experience, row_spec, self.num_lanes)
        self.metric_names = metric_names(parts.learner, samples)
        self._begin = jax.jit(self._begin_run)
        self._run, self._place = self._compiled(_alone)
        self._run_all, self._place_all = self._compiled(jax.vmap)
        self._variables = jax.jit(lambda carry: self._variables_of(carry.settings, carry))

    def _compiled(self, each: Each) -> tuple[Any, Callable[[Carry], Carry]]:
        """(the program, what puts a carry where the program has it)."""
        function = functools.partial(self._run_ticks, each)
        if self._shards is None:
            return compile_lazily(function, donate_argnums=0), lambda carry: carry
        whole, shared = self._shards.whole, self._shards.on(0)
        carry = shared if each is jax.vmap else self._shards.of_lanes(self.tables)
        counts = shared if each is jax.vmap else whole
        program = compile_lazily(
            function,
            donate_argnums=0,
            in_shardings=(carry, whole),
            out_shardings=(carry, whole, counts),
        )
        return program, lambda given: jax.device_put(given, carry)

    def _share(self, each: Each, batch: Any) -> Any:
        """A batch whose rows the devices share, where one run has them all."""
        if self._shards is None or each is not _alone:
            return batch
        return self._shards.share(batch)

    def max_ticks(self, num_runs: int = 1) -> int:
        """Ticks that one call can tell of."""
        return max(_REPORTED // (self.num_lanes * num_runs), 16)

    def _of(self, settings: Settings) -> tuple[Parts, DeviceTables]:
        """The agent and the tables of a run."""
        if self._rebuild is None or not settings:
            return self._parts, self.tables
        parts = self._rebuild(settings)
        return parts, self._make_tables(parts.experience)

    def _row_spec(self, spec: EnvironmentSpec) -> RowSpec:
        """What a row of the stream holds."""
        learner = self._parts.learner
        params = jax.eval_shape(lambda: learner.variables(learner.init(jax.random.key(0))))
        first = TimeStep(
            np.zeros(self.num_lanes, np.int32),
            *(
                zeros_like(nest, (self.num_lanes,))
                for nest in (spec.reward, spec.discount, spec.observation)
            ),
        )
        return RowSpec(spec, *extras_spec(self._parts.actor, params, first, self._lanes))

    # The program. `each` makes of a function of one run that of all: itself, or jax.vmap of it. Loops stand
    # outside, so that a run that waits for the others costs no copy of its tables.

    def _begin_run(self, seeds: Seeds, settings: Settings) -> tuple[Carry, jax.Array]:
        """(carry, faults of the first time step)."""
        parts, tables = self._of(settings)
        lanes, timestep = jax.vmap(lambda key: functional.begin(self._environment, key))(
            functional.lane_keys(seeds.lanes)
        )
        index = Lanes(jnp.asarray(self._lanes.index), self._lanes.total)
        zeros = jnp.zeros(self.num_lanes, jnp.float32)
        zero = Wide(jnp.uint32(0), jnp.uint32(0))
        carry = Carry(
            lanes,
            timestep,
            parts.actor.init(jax.random.key(seeds.actor_state), index),
            parts.learner.init(jax.random.key(seeds.training_state)),
            tables.init(),
            Sums(zeros, zeros, jnp.zeros(self.num_lanes, jnp.int32)),
            {name: jnp.float32(0) for name in self.metric_names},
            jnp.int32(0),
            zero,
            zero,
            zero,
            Keys(_key_of(seeds.actor), _key_of(seeds.learner), _key_of(seeds.table)),
            settings,
        )
        carry = carry._replace(tables=tables.observe(carry.tables, timestep))
        return carry, self.faults.of(timestep)

    def _run_ticks(self, each: Each, carry: Carry, limits: Limits) -> tuple[Carry, Record, Limits]:
        """Ticks up to the limits of every run: (carry, report, what of the limits each run used)."""
        max_ticks = self.max_ticks(limits.ticks.size)  # of one number, or of one for each run
        waiting = None if each is _alone else limits.ticks > 0
        row = jax.eval_shape(lambda: self._tick(each, carry, limits, waiting)[1])
        report = jax.tree_util.tree_map(
            lambda leaf: jnp.zeros((max_ticks, *leaf.shape), leaf.dtype), row
        )

        def going_on(done: Limits) -> jax.Array:
            reached = [a < b for a, b in zip(done, limits, strict=True)]
            return reached[0] & reached[1] & reached[2]

        def tick(
            state: tuple[jax.Array, Carry, Record, Limits],
        ) -> tuple[jax.Array, Carry, Record, Limits]:
            ticks, carry, report, done = state
            on = None if each is _alone else going_on(done)
            left = limits._replace(updates=limits.updates - done.updates)
            carry, row = self._tick(each, carry, left, on)
            done = Limits(
                done.ticks + counted(on, 1),
                done.actor_steps + row.actor_steps,
                done.updates + row.updates,
            )
            row = row._replace(actor_steps=done.actor_steps, updates=done.updates)
            report = jax.tree_util.tree_map(
                lambda rows, new: jax.lax.dynamic_update_index_in_dim(rows, new, ticks, 0),
                report,
                row,
            )
            return ticks + 1, carry, report, done

        none = Limits(*(jnp.zeros_like(limit) for limit in limits))
        _, carry, report, done = jax.lax.while_loop(
            lambda state: jnp.any(going_on(state[3])),
            self._in_one_thread(each, tick, carry),
            (jnp.int32(0), carry, report, none),
        )
        return carry, report, done

    def _in_one_thread(self, each: Each, tick: Any, carry: Carry) -> Any:
        if each is not _alone:
            return tick
        return in_one_thread(tick, self._variables_of(carry.settings, carry))

    def _tick(self, each: Each, carry: Carry, left: Limits, on: On) -> tuple[Carry, Record]:
        """Act, step, observe, learn."""
        carry, ended, new_steps, faults = each(functools.partial(self._play, each))(carry, on)
        learning = self._learn(each, carry, counted(on, left.updates))
        metrics = [learning.metrics[name] for name in self.metric_names]
        updates = counted(on, left.updates) - learning.left
        row = Record(ended, new_steps, updates, jnp.stack(metrics, axis=-1), faults)
        return carry._replace(
            training_state=learning.training_state,
            tables=TablesState(carry.tables.rows, learning.items),
            metrics=learning.metrics,
            non_finite=learning.non_finite,
            learner_steps=learning.learner_steps,
        ), row

    def _play(self, each: Each, carry: Carry, on: On) -> tuple[Carry, Ended, jax.Array, jax.Array]:
        """Act, step, observe: (carry, episodes that ended, int32[]: steps, int32[B]: faults)."""
        parts, tables = self._of(carry.settings)
        params = parts.learner.variables(carry.training_state)
        version = wide.saturated(carry.learner_steps)
        context = Context(
            _key(carry.keys.actor, carry.ticks), wide.saturated(carry.actor_steps), version
        )
        action, actor, extras = parts.actor.select_action(
            params, carry.timestep, carry.actor, context
        )
        actor = keep_like('actor_state', carry.actor, actor)
        rows = tables.act(carry.tables, action, extras, version, on)
        lanes, timestep = jax.vmap(
            lambda lane, action: functional.advance(self._environment, lane, action)
        )(carry.lanes, self._share(each, action))
        faults = self.faults.of(timestep, carry.timestep, action)
        sums, ended = _sum(carry.sums, timestep)
        new_steps = counted(on, jnp.sum(~timestep.first(), dtype=jnp.int32))
        small = (
            lanes, timestep, actor, sums,
            wide.add(carry.ticks, 1), wide.add(carry.actor_steps, new_steps),
        )  # fmt: skip
        before = (
            carry.lanes, carry.timestep, carry.actor, carry.sums, carry.ticks, carry.actor_steps
        )  # fmt: skip
        lanes, timestep, actor, sums, ticks, actor_steps = keep(on, small, before)
        carry = carry._replace(
            lanes=lanes,
            timestep=timestep,
            actor=actor,
            tables=tables.observe(rows, timestep, on),
            sums=sums,
            ticks=ticks,
            actor_steps=actor_steps,
        )
        ended = ended._replace(length=counted(on, ended.length))
        return carry, ended, new_steps, counted(on, faults)

    def _learn(self, each: Each, carry: Carry, left: jax.Array) -> Learning:
        """Makes the updates that are due."""

        def due(state: Learning) -> jax.Array:
            is_due: jax.Array = each(self.tables.due)(state.items)
            return is_due & (state.left > 0)

        def update(state: Learning) -> Learning:
            # Tied to what changes: the compiler would take what only depends on rows out of the loop, and
            # make a batch at every tick.
            rows, left = jax.lax.optimization_barrier((carry.tables.rows, state.left))
            updated: Learning = each(functools.partial(self._update, each))(
                carry._replace(training_state=(), tables=TablesState(rows, {})),
                state._replace(left=left),
                None if each is _alone else due(state),
            )
            return updated

        before = Learning(
            carry.training_state,
            carry.tables.items,
            carry.metrics,
            carry.non_finite,
            carry.learner_steps,
            left,
        )
        if each is _alone and self.tables.one_update_a_tick:
            # A loop of one round costs a small update a tenth more (benchmarks/compiled.py).
            once: Learning = jax.lax.cond(due(before), update, lambda state: state, before)
            return once
        return jax.lax.while_loop(lambda state: jnp.any(due(state)), update, before)

    def _update(self, each: Each, carry: Carry, state: Learning, on: On) -> Learning:
        """One update, where it is due."""
        parts, tables = self._of(carry.settings)
        of_draw = _key(carry.keys.table, state.learner_steps)
        items, keys, samples = tables.draw(carry.tables.rows, state.items, of_draw, on)
        context = Context(
            _key(carry.keys.learner, state.learner_steps),
            wide.saturated(carry.actor_steps),
            wide.saturated(state.learner_steps),
        )
        training_state, metrics, priorities = parts.learner.update(
            state.training_state, self._share(each, samples), context
        )
        training_state = keep_like('training_state', state.training_state, training_state)
        metrics = {name: jnp.asarray(metrics[name], jnp.float32) for name in self.metric_names}
        bad = (state.non_finite == 0) & ~jnp.all(jnp.isfinite(metrics['loss']))
        learner_steps = wide.add(state.learner_steps, 1)
        non_finite = jnp.where(bad, wide.saturated(learner_steps), state.non_finite)
        items = tables.update_priorities(items, keys, priorities, on)
        small = training_state, metrics, non_finite, learner_steps, state.left - 1
        before = (
            state.training_state,
            state.metrics,
            state.non_finite,
            state.learner_steps,
            state.left,
        )
        training_state, *rest = keep(on, small, before)
        return Learning(training_state, items, *rest)

    def _variables_of(self, settings: Settings, carry: Carry) -> Params:
        return self._of(settings)[0].learner.variables(carry.training_state)

    # The host's side.

    def begin(self, seed: int, settings: Mapping[str, Any] | None = None) -> Carry:
        """The first tick of a run, observed. Args: settings: of the run, by name; numbers.

        Raises: EnvironmentFailure that names the lane and the leaf.
        """
        seeds = Seeds(
            training_state=fold_seed(seed, 'init', 0),
            actor_state=fold_seed(fold_seed(seed, 'actor', 0), 'init', 1),
            lanes=[fold_seed(seed, 'environment', int(lane)) for lane in self._lanes.index],
            actor=fold_seed(seed, 'actor'),
            learner=fold_seed(seed, 'learner'),
            table=fold_seed(seed, 'table'),
        )
        seeds = Seeds(*(np.asarray(folded, np.uint32) for folded in seeds))
        begun, faults = self._begin(seeds, as_arrays(settings or {}))
        self.faults.check(faults)
        carry: Carry = distinct(begun)
        return carry

    def run(
        self, carry: Carry, ticks: int, actor_steps: int | None = None, updates: int | None = None
    ) -> tuple[Carry, 'Report']:
        """Ticks until a limit is reached; the carry that is given is used up.

        Args:
            ticks: at most `max_ticks`.
            actor_steps, updates: of this call; with several lanes at most B - 1 steps over; None: no limit.
        Returns: (carry, what happened).
        """
        limits = _limits(min(ticks, self.max_ticks()), actor_steps, updates)
        carry, report, done = self._run(self._place(carry), Limits(*map(np.int32, limits)))
        return carry, Report(report, done)

    def run_all(
        self, carry: Carry, ticks: int, limits: Sequence[tuple[int | None, int | None]]
    ) -> tuple[Carry, list['Report']]:
        """Many runs side by side, each until a limit of its own; the carry that is given is used up.

        Args:
            carry: of K runs, leaves [K, ...]; with several devices K must be a multiple of them.
            ticks: at most `max_ticks(K)`.
            limits: (actor steps, updates) of this call for each run; (0, 0): it waits.
        Returns: (carry, what happened in each run).
        """
        ticks = min(ticks, self.max_ticks(len(limits)))
        of_each = np.asarray([_limits(ticks, *limit) for limit in limits], np.int32)
        carry, report, done = self._run_all(self._place_all(carry), Limits(*of_each.T))
        told = Told(report, done)
        return carry, [Report(*told.of(run)) for run in range(len(limits))]

    def variables(self, carry: Carry) -> Params:
        """What actors and evaluators read, in memory of its own, on one device."""
        variables = distinct(self._variables(carry._replace(tables=TablesState({}, {}))))
        if self._shards is None:
            return variables
        return jax.device_put(variables, self._shards.devices[0])

    def status(self, carry: Carry) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
        """(metrics of the last update, the first update whose loss was not finite, faults of the tables)."""
        return carry.metrics, carry.non_finite, self.tables.faults(carry.tables.items)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Traces the program with settings; what that raises, they can't be. Computes nothing."""
        one = jax.ShapeDtypeStruct((), np.uint32)
        lanes = jax.ShapeDtypeStruct((self.num_lanes,), np.uint32)
        shapes = jax.eval_shape(lambda: as_arrays(settings))
        seeds = Seeds(one, one, lanes, one, one, one)
        carry, _ = jax.eval_shape(self._begin_run, seeds, shapes)
        limits = jax.eval_shape(lambda: Limits(*[jnp.int32(1)] * 3))
        jax.eval_shape(functools.partial(self._run_ticks, _alone), carry, limits)

    @property
    def num_compilations(self) -> int:
        """How often the program was compiled: 1 for any number of runs."""
        return int(self._run._cache_size() + self._run_all._cache_size())


class Told:
    """What a call told of many runs: waits for the device when one is first asked for."""

    def __init__(self, report: Record, done: Limits) -> None:
        self._device = report, done
        self._host: tuple[Record, Limits] | None = None

    def of(self, run: int) -> tuple[Record, Limits]:
        """The report and the counts of a run, on the host."""
        if self._host is None:
            self._host = jax.tree_util.tree_map(np.asarray, self._device)
        report, done = self._host
        return (
            jax.tree_util.tree_map(lambda leaf: leaf[:, run], report),
            Limits(*(int(count[run]) for count in done)),
        )


class Report:
    """What a call told: waits for the device when it is first asked."""

    def __init__(self, report: Record, done: Limits) -> None:
        self._report = report
        self._done = done

    @property
    def ticks(self) -> int:
        """Ticks of the call."""
        return int(np.asarray(self._done.ticks))

    @property
    def actor_steps(self) -> int:
        """Steps of the environments in the call."""
        return int(np.asarray(self._done.actor_steps))

    @property
    def updates(self) -> int:
        """Updates of the call."""
        return int(np.asarray(self._done.updates))

    def actor_steps_by_tick(self) -> NDArray[Any]:
        """int32[ticks]: since the call began."""
        return np.asarray(self._report.actor_steps)[: self.ticks]

    def updates_by_tick(self) -> NDArray[Any]:
        """int32[ticks]: since the call began."""
        return np.asarray(self._report.updates)[: self.ticks]

    def metrics(self, tick: int) -> NDArray[Any]:
        """float32[metrics] of the last update up to a tick."""
        return np.asarray(self._report.metrics)[tick]

    def faults(self) -> NDArray[Any]:
        """int32[ticks, B], as of `Faults`."""
        return np.asarray(self._report.faults)[: self.ticks]

    def episodes(self) -> Iterator[tuple[int, Episode]]:
        """(tick, episode) of those that ended, in order."""
        return _episodes(self._report.ended, self.ticks)


class EvaluationRequest(NamedTuple):
    """One evaluation of one run."""

    params: Params
    number: int  # what its environments and keys are folded from, beside the seed
    actor_steps: int = 0
    learner_steps: int = 0  # updates that made the params
    seed: int = 0
    settings: Mapping[str, Any] = {}


class Playing(NamedTuple):
    """All of an evaluation between two ticks."""

    lanes: functional.Lane  # [B, ...]
    timestep: TimeStep  # [B, ...]: not acted on
    actor: Any
    sums: Sums
    left: jax.Array  # int32[B]: episodes that the lane has still to play
    ticks: jax.Array  # int32[]
    cut: jax.Array  # bool[B]: `max_steps` ended the episode here; the environment's goes on


class PlayTick(NamedTuple):
    """What happened at a tick of an evaluation, or at [ticks, ...] of several."""

    ended: Ended
    cut: jax.Array  # bool[B]: as of `Playing`
    faults: jax.Array  # int32[B]: of each lane, as of `Faults`


class CompiledEvaluator:
    """Evaluates variables with an ActorCore, in one program. Lanes and seeds are the `Evaluator`'s."""

    def __init__(
        self,
        core: ActorCore,
        environment: JaxEnvironment,
        episodes: int,
        rebuild: Callable[[Settings], ActorCore] | None = None,
        max_steps: int | None = None,
    ) -> None:
        """Plans; computes nothing.

        Args:
            core: an agent's evaluator.
            episodes: of one evaluation.
            rebuild: as of `CompiledLoop`, but of the core.
            max_steps: of an episode, which is truncated there; None: no limit.
        """
        self._core = core
        self._episodes = episodes
        self._max_steps = max_steps
        self._tell: Callable[[str], None] | None = None
        self._rebuild = rebuild
        self._environment = environment
        self._seed = 0
        self._settings: Mapping[str, Any] = {}
        self._stop: Callable[[], bool] = lambda: False
        self._faults = Faults(environment.spec())
        self._num_lanes = min(episodes, MAX_LANES)
        self._shares = shares(episodes, self._num_lanes)
        self._max_ticks = 1024
        self._begin = jax.jit(self._begin_lanes)
        self._play, self._play_all = (
            compile_lazily(functools.partial(self._play_ticks, each)) for each in (_alone, jax.vmap)
        )
        self._begin_anew, self._begin_anew_all = (
            compile_lazily(functools.partial(self._play_anew, each)) for each in (_alone, jax.vmap)
        )

    def of(
        self,
        seed: int,
        stop: Callable[[], bool] = lambda: False,
        settings: Mapping[str, Any] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> 'CompiledEvaluator':
        """The evaluator of a run, of the same program.

        Args:
            seed: of the experiment.
            stop: asked between calls of the program; True raises `Interrupted`.
            settings: of the run.
            tell: hears how far an evaluation is, now and then where it takes long.
        """
        evaluator = copy.copy(self)
        evaluator._seed, evaluator._stop, evaluator._settings = seed, stop, settings or {}
        evaluator._tell = tell
        return evaluator

    def _core_of(self, settings: Settings) -> ActorCore:
        return self._core if self._rebuild is None or not settings else self._rebuild(settings)

    def _begin_lanes(self, actor_seed: Any, lane_seeds: Any, settings: Settings) -> Any:
        """(playing, faults of the first time step)."""
        lanes, timestep = jax.vmap(lambda key: functional.begin(self._environment, key))(
            functional.lane_keys(lane_seeds)
        )
        index = Lanes(jnp.arange(self._num_lanes, dtype=jnp.int32), self._num_lanes)
        actor = self._core_of(settings).init(jax.random.key(actor_seed), index)
        zeros = jnp.zeros(self._num_lanes, jnp.float32)
        sums = Sums(zeros, zeros, jnp.zeros(self._num_lanes, jnp.int32))
        left = jnp.asarray(self._shares, jnp.int32)
        playing = Playing(lanes, timestep, actor, sums, left, jnp.int32(0), left < 0)
        return playing, self._faults.of(timestep)

    def _play_ticks(self, each: Each, playing: Playing, given: Any) -> Any:
        """Ticks until all lanes have played their shares, or one is cut: (ticks, playing, record)."""

        def goes_on(carry: Any) -> jax.Array:
            left, cut = carry[1].left, carry[1].cut
            return (carry[0] < self._max_ticks) & jnp.any(left > 0) & ~jnp.any(cut)

        def tick(carry: Any) -> Any:
            done, playing, record = carry
            playing, told = each(functools.partial(self._play_tick, False))(playing, given)
            record = jax.tree_util.tree_map(
                lambda rows, new: jax.lax.dynamic_update_index_in_dim(rows, new, done, 0),
                record,
                told,
            )
            return done + 1, playing, record

        none = jnp.zeros((self._max_ticks, *playing.left.shape), jnp.float32)
        numbers = none.astype(jnp.int32)
        record = PlayTick(Ended(none, none, numbers), none.astype(bool), numbers)
        return jax.lax.while_loop(goes_on, tick, (jnp.int32(0), playing, record))

    def _play_anew(self, each: Each, playing: Playing, given: Any) -> Any:
        """A tick in which the lanes that were cut begin anew. A program of its own: most need none."""
        playing, told = each(functools.partial(self._play_tick, True))(playing, given)
        record = jax.tree_util.tree_map(lambda leaf: leaf[None], told)
        return jnp.int32(1), playing, record

    def _play_tick(self, anew: bool, playing: Playing, given: Any) -> tuple[Playing, PlayTick]:
        params, key, counts, settings = given
        of_call = jax.random.fold_in(jax.random.wrap_key_data(key), playing.ticks)
        context = Context(of_call, *counts)
        core = self._core_of(settings)
        action, actor, _ = core.select_action(params, playing.timestep, playing.actor, context)
        actor = keep_like('actor_state', playing.actor, actor)
        stepped = jax.vmap(
            lambda lane, action: functional.advance(self._environment, lane, action)
        )(playing.lanes, action)
        if anew:
            begun = jax.vmap(lambda key: functional.begin(self._environment, key))(
                playing.lanes.key
            )
            stepped = jax.tree_util.tree_map(
                lambda new, old: jnp.where(
                    jnp.reshape(playing.cut, (-1,) + (1,) * (old.ndim - 1)), new, old
                ),
                begun,
                stepped,
            )
        lanes, timestep = stepped
        # A lane that has played its share is nobody's.
        faults = jnp.where(playing.left > 0, self._faults.of(timestep, playing.timestep, action), 0)
        sums, ended = _sum(playing.sums, timestep)
        cut = jnp.zeros_like(playing.cut)
        if self._max_steps is not None:
            limit = min(self._max_steps, _UNLIMITED)
            cut = jnp.asarray(timestep.mid()) & (sums.length >= limit) & (playing.left > 0)
            step_type = jnp.where(cut, jnp.int32(LAST), timestep.step_type)
            timestep = timestep._replace(step_type=step_type)
            ended = ended._replace(length=jnp.where(cut, sums.length, ended.length))
        left = playing.left - timestep.last()
        playing = Playing(lanes, timestep, actor, sums, left, playing.ticks + 1, cut)
        return playing, PlayTick(ended, cut, faults)

    def evaluate(
        self, params: Params, number: int, actor_steps: int = 0, learner_steps: int = 0
    ) -> EvaluationResult:
        """Plays the episodes. Args and Raises: as of `Evaluator.evaluate`."""
        playing, given = self._prepared(
            EvaluationRequest(
                params, number, actor_steps, learner_steps, self._seed, self._settings
            )
        )
        played = Played(self._shares)
        for ticks, record in self._calls((self._play, self._begin_anew), playing, given, [played]):
            self._hear(played, record, ticks)
        return played.result()

    def _calls(
        self, programs: tuple[Any, Any], playing: Playing, given: Any, results: Sequence[Played]
    ) -> Iterator[tuple[int, Any]]:
        """Calls the program until all is played: (ticks, `PlayTick`) of each call. Raises: Interrupted."""
        teller = Teller(self._tell, self._episodes * len(results))
        play, begin_anew = programs
        done = 0
        while not all(played.is_over for played in results):
            if self._stop():
                raise Interrupted
            program = begin_anew if np.asarray(playing.cut).any() else play
            ticks, playing, record = program(playing, given)
            yield int(ticks), jax.tree_util.tree_map(np.asarray, record)
            done += int(ticks)
            teller.update(sum(played.count for played in results), done)

    def compile(self, params: Params) -> None:
        """Compiles `evaluate`, and plays nothing."""
        playing, given = self._prepared(
            EvaluationRequest(params, 0, seed=self._seed, settings=self._settings)
        )
        self._play(playing._replace(left=jnp.zeros_like(playing.left)), given)

    def evaluate_all(self, evaluations: Sequence[EvaluationRequest]) -> list[EvaluationResult]:
        """Plays the episodes of many runs side by side. Raises: Interrupted."""
        prepared = [self._prepared(evaluation) for evaluation in evaluations]
        playing, given = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *prepared)
        results = [Played(self._shares) for _ in evaluations]
        programs = self._play_all, self._begin_anew_all
        for ticks, record in self._calls(programs, playing, given, results):
            for run, played in enumerate(results):
                self._hear(played, jax.tree_util.tree_map(lambda leaf: leaf[:, run], record), ticks)  # noqa: B023
        return [played.result() for played in results]

    def _hear(self, played: Played, record: PlayTick, ticks: int) -> None:
        """Takes the episodes of a call. Raises: EnvironmentFailure, ActionFailure."""
        self._faults.check(record.faults[:ticks])
        for tick, episode in _episodes(record.ended, ticks):
            played.add(episode, bool(record.cut[tick, episode.lane]))

    def _prepared(self, evaluation: EvaluationRequest) -> tuple[Any, Any]:
        seed, number = evaluation.seed, evaluation.number
        lanes = [fold_seed(seed, 'evaluator', lane, number) for lane in range(self._num_lanes)]
        actor = fold_seed(fold_seed(seed, 'evaluation', number), 'init', 1)
        key = _key_of(fold_seed(seed, 'evaluator', number))
        settings = as_arrays(evaluation.settings)
        begun, faults = self._begin(np.uint32(actor), np.asarray(lanes, np.uint32), settings)
        self._faults.check(faults)
        counts = [
            np.int32(min(count, MAX_COUNT))
            for count in (evaluation.actor_steps, evaluation.learner_steps)
        ]
        return distinct(begun), (evaluation.params, key, counts, settings)

    @property
    def num_compilations(self) -> int:
        """How often the program was compiled: 1 for any number of evaluations."""
        return int(self._play._cache_size() + self._play_all._cache_size())


def _alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """One run: its function as it is."""
    return function


def _limits(ticks: int, actor_steps: int | None, updates: int | None) -> list[int]:
    limits = (ticks, actor_steps, updates)
    return [_UNLIMITED if limit is None else min(limit, _UNLIMITED) for limit in limits]


def as_arrays(settings: Mapping[str, Any]) -> Settings:
    """Settings as they are traced: int32[] or float32[]."""
    return {
        name: np.asarray(value, np.int32 if isinstance(value, int) else np.float32)
        for name, value in settings.items()
    }


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


def _key_of(seed: Any) -> jax.Array:
    return jax.random.key_data(jax.random.key(seed))
