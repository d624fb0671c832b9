"""The compiled evaluation itself: an ActorCore plays a fixed share of the episodes in every lane."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.environments import functional
from culmen.components.learners import keep_like
from culmen.core.types import LAST
from culmen.core.types import ActorCore
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.core.types import TimeStep
from culmen.environment_loops.compiled.episodes import Ended
from culmen.environment_loops.compiled.episodes import Sums
from culmen.environment_loops.compiled.episodes import add_step
from culmen.environment_loops.compiled.episodes import zero_ended
from culmen.environment_loops.compiled.episodes import zero_sums
from culmen.environment_loops.compiled.lanes import LaneGroups
from culmen.environment_loops.compiled.lanes import LanesState
from culmen.environment_loops.compiled.plan import Settings
from culmen.environment_loops.compiled.report import write_entry
from culmen.environment_loops.faults import Faults

_MAX_TICKS = 1024  # of one call
_MAX_LENGTH = 2**31 - 1  # of an episode


@dataclasses.dataclass(frozen=True, eq=False)
class PlayPlan:
    """What is fixed before an evaluation is compiled."""

    core: ActorCore
    groups: LaneGroups
    shares: tuple[int, ...]  # episodes that each lane plays
    faults: Faults
    max_steps: int | None = None  # an episode is truncated there; None: no limit
    rebuild: Callable[[Settings], ActorCore] | None = None  # None: a run has no settings
    num_runs: int | None = None  # K evaluations side by side, leaves [K, ...]; None: a single one

    @property
    def num_lanes(self) -> int:
        """The number of lanes, B."""
        return len(self.shares)

    def core_of(self, settings: Settings) -> ActorCore:
        """The core of a run with these settings."""
        return self.core if self.rebuild is None or not settings else self.rebuild(settings)

    def over_runs(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Turns a function of one evaluation into one of all evaluations (vmap)."""
        return function if self.num_runs is None else jax.vmap(function)


class Playing(NamedTuple):
    """The state of an evaluation between two ticks."""

    lanes: LanesState
    timestep: TimeStep  # [B, ...]: not yet acted on
    actor: Any
    sums: Sums
    left: jax.Array  # int32[B]: episodes that the lane still has to play
    ticks: jax.Array  # int32[]
    cut: jax.Array  # bool[B]: `max_steps` ended the episode; the environment goes on with it


class Given(NamedTuple):
    """What stays the same through an evaluation."""

    params: Params
    key: jax.Array  # uint32[2]; the keys of the calls are folded from it
    actor_steps: Any  # int32[]: of the training so far
    learner_steps: Any  # int32[]: updates behind the params
    settings: Settings


class PlayRecord(NamedTuple):
    """What happened at a tick; for several ticks, leaves [ticks, ...]."""

    ended: Ended
    cut: jax.Array  # bool[B]: as in `Playing`
    faults: jax.Array  # int32[B]: of each lane, as in `Faults`


class Call(NamedTuple):
    """What a call carries and returns. Only the first `ticks` entries of the record are valid."""

    ticks: jax.Array  # int32[]
    playing: Playing
    record: PlayRecord


def begin(
    plan: PlayPlan, actor_seed: Any, lane_seeds: Any, settings: Settings
) -> tuple[Playing, jax.Array]:
    """Begins one evaluation. Returns: (playing, int32[B]: faults of the first time step)."""
    lanes, timestep = plan.groups.begin(functional.lane_keys(lane_seeds))
    index = Lanes(jnp.arange(plan.num_lanes, dtype=jnp.int32), plan.num_lanes)
    playing = Playing(
        lanes=lanes,
        timestep=timestep,
        actor=plan.core_of(settings).init(jax.random.key(actor_seed), index),
        sums=zero_sums(plan.num_lanes, plan.groups.metrics),
        left=jnp.asarray(plan.shares, jnp.int32),
        ticks=jnp.int32(0),
        cut=jnp.zeros(plan.num_lanes, bool),
    )
    return playing, plan.faults.of(timestep)


def play_on(plan: PlayPlan, playing: Playing, given: Given) -> Call:
    """Runs ticks until all lanes have played their shares, a lane is cut, or the record is full."""

    def goes_on(call: Call) -> jax.Array:
        left, cut = call.playing.left, call.playing.cut
        return (call.ticks < _MAX_TICKS) & jnp.any(left > 0) & ~jnp.any(cut)

    def tick(call: Call) -> Call:
        one_tick = functools.partial(play_tick, plan, begin_anew=False)
        playing, entry = plan.over_runs(one_tick)(call.playing, given)
        return Call(call.ticks + 1, playing, write_entry(call.record, entry, call.ticks))

    shape = (_MAX_TICKS, *playing.left.shape)
    numbers = jnp.zeros(shape, jnp.int32)
    record = PlayRecord(zero_ended(shape, plan.groups.metrics), jnp.zeros(shape, bool), numbers)
    return jax.lax.while_loop(goes_on, tick, Call(jnp.int32(0), playing, record))


def play_anew(plan: PlayPlan, playing: Playing, given: Given) -> Call:
    """Runs one tick in which the lanes that were cut begin a new episode.

    It is compiled separately, since most evaluations cut no episode.
    """
    one_tick = functools.partial(play_tick, plan, begin_anew=True)
    playing, entry = plan.over_runs(one_tick)(playing, given)
    record = jax.tree_util.tree_map(lambda leaf: leaf[None], entry)
    return Call(jnp.int32(1), playing, record)


def play_tick(
    plan: PlayPlan, playing: Playing, given: Given, *, begin_anew: bool
) -> tuple[Playing, PlayRecord]:
    """Runs one tick of one evaluation. Args: begin_anew: whether lanes that were cut begin an episode."""
    of_call = jax.random.fold_in(jax.random.wrap_key_data(given.key), playing.ticks)
    steps = given.learner_steps
    context = Context(of_call, given.actor_steps, steps, steps)
    core = plan.core_of(given.settings)
    action, actor, _ = core.select_action(given.params, playing.timestep, playing.actor, context)
    actor = keep_like('actor_state', playing.actor, actor)
    lanes, timestep = _step(plan, playing, action, begin_anew)
    # A lane that has played its share is not checked any more.
    faults = jnp.where(playing.left > 0, plan.faults.of(timestep, playing.timestep, action), 0)
    numbers = plan.groups.measure(lanes)
    sums, ended = add_step(playing.sums, timestep, numbers, plan.groups.metrics)
    cut = jnp.zeros_like(playing.cut)
    if plan.max_steps is not None:
        limit = min(plan.max_steps, _MAX_LENGTH)
        cut = jnp.asarray(timestep.mid()) & (sums.length >= limit) & (playing.left > 0)
        step_type = jnp.where(cut, jnp.int32(LAST), timestep.step_type)
        timestep = timestep._replace(step_type=step_type)
        ended = ended._replace(length=jnp.where(cut, sums.length, ended.length))
    left = playing.left - timestep.last()
    playing = Playing(lanes, timestep, actor, sums, left, playing.ticks + 1, cut)
    return playing, PlayRecord(ended, cut, faults)


def _step(
    plan: PlayPlan, playing: Playing, action: Any, begin_anew: bool
) -> tuple[LanesState, TimeStep]:
    """Steps the lanes. With `begin_anew`, lanes that were cut begin a new episode."""
    groups = plan.groups
    lanes, timestep = groups.advance(playing.lanes, action)
    if not begin_anew:
        return lanes, timestep
    begun, first = groups.begin(groups.keys(playing.lanes))
    timestep = jax.tree_util.tree_map(
        lambda new, old: jnp.where(
            jnp.reshape(playing.cut, (-1,) + (1,) * (old.ndim - 1)), new, old
        ),
        first,
        timestep,
    )
    return groups.select(playing.cut, begun, lanes), timestep
