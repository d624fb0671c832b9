"""DQN with a branch for each choice, by hand: one target, the mean loss and the sum of errors, legal values.

With discount 0.5 and squared errors, the window goes from observation 0 to 1 with reward 1. It takes
1 of `move` and 6, the second value, of `level`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.agents import dqn
from culmen.components.networks import Network
from culmen.components.networks import make_branches
from tests.agents import registry
from tests.agents import streams
from tests.agents.dqn import by_hand

ACTION = {'level': specs.BoundedArray((1,), np.int32, 5, 7), 'move': specs.DiscreteArray(2)}
# Q(o, d, a): the branches are level and move, of three values and of two.
ONLINE = jnp.array([[[0.0, 2.0, 0.0], [0.0, 3.0, 9e9]], [[1.0, 0.0, 0.0], [0.0, 1.0, 9e9]]])
TARGET = jnp.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 9e9]], [[2.0, 8.0, 0.0], [6.0, 4.0, 9e9]]])
SETTINGS = {'n_step': 1, 'discount': 0.5, 'huber_delta': None, 'priority_exponent': 0.6}


def branches_of(legal):
    spec = registry.discrete_spec()._replace(action=ACTION)
    if legal:
        masks = {'level': specs.Array((1, 3), bool), 'move': specs.Array((2,), bool)}
        spec = spec._replace(observation={'number': spec.observation, 'legal_actions': masks})
    return make_branches('DQN', spec)


def loss(double, legal=None, online=ONLINE):
    sample = by_hand.sample([0], [0], [[1.0]], [[1.0]], [1])
    steps = sample.steps
    observation = steps.observation
    if legal is not None:
        legal = {
            name: np.broadcast_to(np.asarray(mask, bool), (1, 2, *np.shape(mask)))
            for name, mask in legal.items()
        }
        observation = {'number': observation, 'legal_actions': legal}
    action = {'level': np.array([[[6]]], np.int32), 'move': np.array([[1]], np.int32)}
    sample = sample._replace(steps=steps._replace(action=action, observation=observation))
    config = dqn.DQNConfig(**SETTINGS, double=double)
    network = Network(init=None, apply=by_hand.lookup)
    branches = branches_of(legal is not None)
    return dqn.loss(online, TARGET, sample, by_hand.CONTEXT, network, config, branches)


def test_the_target_is_the_mean_of_the_branches_best_values():
    value, (metrics, errors) = loss(double=False)
    # 1 + 0.5 (8 + 6) / 2 = 4.5, less 2 and 3.
    assert errors.tolist() == [2.5 + 1.5]
    assert value == metrics['loss'] == (0.5 * 2.5**2 + 0.5 * 1.5**2) / 2
    assert metrics['absolute_error'] == 2.0
    assert metrics['q'] == (2 + 3) / 5  # the third value of move does not exist


def test_the_online_network_chooses_in_each_branch():
    # 1 + 0.5 (2 + 4) / 2 = 2.5, less 2 and 3.
    _, (_, errors) = loss(double=True)
    assert errors.tolist() == [0.5 + 0.5]


@pytest.mark.parametrize(('double', 'target'), [(False, 1 + 0.25 * (2 + 4)), (True, 1 + 0.25 * 4)])
def test_values_that_are_not_legal_are_not_bootstrapped_from(double, target):
    level = [True, False, True] if not double else [False, False, True]
    legal = {'level': [level], 'move': [False, True]}
    _, (_, errors) = loss(double, legal)
    assert errors.tolist() == [abs(target - 2) + abs(target - 3)]


def test_the_gradient_flows_through_the_predictions_alone():
    gradient = jax.grad(lambda online: loss(False, online=online)[0])(ONLINE)
    expected = np.zeros((2, 2, 3), np.float32)
    expected[0, 0, 1], expected[0, 1, 1] = -2.5 / 2, -1.5 / 2
    np.testing.assert_array_equal(gradient, expected)


def test_illegal_values_are_neither_taken_nor_explored():
    spec = registry.hybrid_spec()._replace(action={'move': specs.DiscreteArray(3)})
    agent = dqn.DQN(hidden_sizes=(8,), epsilon_initial=0.5, evaluation_epsilon=0.5)
    parts = agent.build(spec)
    params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
    for role in ('actor', 'evaluator'):
        core, seen = getattr(parts, role), set()
        state = core.init(jax.random.key(0), streams.lanes(64))
        act = jax.jit(core.select_action)
        for tick, timestep in zip(range(20), streams.random_stream(spec, 64), strict=False):
            action, state, _ = act(params, timestep, state, streams.context(tick))
            move = np.asarray(action['move'])
            legal = timestep.observation['legal_actions']['move']
            assert (legal[np.arange(64), move] | ~legal.any(axis=1)).all()
            seen |= set(move.tolist())
        assert seen == {0, 1, 2}
