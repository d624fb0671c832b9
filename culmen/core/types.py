"""What an agent is made of: a few named tuples of data and of pure functions.

All other packages depend on this module. An agent reads and writes one stream of steps:

    timestep = environment.reset()                                    # one per lane
    while True:
        table.observe(timestep)                                       # opens a row
        while table.due():
            training_state, metrics, priorities = learner.update(training_state, sample, context)
        action, state, extras = actor.select_action(params, timestep, state, context)
        table.act(action, extras, version)                            # closes the row
        timestep = environment.step(action)

Nothing here knows how that loop is run: in one process, on the device, or by many processes.
`[B, ...]` is a batch of lanes (acting) or of windows (learning); a trailing `...` is any shape.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = jax.Array | np.ndarray[Any, Any]
Nest: TypeAlias = Any  # a pytree of arrays
Params: TypeAlias = Any  # a pytree of arrays: what actors and evaluators read
State: TypeAlias = Any  # a pytree of arrays, carried

# The values of dm_env.StepType as plain integers, which compiled code can use.
FIRST, MID, LAST = 0, 1, 2

# Counts are unbounded on the host; inside a Context they saturate at this value.
MAX_COUNT = 2**31 - 1


class TimeStep(NamedTuple):
    """One time step of every lane. Reward and discount came with this observation."""

    step_type: Array  # int32[B]: FIRST, MID or LAST
    reward: Nest  # float32[B] or a nest of such; 0 at FIRST; the environment's own
    discount: Nest  # float32[B]; 1 at FIRST; 0 at a termination, kept at a truncation
    observation: Nest  # a nest of [B, ...] of any dtype

    def first(self) -> Array:
        """bool[B]: whether an episode begins here."""
        return self.step_type == FIRST

    def mid(self) -> Array:
        """bool[B]: whether an episode continues here."""
        return self.step_type == MID

    def last(self) -> Array:
        """bool[B]: whether an episode ends here."""
        return self.step_type == LAST


class Context(NamedTuple):
    """What the actor or learner that calls a core passes with each call."""

    key: jax.Array  # a JAX key, fresh for this call
    actor_steps: Array  # int32[]: environment steps of all actors, as last known
    learner_steps: Array  # int32[]: updates behind an actor's params; in a learner, its own updates
    # int32[]: in a learner, updates so far of the rule that is called. Of a lone rule, and for actors and
    # evaluators, which no rule calls, the same as learner_steps.
    rule_steps: Array


class Lanes(NamedTuple):
    """Which lanes of the whole run an actor steps."""

    index: Array  # type: ignore[assignment]  # int32[B], counted over all actors of the run
    total: int  # lanes of the whole run


class ActorCore(NamedTuple):
    """Time steps in, actions out.

    `select_action` is called on every time step, including LAST. At FIRST it resets by itself the state
    that belongs to an episode (`where_first`); no other code resets it. `extras` is stored with the
    step: what the policy knew before and at the action. State and extras are saved, so they hold PRNG
    keys as `jax.random.key_data`.
    """

    init: Callable[[jax.Array, Lanes], State]  # (key, lanes) -> state, every leaf [B, ...]
    select_action: Callable[[Params, TimeStep, State, Context], tuple[Nest, State, Nest]]


class Steps(NamedTuple):
    """A batch of windows, batch-major; `length` transitions are `length + 1` time steps.

    Leaves named in `Window.ends` are [B, 2, ...] (the start and the last real time step), leaves
    named in `Window.first` are [B, 1, ...].
    """

    step_type: Array  # int32[B, length + 1]
    reward: Nest  # float32[B, length + 1]
    discount: Nest  # float32[B, length + 1]
    observation: Nest  # [B, length + 1, ...]
    action: Nest  # [B, length, ...]
    extras: Nest  # [B, length, ...]
    mask: Array  # bool[B, length]: transition t -> t+1 is real (t is neither LAST nor padding)


class Stream(NamedTuple):
    """Rows of one lane in order, as a recording has them and a `Dataset` reads them; leaves [T, ...]."""

    timestep: TimeStep
    action: Nest  # the action of the last row is not read
    extras: Nest
    version: Array  # int32[T]: updates behind the params that acted, of all rules


class Sample(NamedTuple):
    """What an update receives from replay."""

    steps: Steps
    probability: Array  # float32[B]: of each item, as drawn
    size: Array  # int32[]: items in the table
    # int32[B]: updates (of the rule that draws) behind the params of the window's first action; -1: recorded
    version: Array
    lane: Array  # int32[B]: counted over all actors of the run; -1: recorded


# One table's sample and priorities, or a dict that mirrors a dict of tables.
# (Any, since an agent's update is written for the experience that the agent itself asks for.)
Samples: TypeAlias = Any
Priorities: TypeAlias = Any
Metrics: TypeAlias = Mapping[str, Array]


Update: TypeAlias = Callable[[State, Samples, Context], tuple[State, Metrics, Priorities]]

# The number of updates that made some params; of several rules, the number of each, in order.
Version: TypeAlias = int | tuple[int, ...]


class LearnerCore(NamedTuple):
    """Samples in, better parameters out.

    An update returns (training_state, metrics, priorities). `metrics` holds real scalars, including
    `loss`; `priorities` mirrors the experience: float32[B], or None for a uniform table. The training
    state is saved, so it holds PRNG keys as `jax.random.key_data`.

    `update` is one function, or a mapping of rules by name: several of them over one training state, each
    due when its own tables are. The experience then has the same names, each with a table or a dict of
    tables (culmen.core.rules).

    `warning` says what a user should know of metrics that are logged, in a sentence; None: nothing. It is
    printed once a run.
    """

    init: Callable[[jax.Array], State]
    update: Update | Mapping[str, Update]
    variables: Callable[[State], Params]
    warning: Callable[[Mapping[str, float]], str | None] = lambda metrics: None


def where_first(timestep: TimeStep, initial: State, state: State) -> State:
    """Resets the state of lanes where an episode begins.

    Args:
        timestep: of B lanes.
        initial: the state of a new episode; leaves [B, ...].
        state: the state so far; leaves [B, ...].
    Returns: `initial` in lanes at FIRST, `state` in the others.
    """
    first = jnp.asarray(timestep.step_type) == FIRST

    def select(new: Array, old: Array) -> jax.Array:
        return jnp.where(jnp.reshape(first, first.shape + (1,) * (old.ndim - 1)), new, old)

    return jax.tree_util.tree_map(select, initial, state)
