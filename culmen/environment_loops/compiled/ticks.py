"""The compiled loop itself: functions of a Plan and a Carry, in the order of every loop (culmen.core.types).

A tick is

    act -> step the environments -> observe -> the updates that are due

so between two ticks the time step has been observed and not yet acted on. Calls end there, and the run can be
saved, evaluated and continued after any tick, with the same bits. There is no lag within a call: priorities
are written before the next draw, and actors act with the newest variables.

Runs side by side share the loops over ticks and updates, which continue while any run needs them. The other
runs are then inactive and keep their state (culmen.components.replay.device.masking).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.counts import wide
from culmen.components.counts.wide import Wide
from culmen.components.dispatch import in_one_thread
from culmen.components.learners import keep_like
from culmen.components.learners import mark_non_finite
from culmen.components.replay.device import masking
from culmen.components.replay.device.masking import Active
from culmen.components.replay.device.tables import TablesState
from culmen.core.experience import within
from culmen.core.rules import updates
from culmen.core.types import Context
from culmen.environment_loops.compiled import carry as carries
from culmen.environment_loops.compiled.carry import Carry
from culmen.environment_loops.compiled.episodes import Ended
from culmen.environment_loops.compiled.episodes import add_step
from culmen.environment_loops.compiled.plan import Plan
from culmen.environment_loops.compiled.report import Limits
from culmen.environment_loops.compiled.report import Record
from culmen.environment_loops.compiled.report import empty_record
from culmen.environment_loops.compiled.report import write_entry


class Call(NamedTuple):
    """What the loop over ticks carries. The count comes first, as `in_one_thread` requires."""

    ticks: jax.Array  # int32[]
    carry: Carry
    record: Record
    used: Limits


class Played(NamedTuple):
    """What the environments of one run gave at a tick."""

    ended: Ended
    actor_steps: jax.Array  # int32[]
    faults: jax.Array  # int32[B], as in `Faults`


class Learning(NamedTuple):
    """What the updates of a tick read and write."""

    training_state: Any
    items: dict[str, Any]
    metrics: dict[str, jax.Array]
    non_finite: jax.Array
    learner_steps: Wide
    rule_steps: tuple[Wide, ...]  # as in `Carry`
    left: jax.Array  # int32[]: updates left in the budget


def run_ticks(plan: Plan, carry: Carry, limits: Limits) -> tuple[Carry, Record, Limits]:
    """Runs ticks until every run has reached one of its limits.

    Args:
        plan: of one run, or of K.
        carry: of that run, or of all, leaves [K, ...].
        limits: int32[], or int32[K].
    Returns: (carry, record, how much of its limits each run used).
    """

    def goes_on(used: Limits) -> jax.Array:
        ticks, actor_steps, updates = (a < b for a, b in zip(used, limits, strict=True))
        return ticks & actor_steps & updates

    def one_tick(call: Call) -> Call:
        active = None if plan.num_runs is None else goes_on(call.used)
        updates_left = limits.updates - call.used.updates
        carry, entry = tick(plan, call.carry, updates_left, active)
        used = Limits(
            call.used.ticks + masking.count(active, 1),
            call.used.actor_steps + entry.actor_steps,
            call.used.updates + entry.updates,
        )
        entry = entry._replace(actor_steps=used.actor_steps, updates=used.updates)
        return Call(call.ticks + 1, carry, write_entry(call.record, entry, call.ticks), used)

    body: Callable[[Call], Call] = one_tick
    if plan.num_runs is None:
        body = in_one_thread(one_tick, carries.variables(plan, carry))
    nothing = Limits(*(jnp.zeros_like(limit) for limit in limits))
    call = jax.lax.while_loop(
        lambda call: jnp.any(goes_on(call.used)),
        body,
        Call(jnp.int32(0), carry, empty_record(plan), nothing),
    )
    return call.carry, call.record, call.used


def tick(plan: Plan, carry: Carry, updates_left: jax.Array, active: Active) -> tuple[Carry, Record]:
    """Runs one tick of all runs. Returns: (carry, an entry of a Record with the counts of this tick)."""
    carry, played = plan.over_runs(functools.partial(play, plan))(carry, active)
    updates_left = masking.count(active, updates_left)
    learning = learn(plan, carry, updates_left)
    entry = Record(
        played.ended,
        played.actor_steps,
        updates_left - learning.left,
        jnp.stack([learning.metrics[name] for name in plan.computed_metrics], axis=-1),
        played.faults,
        learning.rule_steps,
    )
    return _after_updates(carry, learning), entry


def play(plan: Plan, carry: Carry, active: Active) -> tuple[Carry, Played]:
    """Acts, steps and observes in one run. If the run is inactive, nothing changes and nothing is played."""
    tables = masking.activate(carry.tables, active)
    after, played = _play(plan, carry._replace(tables=tables))
    nothing = jax.tree_util.tree_map(jnp.zeros_like, played)
    selected: Carry = masking.select(active, after.without_tables(), carry.without_tables())
    played = masking.select(active, played, nothing)
    return selected._replace(tables=masking.activate(after.tables, None)), played


def _play(plan: Plan, carry: Carry) -> tuple[Carry, Played]:
    parts, tables = plan.agent(carry.settings)
    steps = wide.saturated(carry.learner_steps)
    version = steps
    if carry.rule_steps:
        version = jnp.stack([wide.saturated(each) for each in carry.rule_steps])
    context = Context(
        _key(carry.keys.actor, carry.ticks), wide.saturated(carry.actor_steps), steps, steps
    )
    params = parts.learner.variables(carry.training_state)
    action, actor, extras = parts.actor.select_action(params, carry.timestep, carry.actor, context)
    actor = keep_like('actor_state', carry.actor, actor)
    rows = tables.act(carry.tables, action, extras, version)
    lanes, timestep = plan.groups.advance(carry.lanes, plan.share(action))
    held = tables.held(rows.items)
    if held is not None:
        lanes = plan.groups.select(held, carry.lanes, lanes)
        timestep = _choose(held, carry.timestep, timestep)
    faults = plan.faults.of(timestep, carry.timestep, action)
    numbers = plan.groups.measure(lanes)
    sums, ended = add_step(carry.sums, timestep, numbers, plan.groups.metrics)
    new_steps = jnp.sum(~timestep.first(), dtype=jnp.int32)
    carry = carry._replace(
        lanes=lanes,
        timestep=timestep,
        actor=actor,
        tables=tables.observe(rows, timestep),
        sums=sums,
        ticks=wide.add(carry.ticks, 1),
        actor_steps=wide.add(carry.actor_steps, new_steps),
    )
    return carry, Played(ended, new_steps, faults)


def learn(plan: Plan, carry: Carry, updates_left: jax.Array) -> Learning:
    """Makes the updates that are due, in all runs, rule by rule in the order of declaration."""
    learning = _before_updates(carry, updates_left)
    for rule in updates(plan.parts.learner):
        if rule not in plan.updates_before:
            learning = _learn(plan, carry, learning, rule)
    return learning


def pretrain(plan: Plan, carry: Carry, updates_left: jax.Array) -> tuple[Carry, jax.Array]:
    """Makes updates before the first action, in one run.

    Args: updates_left: int32[], at most so many.
    Returns: (carry, int32[]: how many).
    """
    learning = _before_updates(carry, updates_left)
    for place, rule in enumerate(updates(plan.parts.learner)):
        if rule in plan.updates_before:
            most = plan.updates_before[rule]
            count = lambda learning, place=place: wide.saturated(learning.rule_steps[place])
            is_due = lambda learning, count=count, most=most: count(learning) < most
            learning = _repeat(plan, carry, learning, rule, is_due, once=False)
    return _after_updates(carry, learning), updates_left - learning.left


def _before_updates(carry: Carry, updates_left: jax.Array) -> Learning:
    return Learning(
        carry.training_state,
        carry.tables.items,
        carry.metrics,
        carry.non_finite,
        carry.learner_steps,
        carry.rule_steps,
        updates_left,
    )


def _after_updates(carry: Carry, learning: Learning) -> Carry:
    return carry._replace(
        training_state=learning.training_state,
        tables=TablesState(carry.tables.rows, learning.items),
        metrics=learning.metrics,
        non_finite=learning.non_finite,
        learner_steps=learning.learner_steps,
        rule_steps=learning.rule_steps,
    )


def _learn(plan: Plan, carry: Carry, before: Learning, rule: str) -> Learning:
    def is_due(learning: Learning) -> jax.Array:
        of_rule = functools.partial(plan.tables.due, rule=rule)
        due: jax.Array = plan.over_runs(of_rule)(learning.items)
        return due

    once = plan.num_runs is None and plan.tables.one_update_a_tick(rule)
    return _repeat(plan, carry, before, rule, is_due, once)


def _repeat(
    plan: Plan,
    carry: Carry,
    before: Learning,
    rule: str,
    is_ready: Callable[[Learning], jax.Array],
    once: bool,
) -> Learning:
    """Makes updates of a rule while it is ready and the budget lasts. Args: once: at most one is."""

    def is_due(learning: Learning) -> jax.Array:
        return is_ready(learning) & (learning.left > 0)

    def update_due(learning: Learning) -> Learning:
        # The barrier ties rows to a value that changes. Otherwise the compiler moves the gathering of a
        # batch out of the loop, to every tick.
        rows, data, left = jax.lax.optimization_barrier(
            (carry.tables.rows, dict(plan.data), learning.left)
        )
        active = None if plan.num_runs is None else is_due(learning)
        tied = dataclasses.replace(plan, data=data)
        updated: Learning = plan.over_runs(functools.partial(update, tied, rule))(
            carry._replace(training_state=(), tables=TablesState(rows, {})),
            learning._replace(left=left),
            active,
        )
        return updated

    if once:
        # A loop of one iteration makes a small update 10% slower (benchmarks/compiled.py).
        updated: Learning = jax.lax.cond(is_due(before), update_due, lambda same: same, before)
        return updated
    return jax.lax.while_loop(lambda learning: jnp.any(is_due(learning)), update_due, before)


def update(plan: Plan, rule: str, carry: Carry, learning: Learning, active: Active) -> Learning:
    """Makes one update of a rule in one run. If the run is inactive, nothing changes."""
    items = masking.activate(learning.items, active)
    after = _update(plan, rule, carry, learning._replace(items=items))
    selected: Learning = masking.select(
        active, after._replace(items={}), learning._replace(items={})
    )
    return selected._replace(items=masking.activate(after.items, None))


def _update(plan: Plan, rule: str, carry: Carry, learning: Learning) -> Learning:
    parts, tables = plan.agent(carry.settings)
    own = updates(parts.learner)
    place = list(own).index(rule)
    of_draw = _key(carry.keys.table, learning.learner_steps)
    draws = learning.rule_steps[place] if learning.rule_steps else learning.learner_steps
    feeds = {name: feed.at(draws.low) for name, feed in carry.feeds.items()}
    rows = carry.tables.rows | {name: (each, feeds.get(name)) for name, each in plan.data.items()}
    items, keys, samples = tables.draw(rows, learning.items, of_draw, rule)
    steps = rule_steps = wide.saturated(learning.learner_steps)
    if learning.rule_steps:
        rule_steps = wide.saturated(learning.rule_steps[place])
    context = Context(
        _key(carry.keys.learner, learning.learner_steps),
        wide.saturated(carry.actor_steps),
        steps,
        rule_steps,
    )
    training_state, metrics, priorities = own[rule](
        learning.training_state, plan.share(samples), context
    )
    training_state = keep_like('training_state', learning.training_state, training_state)
    kept = {
        within(rule, name): jnp.asarray(metric, jnp.float32) for name, metric in metrics.items()
    }
    learner_steps = wide.add(learning.learner_steps, 1)
    return Learning(
        training_state,
        tables.update_priorities(items, keys, priorities, rule),
        {name: kept.get(name, old) for name, old in learning.metrics.items()},
        mark_non_finite(
            learning.non_finite, kept[within(rule, 'loss')], wide.saturated(learner_steps), place
        ),
        learner_steps,
        tuple(wide.add(each, i == place) for i, each in enumerate(learning.rule_steps)),
        learning.left - 1,
    )


def _choose(lanes: jax.Array, chosen: Any, others: Any) -> Any:
    """Nests [B, ...]: the first of two in some lanes, the second in the others."""
    return jax.tree_util.tree_map(
        lambda a, b: jnp.where(jnp.reshape(lanes, lanes.shape + (1,) * (b.ndim - 1)), a, b),
        chosen,
        others,
    )


def _key(base: jax.Array, count: Wide) -> jax.Array:
    return wide.fold(jax.random.wrap_key_data(base), count)
