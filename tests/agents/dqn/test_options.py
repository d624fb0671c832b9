"""DQN's other options: the update around the loss, acting, the network, what experience asks for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import dqn
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams
from tests.agents.dqn import by_hand
from tests.agents.dqn.by_hand import ONLINE
from tests.agents.dqn.by_hand import TWO

SPEC = registry.discrete_spec(num_actions=3)
# With squared errors and discount 0, TWO has errors 1 - 2 and -1 - 3 and so the gradient
GRADIENT = np.array([[0.0, 0.5], [2.0, 0.0], [0.0, 0.0]])
PLAIN = {'n_step': 1, 'double': False, 'discount': 0.0, 'huber_delta': None, 'reward_clip': None,
         'priority_exponent': 0.0, 'max_gradient_norm': None, 'target_update_period': 1_000,
         'optimizer': 'adam', 'optimizer_epsilon': 1.0, 'learning_rate': 0.1}  # fmt: skip


def updates(number, sample=TWO, **settings):
    """Training states before and after so many updates from ONLINE, and the last priorities."""
    learner = dqn.make_learner(by_hand.NETWORK, dqn.DQNConfig(**{**PLAIN, **settings}))
    states, priorities = [learner.init(jax.random.key(0))], None
    for i in range(number):
        context = Context(jax.random.key(i), jnp.int32(0), jnp.int32(i), jnp.int32(i))
        state, _, priorities = learner.update(states[-1], sample, context)
        states.append(state)
    return states, priorities


def step(**settings):
    """What the first update adds to the parameters."""
    states, _ = updates(1, **settings)
    return np.asarray(states[1].params - ONLINE)


# The optimiser.


def test_adam():
    # Adam's first moments are the gradient and its square: -rate g / (|g| + epsilon).
    expected = -0.1 * GRADIENT / (GRADIENT + 1.0)
    np.testing.assert_allclose(step(), expected, rtol=1e-5)


def test_learning_rate():
    expected = -0.02 * GRADIENT / (GRADIENT + 1.0)
    np.testing.assert_allclose(step(learning_rate=0.02), expected, rtol=1e-5)


def test_optimizer_epsilon():
    expected = -0.1 * GRADIENT / (GRADIENT + 3.0)
    np.testing.assert_allclose(step(optimizer_epsilon=3.0), expected, rtol=1e-5)


def test_rmsprop_is_centred():
    # Mnih et al. 2015: averages m of g and v of g^2, each 0.05 of the first gradient;
    # -rate g / sqrt(v - m^2 + epsilon).
    variance = 0.05 * GRADIENT**2 - (0.05 * GRADIENT) ** 2
    expected = -0.1 * GRADIENT / np.sqrt(variance + 0.01)
    given = step(optimizer='rmsprop', optimizer_epsilon=0.01)
    np.testing.assert_allclose(given, expected, rtol=1e-5)


@pytest.mark.parametrize('optimizer', ['adam', 'rmsprop'])
def test_max_gradient_norm_is_that_of_all_parameters(optimizer):
    # The norm of the gradient is sqrt(0.25 + 4); its direction stays.
    clipped = GRADIENT / np.sqrt(4.25)
    if optimizer == 'adam':
        expected = -0.1 * clipped / (clipped + 1.0)
    else:
        expected = -0.1 * clipped / np.sqrt(0.05 * clipped**2 - (0.05 * clipped) ** 2 + 1.0)
    given = step(optimizer=optimizer, max_gradient_norm=1.0)
    np.testing.assert_allclose(given, expected, rtol=1e-5)
    np.testing.assert_array_equal(
        step(optimizer=optimizer, max_gradient_norm=3.0), step(optimizer=optimizer)
    )


@pytest.mark.parametrize('period', [1, 3])
def test_the_target_network_is_copied_after_every_so_many_updates(period):
    states, _ = updates(7, target_update_period=period)
    for number, state in enumerate(states):
        copied = number - number % period  # the last multiple: 0 0 0 3 3 3 6 6
        np.testing.assert_array_equal(state.target_params, states[copied].params)
        if number:
            assert (state.params != states[number - 1].params).any()


# Prioritised replay.


def test_priorities_are_absolute_errors_where_replay_is_prioritised():
    _, priorities = updates(1, priority_exponent=0.6)
    np.testing.assert_allclose(priorities, [1.0, 4.0])
    assert updates(1)[1] is None


def test_importance_weights_reach_the_update():
    # As in the loss: 4^-beta for the first window of the two.
    sample = TWO._replace(probability=np.float32([0.5, 0.125]), size=np.int32(8))
    settings = {'sample': sample, 'priority_exponent': 0.6}
    for beta in (0.5, 1.0):
        weighted = GRADIENT * np.array([[4**-beta], [1.0], [1.0]])
        given = step(importance_exponent=beta, **settings)
        np.testing.assert_allclose(given, -0.1 * weighted / (weighted + 1.0), rtol=1e-5)


# What experience asks for.


def test_experience():
    agent = dqn.DQN(
        n_step=4, batch_size=17, replay_capacity=301, min_replay_size=29, samples_per_insert=3.5,
        priority_exponent=0.7,
    )  # fmt: skip
    assert agent.build(SPEC).experience == Replay(
        window=Window(length=4, period=1, ends=('observation',)),
        capacity=301,
        min_size=29,
        batch_size=17,
        samples_per_insert=3.5,
        priority_exponent=0.7,
    )
    uniform = dataclasses.replace(agent, priority_exponent=0.0)
    assert not uniform.build(SPEC).experience.prioritised


# The network.


def initial(**settings):
    return jax.jit(dqn.DQN(**settings).build(SPEC).learner.init)(jax.random.key(0)).params


def test_hidden_sizes():
    shapes = {leaf.shape for leaf in jax.tree_util.tree_leaves(initial(hidden_sizes=(5, 7)))}
    assert {(4, 5), (5, 7), (7, 3)} <= shapes


@pytest.mark.slow
def test_dueling():
    """Wang et al. 2016, equation 9: Q = V + A - mean A."""
    row = next(row for row in registry.AGENTS if row.name == 'dqn')
    agent = dataclasses.replace(row.agent, dueling=True)
    learner = agent.build(row.spec).learner
    state = jax.jit(learner.init)(jax.random.key(0))
    sample = streams.samples(row)[0]
    update = jax.jit(lambda state: learner.update(state, sample, streams.context(0))[1]['q'])

    def shifted(words, by):
        def shift(path, leaf):
            name = jax.tree_util.keystr(path)
            last = leaf.shape in ((1,), (3,))  # the bias of the last layer of a stream
            return leaf + by if last and words in name else leaf

        return state._replace(params=jax.tree_util.tree_map_with_path(shift, state.params))

    def mean_q(state):
        return float(update(state))

    assert mean_q(shifted('value', 2.5)) == pytest.approx(mean_q(state) + 2.5, rel=1e-4)
    assert mean_q(shifted('advantage', 2.5)) == pytest.approx(mean_q(state), rel=1e-4)
    one = jnp.array([3.0, 0.0, 0.0])  # of three advantages: their mean is taken off each
    assert mean_q(shifted('advantage', one)) == pytest.approx(mean_q(state), rel=1e-4)
    for dueling in (False, True):
        assert any('advantage' in path for path in initial(dueling=dueling)) == dueling


# Acting.


def share_of_random(role, actor_steps, lanes=4000, index=None, **settings):
    """The share of lanes that act at random, from those that don't take the best of 3 actions."""
    parts = dqn.DQN(**{'hidden_sizes': (4,), **settings}).build(SPEC)
    core = getattr(parts, role)
    params = jax.eval_shape(parts.learner.init, jax.random.key(0)).params
    params = jax.tree_util.tree_map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
    params = registry.favour(params, 1, num_actions=3)
    observation = np.zeros((lanes, 4), np.float32)
    timestep = TimeStep(np.ones(lanes, np.int32), None, None, observation)
    state = core.init(jax.random.key(0), Lanes(np.arange(lanes, dtype=np.int32), lanes))
    context = streams.context(7, actor_steps)
    action, _, _ = core.select_action(params, timestep, state, context)
    others = np.asarray(action) != 1
    return float(np.mean(others if index is None else others[index]) * 3 / 2)


def test_epsilon_goes_from_its_initial_to_its_final_value():
    settings = {'epsilon_initial': 0.9, 'epsilon': 0.3, 'epsilon_decay_steps': 100}
    shares = {0: 0.9, 50: 0.6, 100: 0.3, 10**6: 0.3}
    for actor_steps, share in shares.items():
        given = share_of_random('actor', actor_steps, **settings)
        assert given == pytest.approx(share, abs=0.04)


def test_epsilon_decay_steps():
    settings = {'epsilon_initial': 1.0, 'epsilon': 0.0}
    for decay, share in ((0, 0.0), (100, 0.5), (1_000, 0.95)):
        given = share_of_random('actor', 50, epsilon_decay_steps=decay, **settings)
        assert given == pytest.approx(share, abs=0.04)


def test_evaluation_epsilon_is_the_evaluator_s_alone():
    exploring = {'epsilon_initial': 0.8, 'epsilon': 0.8}
    assert share_of_random('evaluator', 0, evaluation_epsilon=0.0, **exploring) == 0.0
    given = share_of_random('evaluator', 0, evaluation_epsilon=0.4, **exploring)
    assert given == pytest.approx(0.4, abs=0.04)
    assert share_of_random('actor', 0, evaluation_epsilon=0.4, **exploring) == pytest.approx(
        0.8, abs=0.04
    )


def test_epsilon_lane_alpha():
    # Horgan et al. 2018: epsilon ** (1 + alpha i / (N - 1)), so 0.7 for the first lanes of 8,000
    # and nearly 0.7 ** 4 for the last.
    settings = {'epsilon_initial': 0.7, 'epsilon': 0.7, 'lanes': 8000}
    first, last = slice(0, 800), slice(7200, 8000)
    for alpha, end in ((3.0, 0.7**3.85), (0.0, 0.7)):
        given = [
            share_of_random('actor', 0, epsilon_lane_alpha=alpha, index=index, **settings)
            for index in (first, last)
        ]
        begin = 0.7**1.15 if alpha else 0.7  # the middle of the tenth
        assert given == pytest.approx([begin, end], abs=0.08)


# The settings themselves.


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('batch_size', 0, 'batch_size must be at least 1, got 0'),
        ('epsilon', 2.0, r'epsilon must be in \[0, 1\], got 2.0'),
        ('epsilon_initial', -0.1, r'epsilon_initial must be in \[0, 1\]'),
        ('evaluation_epsilon', 1.5, r'evaluation_epsilon must be in \[0, 1\]'),
        ('epsilon_decay_steps', -1, 'epsilon_decay_steps must be at least 0'),
        ('epsilon_lane_alpha', -1.0, 'epsilon_lane_alpha must be at least 0'),
        ('discount', 1.1, r'discount must be in \[0, 1\]'),
        ('n_step', 0, 'n_step must be at least 1'),
        ('learning_rate', 0.0, 'learning_rate must be above 0'),
        ('learning_rate', float('nan'), 'learning_rate must be above 0, got nan'),
        ('optimizer_epsilon', 0.0, 'optimizer_epsilon must be above 0'),
        ('max_gradient_norm', 0.0, 'max_gradient_norm must be above 0'),
        ('huber_delta', -1.0, 'huber_delta must be above 0'),
        ('reward_clip', 0.0, 'reward_clip must be above 0'),
        ('target_update_period', 0, 'target_update_period must be at least 1'),
        ('replay_capacity', 0, 'replay_capacity must be at least 1'),
        ('min_replay_size', 10**7, r'min_replay_size must be in \[0, \d+\], got 10000000'),
        ('samples_per_insert', 0.0, 'samples_per_insert must be above 0'),
        ('priority_exponent', -0.5, 'priority_exponent must be at least 0'),
        ('importance_exponent', 1.5, r'importance_exponent must be in \[0, 1\]'),
        ('hidden_sizes', (64, 0), 'hidden_sizes must be at least 1, got 0'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        dqn.DQN(**{field: value})


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('batch_size', 3.5, 'DQN.batch_size must be an int'),
        ('double', 'yes', 'DQN.double must be a bool'),
        ('optimizer', 'sgd', "DQN.optimizer must be one of 'adam', 'rmsprop'"),
        ('hidden_sizes', 64, 'DQN.hidden_sizes must be a tuple of'),
        ('learning_rate', '1e-3', 'DQN.learning_rate must be a float'),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_by_name(field, value, words):
    with pytest.raises(TypeError, match=words):
        dqn.DQN(**{field: value})
