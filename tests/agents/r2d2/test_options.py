"""R2D2's other options: the update around the loss, acting, the network, what experience asks for."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import r2d2
from culmen.agents.r2d2 import learning
from culmen.components.networks import NO_ACTION
from culmen.components.networks import make_recurrent_action_value_network
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.types import FIRST
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams
from tests.agents.r2d2 import by_hand

SPEC = registry.discrete_spec(num_actions=3)
ROW = next(row for row in registry.AGENTS if row.name == 'r2d2')
# With discount 0 one step with memory 1, action 0 and reward 3 has the error 3 - 1, and q = slope s + bias.
WINDOW = by_hand.sample([1, 0], [3], action=[0])
PLAIN = {'discount': 0.0, 'n_step': 1, 'rescale': False, 'burn_in_length': 0, 'priority_exponent': 0.9,
         'max_gradient_norm': None, 'target_update_period': 1_000, 'optimizer_epsilon': 1.0,
         'learning_rate': 0.1}  # fmt: skip
ONE = np.array([1.0, 0.0])
GRADIENT = {'slope': -2 * ONE, 'bias': -2 * ONE, 'decay': np.zeros(()), 'effect': -2 * ONE}


def updates(number, sample=WINDOW, **settings):
    """Training states before and after so many updates from ONLINE, and the last priorities."""
    learner = r2d2.make_learner(by_hand.NETWORK, r2d2.R2D2Config(**{**PLAIN, **settings}))
    states, priorities = [learner.init(jax.random.key(0))], None
    update = jax.jit(learner.update)
    for i in range(number):
        context = Context(jax.random.key(i), jnp.int32(0), jnp.int32(i), jnp.int32(i))
        state, _, priorities = update(states[-1], sample, context)
        states.append(state)
    return states, priorities


def assert_step(expected, **settings):
    """The first update adds that function of the gradient to the parameters."""
    (before, after), _ = updates(1, **settings)
    for name, gradient in GRADIENT.items():
        added = after.params[name] - before.params[name]
        np.testing.assert_allclose(added, expected(gradient), rtol=1e-4, atol=1e-6)


# The optimiser.


def test_adam():
    # Adam's first moments are the gradient and its square: -rate g / (|g| + epsilon).
    assert_step(lambda g: -0.1 * g / (np.abs(g) + 1.0))


def test_learning_rate():
    assert_step(lambda g: -0.02 * g / (np.abs(g) + 1.0), learning_rate=0.02)


def test_optimizer_epsilon():
    assert_step(lambda g: -0.1 * g / (np.abs(g) + 3.0), optimizer_epsilon=3.0)


def test_max_gradient_norm_is_that_of_all_parameters():
    norm = np.sqrt(3 * 4)
    assert_step(lambda g: -0.1 * g / norm / (np.abs(g / norm) + 1.0), max_gradient_norm=1.0)
    assert_step(lambda g: -0.1 * g / (np.abs(g) + 1.0), max_gradient_norm=4.0)


@pytest.mark.parametrize('period', [1, 3])
def test_the_target_network_is_copied_after_every_so_many_updates(period):
    states, _ = updates(7, target_update_period=period)
    for number, state in enumerate(states):
        copied = number - number % period  # the last multiple: 0 0 0 3 3 3 6 6
        streams.assert_trees_equal(state.target_params, states[copied].params)
        if number:
            assert (state.params['bias'] != states[number - 1].params['bias']).any()


# Prioritised replay.


def test_priorities_where_replay_is_prioritised():
    np.testing.assert_allclose(updates(1)[1], [2.0])
    assert updates(1, priority_exponent=0.0)[1] is None


def test_the_learner_and_a_new_sequence_agree_on_priorities():
    """With the parameters that acted, and but for the value of the last observation, not known to a table."""
    agent = dataclasses.replace(ROW.agent, epsilon=0.0, epsilon_initial=0.0)
    parts = agent.build(ROW.spec)
    state = jax.jit(parts.learner.init)(jax.random.key(0))  # those that act in `samples`
    sample = streams.samples(dataclasses.replace(ROW, name='r2d2 greedy', agent=agent), num=3)[2]
    _, _, learned = jax.jit(parts.learner.update)(state, sample, streams.context(0))
    initial = parts.experience.priority(sample.steps)
    # A sequence that a termination cuts short has no bootstrap after its end.
    ended = (sample.steps.discount[:, 1:] == 0) & sample.steps.mask
    assert ended.any(axis=1).sum() >= 2
    for row in ended.any(axis=1).nonzero()[0]:
        assert float(initial[row]) == pytest.approx(float(learned[row]), rel=1e-3, abs=1e-4)


# What experience asks for.


def test_experience():
    agent = r2d2.R2D2(
        burn_in_length=3, sequence_length=7, sequence_period=4, batch_size=17, replay_capacity=301,
        min_replay_size=29, samples_per_insert=3.5, priority_exponent=0.7,
    )  # fmt: skip
    assert agent.build(SPEC).experience == Replay(
        window=Window(
            length=10, period=4, first=('extras/core_state', 'extras/previous_action')
        ),
        capacity=301,
        min_size=29,
        batch_size=17,
        samples_per_insert=3.5,
        priority_exponent=0.7,
        priority=r2d2.InitialPriority(agent),
    )  # fmt: skip
    uniform = dataclasses.replace(agent, priority_exponent=0.0).build(SPEC).experience
    assert not uniform.prioritised
    assert uniform.priority is None


# The network.


def shapes(spec=SPEC, **settings):
    agent = r2d2.R2D2(**settings)
    params = jax.eval_shape(agent.build(spec).learner.init, jax.random.key(0)).params
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def test_hidden_sizes():
    assert {(4, 5), (5, 7)} <= set(shapes(hidden_sizes=(5, 7)).values())


@pytest.mark.parametrize(('core', 'gates'), [('lstm', 4), ('gru', 3)])
def test_core_and_core_size(core, gates):
    given = shapes(core=core, core_size=6, dueling=False)
    assert any(core in path for path in given)
    assert any(shape == (6 * gates,) for shape in given.values())
    assert (6, 3) in given.values()  # the head


def test_dueling():
    assert any('advantage' in path for path in shapes(dueling=True))
    assert not any('advantage' in path for path in shapes(dueling=False))


def test_the_torso_follows_the_observation():
    for side, name in ((36, 'nature_torso'), (10, 'min_atar_torso')):
        assert any(name in path for path in shapes(registry.discrete_spec(3, (side, side, 2))))


def changes(part, **settings):
    """Whether the evaluator's state after a step depends on a part of what came before it."""
    parts = r2d2.R2D2(hidden_sizes=(4,), core_size=5, **settings).build(SPEC)
    params = parts.learner.variables(jax.jit(parts.learner.init)(jax.random.key(0)))
    state = parts.evaluator.init(jax.random.key(0), streams.lanes(1))
    act = jax.jit(functools.partial(parts.evaluator.select_action, params))

    def after(action, reward):
        step = TimeStep(
            np.ones(1, np.int32), np.float32([reward]), np.ones(1), np.ones((1, 4), np.float32)
        )
        given = state._replace(previous_action=jnp.array([action], jnp.int32))
        return jax.tree_util.tree_leaves(act(step, given, streams.context(0))[1].core_state)

    other = {'action': (2, 0.0), 'reward': (1, 1.0)}[part]
    return any((a != b).any() for a, b in zip(after(1, 0.0), after(*other), strict=True))


def test_previous_action():
    assert changes('action', previous_action=True, previous_reward=False)
    assert not changes('action', previous_action=False, previous_reward=True)


def test_previous_reward():
    assert changes('reward', previous_reward=True, previous_action=False)
    assert not changes('reward', previous_reward=False, previous_action=True)


# What an actor stores.


@pytest.mark.parametrize('core', ['lstm', 'gru'])
def test_what_is_stored_is_what_entered_the_step(core):
    """A window unrolled from it, with the parameters that acted, has the values that acted."""
    agent = dataclasses.replace(ROW.agent, core=core)
    steps = streams.samples(dataclasses.replace(ROW, name=f'r2d2 {core}', agent=agent), num=2)[
        1
    ].steps
    params = jax.jit(agent.build(ROW.spec).learner.init)(jax.random.key(0)).params
    network = make_recurrent_action_value_network(
        ROW.spec, 3, agent.hidden_sizes, agent.dueling, core=core, core_size=agent.core_size
    )
    q = np.asarray(learning.unroll(params, steps, network, agent.burn_in_length))[:, :-1]
    taken = np.take_along_axis(q, np.asarray(steps.action)[..., None], axis=-1)[..., 0]
    real = np.asarray(steps.mask)
    np.testing.assert_allclose(taken[real], steps.extras['q'][real], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(q.max(-1)[real], steps.extras['best_q'][real], rtol=1e-4, atol=1e-6)

    begins = steps.step_type[:, 0] == FIRST
    assert 0 < begins.sum() < len(begins)
    for leaf in jax.tree_util.tree_leaves(steps.extras['core_state']):
        assert leaf.shape == (len(begins), 1, agent.core_size)
        assert (leaf[begins] == 0).all()
        assert (leaf[~begins] != 0).any()
    assert (steps.extras['previous_action'][begins] == NO_ACTION).all()
    assert (steps.extras['previous_action'][~begins] >= 0).all()


# Acting.


def share_of_random(role, actor_steps, lanes=4000, index=None, **settings):
    """The share of lanes that act at random, from those that don't take the best of 3 actions."""
    parts = r2d2.R2D2(**{'hidden_sizes': (4,), 'core_size': 4, 'dueling': False, **settings}).build(
        SPEC
    )
    core = getattr(parts, role)
    params = jax.eval_shape(parts.learner.init, jax.random.key(0)).params
    params = jax.tree_util.tree_map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
    params = registry.favour(params, 1, num_actions=3)
    zeros = np.zeros(lanes, np.float32)
    timestep = TimeStep(np.ones(lanes, np.int32), zeros, zeros, np.zeros((lanes, 4), np.float32))
    state = core.init(jax.random.key(0), Lanes(np.arange(lanes, dtype=np.int32), lanes))
    context = streams.context(7, actor_steps)
    action, _, _ = core.select_action(params, timestep, state, context)
    others = np.asarray(action) != 1
    return float(np.mean(others if index is None else others[index]) * 3 / 2)


def test_epsilon_goes_from_its_initial_to_its_final_value():
    settings = {
        'epsilon_initial': 0.9,
        'epsilon': 0.3,
        'epsilon_decay_steps': 100,
        'epsilon_lane_alpha': 0.0,
    }
    shares = {0: 0.9, 50: 0.6, 100: 0.3, 10**6: 0.3}
    for actor_steps, share in shares.items():
        given = share_of_random('actor', actor_steps, **settings)
        assert given == pytest.approx(share, abs=0.04)


def test_epsilon_decay_steps():
    settings = {'epsilon_initial': 1.0, 'epsilon': 0.0, 'epsilon_lane_alpha': 0.0}
    for decay, share in ((0, 0.0), (100, 0.5), (1_000, 0.95)):
        given = share_of_random('actor', 50, epsilon_decay_steps=decay, **settings)
        assert given == pytest.approx(share, abs=0.04)


def test_evaluation_epsilon_is_the_evaluator_s_alone():
    exploring = {'epsilon_initial': 0.8, 'epsilon': 0.8, 'epsilon_lane_alpha': 0.0}
    assert share_of_random('evaluator', 0, evaluation_epsilon=0.0, **exploring) == 0.0
    given = share_of_random('evaluator', 0, evaluation_epsilon=0.4, **exploring)
    assert given == pytest.approx(0.4, abs=0.04)
    given = share_of_random('actor', 0, evaluation_epsilon=0.4, **exploring)
    assert given == pytest.approx(0.8, abs=0.04)


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


def test_a_single_lane_has_the_scheduled_epsilon():
    state = r2d2.R2D2().build(SPEC).actor.init(jax.random.key(0), streams.lanes(1))
    assert state.exploration.exponent.tolist() == [1.0]


# The settings themselves.


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('hidden_sizes', (64, 0), 'hidden_sizes must be at least 1, got 0'),
        ('core_size', 0, 'core_size must be at least 1'),
        ('epsilon', 2.0, r'epsilon must be in \[0, 1\], got 2.0'),
        ('epsilon_initial', -0.1, r'epsilon_initial must be in \[0, 1\]'),
        ('evaluation_epsilon', 1.5, r'evaluation_epsilon must be in \[0, 1\]'),
        ('epsilon_decay_steps', -1, 'epsilon_decay_steps must be at least 0'),
        ('epsilon_lane_alpha', -1.0, 'epsilon_lane_alpha must be at least 0'),
        ('discount', 1.1, r'discount must be in \[0, 1\]'),
        ('n_step', 0, 'n_step must be at least 1'),
        ('learning_rate', 0.0, 'learning_rate must be above 0'),
        ('optimizer_epsilon', 0.0, 'optimizer_epsilon must be above 0'),
        ('max_gradient_norm', 0.0, 'max_gradient_norm must be above 0'),
        ('target_update_period', 0, 'target_update_period must be at least 1'),
        ('burn_in_length', -1, 'burn_in_length must be at least 0'),
        ('sequence_length', 0, 'sequence_length must be at least 1'),
        ('sequence_period', 0, r'sequence_period must be in \[1, \d+\], got 0'),
        ('sequence_period', 99, r'sequence_period must be in \[1, \d+\], got 99'),
        ('batch_size', 0, 'batch_size must be at least 1, got 0'),
        ('replay_capacity', 0, 'replay_capacity must be at least 1'),
        ('min_replay_size', 10**7, r'min_replay_size must be in \[0, \d+\], got 10000000'),
        ('samples_per_insert', 0.0, 'samples_per_insert must be above 0'),
        ('priority_exponent', -0.5, 'priority_exponent must be at least 0'),
        ('priority_eta', 1.5, r'priority_eta must be in \[0, 1\]'),
        ('importance_exponent', 1.5, r'importance_exponent must be in \[0, 1\]'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        r2d2.R2D2(**{field: value})


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('core', 'rnn', "R2D2.core must be one of 'lstm', 'gru'"),
        ('rescale', 'yes', 'R2D2.rescale must be a bool'),
        ('burn_in_length', 3.5, 'R2D2.burn_in_length must be an int'),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_by_name(field, value, words):
    with pytest.raises(TypeError, match=words):
        r2d2.R2D2(**{field: value})
