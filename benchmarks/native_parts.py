"""Where a step of compiled SAC spends its microseconds, for native.py: parts go, one after another.

A row is the median time of the loop before its part is switched off, less the median after, so that the rows
add up to a whole step. What the compiler fuses with a part, or leaves out with it, counts as that part. One
process compiles all loops, and they train pieces in turns.
"""

import contextlib
import dataclasses
import json
import sys
import time
from typing import Any
from unittest import mock

import numpy as np
from revisions import train_piece

STEPS = 2_000
WARM_UP = 1_500  # random steps, and more


def _policy_loss_alone(
    state: Any, ensemble: Any, temperature: Any, features: Any, key: Any, networks: Any, _: Any
) -> Any:
    from culmen.agents.sac import learning

    return state, learning.policy_loss(
        state.policy_params, ensemble, temperature, features, key, networks
    )


def _no_policy_loss(state: Any, ensemble: Any, temperature: Any, features: Any, *_: Any) -> Any:
    import jax.numpy as jnp

    return state, (temperature, jnp.zeros(len(features)))


def _critic_loss_alone(
    state: Any, temperature: Any, transitions: Any, key: Any, networks: Any, _: Any
) -> Any:
    from culmen.agents.sac import learning

    return state, learning.critic_loss(
        state.critic_params, state.target_critic_params, state.policy_params, temperature,
        transitions, key, networks,
    )  # fmt: skip


def _no_critic_loss(state: Any, temperature: Any, transitions: Any, *_: Any) -> Any:
    """Reads the whole batch, which would not be drawn otherwise."""
    import jax
    import jax.numpy as jnp

    total = sum(jnp.sum(leaf) for leaf in jax.tree_util.tree_leaves(transitions))
    return state, (total, (transitions.o_tm1, transitions.r_t))


def _middle(behaviour: Any, box: Any, random_steps: int) -> Any:
    """An ActorCore that always takes the middle action."""
    import jax.numpy as jnp

    from culmen.core.types import ActorCore

    def select_action(params: Any, timestep: Any, lane: Any, context: Any) -> Any:
        return box.from_canonical(jnp.zeros((len(lane), box.size))), lane, ()

    return ActorCore(lambda key, lanes: jnp.asarray(lanes.index, jnp.int32), select_action)


def _stand_still(environment: Any, lane: Any, action: Any) -> Any:
    """A step that computes nothing."""
    import jax.numpy as jnp

    from culmen.core.specs import zeros_like
    from culmen.core.types import MID
    from culmen.core.types import TimeStep

    observation = zeros_like(environment.spec().observation, ())
    return lane, TimeStep(jnp.int32(MID), jnp.float32(0), jnp.float32(1), jnp.asarray(observation))


def switches() -> list[tuple[str, dict[str, Any], list[Any]]]:
    """What goes, in this order: the part's name, changed settings of the agent, and patches."""
    import optax

    from culmen.agents.sac import agent
    from culmen.agents.sac import learning
    from culmen.components.environments import functional
    from culmen.components.replay.device.tables import DeviceTables

    def replaced(holder: Any, name: str, by: Any) -> Any:
        return mock.patch.object(holder, name, by)

    descent = lambda rule, norm=None: optax.flatten(optax.sgd(1e-3))
    old_target = lambda new, old, rate: old
    same_tables = lambda tables, state, *_: state
    never = {'min_replay_size': 100_000}
    return [
        ('target: the moving average', {}, [replaced(optax, 'incremental_update', old_target)]),
        ('Adam, beyond a plain step', {}, [replaced(learning.updates, 'make_optimizer', descent)]),
        ('temperature: loss and step', {'temperature': 1.0}, []),
        ('policy: backward and step', {}, [replaced(learning, 'update_policy', _policy_loss_alone)]),
        ('policy: forward', {}, [replaced(learning, 'update_policy', _no_policy_loss)]),
        ('critics: backward and step', {}, [replaced(learning, 'update_critics', _critic_loss_alone)]),
        ('critics: forward', {}, [replaced(learning, 'update_critics', _no_critic_loss)]),
        ('drawing a batch', never, []),
        ('acting', {}, [replaced(agent, 'exploring', _middle)]),
        ('environment', {}, [replaced(functional, 'advance', _stand_still)]),
        ('storing', {}, [replaced(DeviceTables, of, same_tables) for of in ('act', 'observe')]),
    ]  # fmt: skip


def measure(experiment: Any, repeats: int) -> tuple[list[str], np.ndarray]:
    """Times a step while more and more parts are switched off.

    Returns: (the parts' names, float64[repeats, parts + 1]: microseconds without the first 0, 1, ... parts).
    """
    from culmen.launchers import compiled

    loops: list[Any] = []
    carries: list[Any] = []
    parts = switches()
    with contextlib.ExitStack() as stack:
        for i in range(len(parts) + 1):
            if i:
                name, changes, patches = parts[i - 1]
                print(f'compiling without: {name}', file=sys.stderr)
                agent = dataclasses.replace(experiment.agent, **changes)
                experiment = dataclasses.replace(experiment, agent=agent)
                for each in patches:
                    stack.enter_context(each)
            loops.append(compiled.make_plan(experiment).loop)
            # It is traced now, while the parts are switched off.
            carries.append(train_piece(loops[i], loops[i].begin(experiment.seed), WARM_UP))
    microseconds = np.zeros((repeats, len(loops)))
    for row in microseconds:
        for i, loop in enumerate(loops):
            begin = time.perf_counter()
            carries[i] = train_piece(loop, carries[i], STEPS)
            row[i] = 1e6 * (time.perf_counter() - begin) / STEPS
    return [name for name, _, _ in parts], microseconds


def work(experiment: Any, repeats: int) -> None:
    """A worker: prints what `measure` returns as a line of JSON."""
    names, microseconds = measure(experiment, repeats)
    print(json.dumps([names, microseconds.tolist()]))


def section(names: list[str], microseconds: np.ndarray) -> list[str]:
    """The table."""
    medians = np.median(microseconds, axis=0)
    parts = [*zip(names, medians[:-1] - medians[1:]), ('counts, keys and the record', medians[-1])]
    lines = [
        '', '## Where a step of compiled SAC spends its time', '',
        f'Parts are switched off one after another, from the top; a row is the difference that its part '
        f'makes (medians of {len(microseconds)} pieces of {STEPS:,} steps).', '',
        '| part of a step | microseconds |', '|---|---|',
    ]  # fmt: skip
    lines += [f'| {name} | {value:.1f} |' for name, value in parts]
    return [*lines, f'| sum: the whole step | {medians[0]:.1f} |']
