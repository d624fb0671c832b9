"""Agents whose environment forbids actions: never taken, never bootstrapped from.

The forbidden action is the one that the network values most, by far. Of an action of several parts it is a
value of the part `move`.
"""

import jax
import numpy as np
import pytest

from tests.agents import registry
from tests.agents import streams
from tests.agents import subject

ROWS = [row for row in registry.AGENTS if row.has_legal_actions]
FAVOURED = 2
HUGE = 1e6
STEPS = (0, 0, 5, 10, 10**8, 10**8)


def favouring(row, tree):
    num_actions = move_of(row.spec.action).num_values
    return registry.favour(tree, FAVOURED, num_actions, HUGE, outputs_of(row))


def outputs_of(row):
    """What the network gives of each action: one value, or a distribution."""
    if hasattr(row.agent, 'critic'):
        return 1  # it is the policy that has outputs an action
    return getattr(row.agent, 'num_atoms', getattr(row.agent, 'num_quantiles', None)) or 1


def move_of(nest):
    """The part of an action, of draws or of masks that is forbidden, or all of it."""
    return nest['move'] if isinstance(nest, dict) else nest


def with_move(nest, move):
    """The nest with another such part."""
    return {**nest, 'move': move} if isinstance(nest, dict) else move


def allow(observation, legal):
    """An observation in which the favoured action is legal, or not, and the others are."""
    masks = observation['legal_actions']
    mask = np.ones_like(np.asarray(move_of(masks)))
    mask[..., FAVOURED] = legal
    return {**observation, 'legal_actions': with_move(masks, mask)}


def without_favoured(actions):
    """Actions, or draws, with another in place of the favoured one."""
    move = np.asarray(move_of(actions))
    return with_move(actions, np.where(move == FAVOURED, 0, move).astype(np.int32))


def never_favouring(policy, num_actions):
    """A kept policy without the favoured action: it acted where that was illegal, too."""

    def change(leaf):
        leaf = np.array(leaf)
        if leaf.shape[-1] == num_actions:
            least = np.finfo(leaf.dtype).min
            leaf[..., FAVOURED] = least
            nothing = (leaf == least).all(axis=-1, keepdims=True)
            leaf = np.where(nothing & (np.arange(num_actions) != FAVOURED), 0, leaf)
        return leaf

    return jax.tree_util.tree_map(change, policy)


def test_there_is_a_row():
    assert ROWS


@pytest.mark.parametrize('role', ['actor', 'evaluator'])
@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
def test_an_illegal_action_is_never_taken(row, role):
    agent = subject.of(row)
    params = favouring(row, agent.params)
    state = agent.init(role)
    stream = streams.random_stream(row.spec, subject.LANES)
    # From the first step, where all is explored, to the end of any schedule.
    for tick, timestep in zip(range(300), stream, strict=False):
        action, state, _ = agent.act(role, params, timestep, state, tick, STEPS[tick % len(STEPS)])
        legal = np.asarray(move_of(timestep.observation['legal_actions']))
        taken = np.take_along_axis(legal, np.asarray(move_of(action))[:, None], axis=1)[:, 0]
        assert (taken | ~legal.any(axis=1)).all()  # nothing is legal where an episode is over
    for legal in (True, False):
        taken = set()
        for tick in range(50):
            given = timestep._replace(observation=allow(timestep.observation, legal))
            action, _, _ = agent.act(role, params, given, state, tick, 10**8)
            taken |= set(np.asarray(move_of(action)).tolist())
        assert (FAVOURED in taken) == legal


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
def test_the_update_ignores_illegal_actions(row):
    """Its bootstrap, ratios and entropy; a legal action that is favoured as much matters."""
    agent = subject.of(row)
    plain = agent.state
    favoured = favouring(row, plain)  # the online and the target network
    # Ratios, a support, a policy that the critics don't know.
    is_bounded = not row.replaced or any(
        hasattr(row.agent, name) for name in ('num_atoms', 'target_entropy')
    )
    enough = 1e-2 if is_bounded else HUGE / 100
    if hasattr(row.agent, 'critic'):
        enough = 1e-5  # of a new critic, whose values are near 0
    for sample in agent.samples():
        steps = sample.steps
        extras = steps.extras
        if 'drawn' in extras:
            extras = {**extras, 'drawn': without_favoured(extras['drawn'])}
        if 'policy' in extras:
            num_actions = move_of(row.spec.action).num_values
            extras = {**extras, 'policy': never_favouring(extras['policy'], num_actions)}
        steps = steps._replace(action=without_favoured(steps.action), extras=extras)

        def loss(state, legal, sample=sample, steps=steps):
            changed = steps._replace(observation=allow(steps.observation, legal))
            return float(agent.update(state, sample._replace(steps=changed))[1]['loss'])

        assert loss(favoured, legal=False) == pytest.approx(loss(plain, legal=False), rel=1e-4)
        assert abs(loss(favoured, legal=True) - loss(plain, legal=True)) > enough
