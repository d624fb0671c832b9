"""Acting, storing, sampling and updating inside one jax.lax.scan: an agent's cores as they are.

Toys of the compiled loop, for one proof: that nothing in core needs Python between steps. One knows
uniform replay and windows that start at every row and end with the episode, the other a queue of one
window of every lane, which crosses episodes.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.replay.stream.windows import kept_times
from culmen.core.agent import Parts
from culmen.core.experience import Window
from culmen.core.specs import leaf_paths
from culmen.core.types import LAST
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Sample
from culmen.core.types import Steps
from culmen.core.types import TimeStep


class Row(NamedTuple):
    """A time step and what was done on it."""

    timestep: TimeStep
    action: Any
    extras: Any


class Carry(NamedTuple):
    """All that a tick reads and writes."""

    environment: Any
    timestep: TimeStep  # [1, ...]
    actor: Any
    training: Any
    rows: Row  # a ring [capacity, ...]
    updates: jax.Array


def train(
    parts: Parts, environment: Any, num_ticks: int, capacity: int, seed: int
) -> tuple[Any, dict[str, jax.Array]]:
    """Trains for that many ticks; returns (variables, {reward, loss, due} of every tick)."""
    window, batch_size = parts.experience.window, parts.experience.batch_size
    key = jax.random.key(seed)
    lanes = Lanes(jnp.zeros(1, jnp.int32), 1)

    def begin() -> Carry:
        state, timestep = jax.tree_util.tree_map(lambda x: x[None], environment.reset(key))
        actor = parts.actor.init(key, lanes)
        training = parts.learner.init(key)
        context = Context(key, jnp.int32(0), jnp.int32(0), jnp.int32(0))
        params = parts.learner.variables(training)
        action, _, extras = parts.actor.select_action(params, timestep, actor, context)
        rows = jax.tree_util.tree_map(
            lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype), Row(timestep, action, extras)
        )
        return Carry(state, timestep, actor, training, rows, jnp.int32(0))

    def draw(rows: Row, t: jax.Array, key: jax.Array) -> Sample:
        # Windows that have ended, in rows that are still there; none starts at LAST.
        oldest = jnp.maximum(t - capacity, 0) + 1
        size = jnp.maximum(t - window.length - oldest, 1)
        start = oldest + jax.random.randint(key, (batch_size,), 0, size)
        start -= rows.timestep.step_type[start % capacity] == LAST
        sample = jnp.full(batch_size, 1.0 / size, jnp.float32)
        version = jnp.zeros(batch_size, jnp.int32)
        return Sample(
            jax.vmap(lambda s: cut(rows, s, window))(start), sample, size, version, version
        )

    def tick(carry: Carry, t: jax.Array) -> tuple[Carry, dict[str, jax.Array]]:
        keys = jax.random.split(jax.random.fold_in(key, t), 4)
        context = Context(keys[0], t, carry.updates, carry.updates)
        # Learn.
        sample = draw(carry.rows, t, keys[1])
        updated, metrics, _ = parts.learner.update(
            carry.training, sample, context._replace(key=keys[2])
        )
        due = t >= max(parts.experience.min_size, window.length + 2)
        training = jax.tree_util.tree_map(
            lambda new, old: jnp.where(due, new, old), updated, carry.training
        )
        # Act, store, step.
        params = parts.learner.variables(training)
        action, actor, extras = parts.actor.select_action(
            params, carry.timestep, carry.actor, context
        )
        rows = jax.tree_util.tree_map(
            lambda ring, x: ring.at[t % capacity].set(x[0]),
            carry.rows,
            Row(carry.timestep, action, extras),
        )
        state, timestep = jax.vmap(environment.step, in_axes=(None, 0, 0))(
            keys[3], carry.environment, action
        )
        reports = {'reward': timestep.reward[0], 'loss': metrics['loss'], 'due': due}
        return Carry(state, timestep, actor, training, rows, carry.updates + due), reports

    @jax.jit
    def whole() -> tuple[Any, dict[str, jax.Array]]:
        carry, reports = jax.lax.scan(tick, begin(), jnp.arange(num_ticks))
        return parts.learner.variables(carry.training), reports

    return whole()


def train_in_step(
    parts: Parts, environment: Any, num_updates: int, num_lanes: int, seed: int
) -> tuple[Any, dict[str, jax.Array]]:
    """Trains on a Queue without staleness: as many ticks as a window is long, then an update.

    Returns: (variables, {reward [updates, length, lanes], loss [updates] and other metrics}).
    """
    window = parts.experience.window
    key = jax.random.key(seed)
    lanes = Lanes(jnp.arange(num_lanes), num_lanes)

    def unroll(carry: Any, update: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        training, actor, state, timestep = carry
        params = parts.learner.variables(training)

        def tick(carry: Any, t: jax.Array) -> tuple[Any, Row]:
            actor, state, timestep = carry
            keys = jax.random.split(jax.random.fold_in(key, update * window.length + t), 2)
            context = Context(keys[0], update * window.length * num_lanes, update, update)
            action, actor, extras = parts.actor.select_action(params, timestep, actor, context)
            keys = jax.random.split(keys[1], num_lanes)
            state, after = jax.vmap(environment.step)(keys, state, action)
            return (actor, state, after), Row(timestep, action, extras)

        carry, rows = jax.lax.scan(tick, (actor, state, timestep), jnp.arange(window.length))
        last = jax.tree_util.tree_map(lambda leaf: leaf[None], carry[2])
        timesteps = jax.tree_util.tree_map(
            lambda *leaves: jnp.swapaxes(jnp.concatenate(leaves), 0, 1), rows.timestep, last
        )
        action, extras = jax.tree_util.tree_map(
            lambda leaf: jnp.swapaxes(leaf, 0, 1), (rows.action, rows.extras)
        )
        steps = Steps(
            timesteps.step_type, timesteps.reward, timesteps.discount, timesteps.observation,
            action, extras, mask=timesteps.step_type[:, :-1] != LAST,
        )  # fmt: skip
        paths = leaf_paths(steps._asdict())
        _, first = kept_times(window, [path for path, _ in paths])
        kept = [leaf[:, :1] if path in first else leaf for path, leaf in paths]
        steps = Steps(**jax.tree_util.tree_structure(steps._asdict()).unflatten(kept))
        versions = jnp.full(num_lanes, update)
        sample = Sample(steps, jnp.ones(num_lanes), jnp.int32(num_lanes), versions, lanes.index)
        context = Context(jax.random.fold_in(key, -1 - update), jnp.int32(0), update, update)
        training, metrics, _ = parts.learner.update(training, sample, context)
        return (training, *carry), {'reward': timesteps.reward[:, 1:], **metrics}

    @jax.jit
    def whole() -> tuple[Any, dict[str, jax.Array]]:
        state, timestep = jax.vmap(environment.reset)(jax.random.split(key, num_lanes))
        start = parts.learner.init(key), parts.actor.init(key, lanes), state, timestep
        carry, reports = jax.lax.scan(unroll, start, jnp.arange(num_updates))
        return parts.learner.variables(carry[0]), reports

    return whole()


def cut(rows: Row, start: jax.Array, window: Window) -> Steps:
    """One window, padded where LAST cuts it short."""
    capacity = rows.timestep.step_type.shape[0]
    times = start + jnp.arange(window.length + 1)
    over = jnp.cumsum(rows.timestep.step_type[times % capacity] == LAST) > 0
    real = jnp.concatenate([jnp.ones(1, bool), ~over[:-1]])  # time steps up to LAST
    last = start + jnp.sum(real) - 1
    clipped = jnp.minimum(times, last) % capacity

    def zero_after(leaf: jax.Array, real: jax.Array) -> jax.Array:
        return jnp.where(jnp.reshape(real, (-1,) + (1,) * (leaf.ndim - 1)), leaf, 0)

    def at_every_time(tree: Any) -> Any:
        return jax.tree_util.tree_map(lambda ring: zero_after(ring[clipped], real), tree)

    def at_every_action(tree: Any) -> Any:
        return jax.tree_util.tree_map(lambda ring: zero_after(ring[clipped[:-1]], real[1:]), tree)

    steps = Steps(
        step_type=rows.timestep.step_type[clipped],
        reward=at_every_time(rows.timestep.reward),
        discount=at_every_time(rows.timestep.discount),
        observation=jax.tree_util.tree_map(lambda ring: ring[clipped], rows.timestep.observation),
        action=at_every_action(rows.action),
        extras=at_every_action(rows.extras),
        mask=real[1:],
    )
    paths = leaf_paths(steps._asdict())
    ends, first = kept_times(window, [path for path, _ in paths])
    kept = [
        jnp.stack([leaf[0], leaf[-1]]) if path in ends else leaf[:1] if path in first else leaf
        for path, leaf in paths
    ]
    return Steps(**jax.tree_util.tree_structure(steps._asdict()).unflatten(kept))


def evaluate(
    parts: Parts, environment: Any, params: Any, num_lanes: int, num_ticks: int
) -> jax.Array:
    """The mean return of episodes of the evaluator, over lanes and time."""
    key = jax.random.key(1)
    state, timestep = jax.vmap(environment.reset)(jax.random.split(key, num_lanes))
    actor = parts.evaluator.init(key, Lanes(jnp.arange(num_lanes), num_lanes))

    def tick(carry: Any, t: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        state, timestep, actor = carry
        context = Context(jax.random.fold_in(key, t), t, t, t)
        action, actor, _ = parts.evaluator.select_action(params, timestep, actor, context)
        keys = jax.random.split(jax.random.fold_in(key, t), num_lanes)
        state, timestep = jax.vmap(environment.step)(keys, state, action)
        return (state, timestep, actor), (timestep.reward.sum(), timestep.last().sum())

    start = (state, timestep, actor)
    _, (rewards, ends) = jax.jit(lambda c: jax.lax.scan(tick, c, jnp.arange(num_ticks)))(start)
    return rewards.sum() / ends.sum()
