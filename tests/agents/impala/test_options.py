"""The other options of A2C and IMPALA: the update around the loss, the network, the experience."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import impala
from culmen.core.experience import Queue
from culmen.core.experience import Window
from culmen.core.types import Context
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams
from tests.agents.impala import by_hand
from tests.agents.impala.by_hand import PARAMS

SPEC = registry.discrete_spec(num_actions=3)
# Discount 0 and rewards that are off the values by 1 and -3: advantages 1 and -3 and the gradients
LENGTH = 2
SAMPLE = by_hand.sample([0, 1, 2], [2, -1])
OF_VALUE = np.array([-1.0, 3.0, 0.0, 0.0]) / LENGTH
OF_LOGITS = np.array([[-0.5, 0.5], [1.5, -1.5], [0, 0], [0, 0]]) / LENGTH
PLAIN = {'discount': 0.0, 'value_cost': 1.0, 'entropy_cost': 0.0, 'max_gradient_norm': None,
         'optimizer': 'adam', 'optimizer_epsilon': 1.0, 'learning_rate': 0.1}  # fmt: skip
MOVED = {'logits': OF_LOGITS, 'value': OF_VALUE}


def update(agent=impala.A2CConfig, actor_steps=0, learner_steps=0, sample=SAMPLE, **settings):
    """(what one update adds to the parameters, its metrics)."""
    learner = impala.make_learner(by_hand.NETWORK, agent(**{**PLAIN, **settings}))
    state = learner.init(jax.random.key(0))
    context = Context(
        jax.random.key(0),
        jnp.int32(actor_steps),
        jnp.int32(learner_steps),
        jnp.int32(learner_steps),
    )
    after, metrics, priorities = learner.update(state, sample, context)
    assert priorities is None
    added = jax.tree_util.tree_map(lambda a, b: np.asarray(a - b), learner.variables(after), PARAMS)
    return added, metrics


def assert_added(expected, **settings):
    """What an update adds is that function of the gradient."""
    added, _ = update(**settings)
    for name, gradient in MOVED.items():
        np.testing.assert_allclose(added[name], expected(gradient), rtol=1e-4, atol=1e-6)


def test_adam():
    # Adam's first moments are the gradient and its square: -rate g / (|g| + epsilon).
    assert_added(lambda g: -0.1 * g / (np.abs(g) + 1.0))


def test_learning_rate():
    assert_added(lambda g: -0.02 * g / (np.abs(g) + 1.0), learning_rate=0.02)


def test_optimizer_epsilon():
    assert_added(lambda g: -0.1 * g / (np.abs(g) + 3.0), optimizer_epsilon=3.0)


@pytest.mark.parametrize('decay', [0.9, 0.5])
def test_rmsprop(decay):
    # The average of squares begins at 0: v = (1 - decay) g^2; epsilon under the root.
    assert_added(
        lambda g: -0.1 * g / np.sqrt((1 - decay) * g**2 + 0.01),
        optimizer='rmsprop', rmsprop_decay=decay, optimizer_epsilon=0.01,
    )  # fmt: skip


def test_max_gradient_norm_is_that_of_all_parameters():
    norm = np.sqrt(sum(np.sum(g**2) for g in MOVED.values()))
    assert norm > 1.0

    def expected(gradient):
        clipped = 0.5 * gradient / norm
        return -0.1 * clipped / (np.abs(clipped) + 1.0)

    assert_added(expected, max_gradient_norm=0.5)
    assert_added(lambda g: -0.1 * g / (np.abs(g) + 1.0), max_gradient_norm=100.0)


@pytest.mark.parametrize(('actor_steps', 'left'), [(0, 1.0), (25, 0.75), (100, 0.0), (300, 0.0)])
def test_learning_rate_decay_steps(actor_steps, left):
    assert_added(
        lambda g: -left * 0.1 * g / (np.abs(g) + 1.0),
        learning_rate_decay_steps=100,
        actor_steps=actor_steps,
    )


def test_staleness_is_the_mean_of_updates_since_the_policies_that_acted():
    sample = SAMPLE._replace(version=np.array([3, 6], np.int32))
    assert update(learner_steps=7, sample=sample)[1]['staleness'] == (4 + 1) / 2


# What experience asks for.


def test_experience():
    for batch_size in (None, 5):
        settings = {'unroll_length': 7, 'batch_size': batch_size}
        window = Window(length=7, period=7, cross_episodes=True)
        given = impala.A2C(**settings).build(SPEC).experience
        assert given == Queue(window, batch_size, max_staleness=0)
        agent = impala.IMPALA(**settings, max_staleness=3, max_queue_size=9)
        assert agent.build(SPEC).experience == Queue(window, batch_size, 3, 9)


def test_a_core_state_is_kept_at_the_start_of_a_window_alone():
    window = impala.A2C(core='lstm').build(SPEC).experience.window
    assert window.first == ('extras/core_state',)


# The network.


def shapes(agent=impala.A2C, spec=SPEC, **settings):
    params = jax.eval_shape(agent(**settings).build(spec).learner.init, jax.random.key(0)).params
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def test_hidden_sizes():
    assert {(4, 5), (5, 7), (7, 3), (7, 1)} <= set(shapes(hidden_sizes=(5, 7)).values())


def test_shared_torso():
    assert list(shapes(hidden_sizes=(5,), shared_torso=True).values()).count((4, 5)) == 1
    assert list(shapes(hidden_sizes=(5,), shared_torso=False).values()).count((4, 5)) == 2


@pytest.mark.parametrize(('core', 'gates'), [('lstm', 4), ('gru', 3)])
def test_core_and_core_size(core, gates):
    given = shapes(hidden_sizes=(5,), core=core, core_size=6)
    assert any(f'{core}' in path for path in given)
    assert (5 + 6, 6 * gates) in given.values() or (5, 6 * gates) in given.values()
    assert (6, 3) in given.values()  # the policy's head
    assert not any('lstm' in path or 'gru' in path for path in shapes(core='none'))


def test_torso():
    image = registry.discrete_spec(3, (36, 36, 2))
    for torso, names in (('auto', 'nature_torso'), ('resnet', 'res_net_torso')):
        assert any(names in path for path in shapes(spec=image, torso=torso))
    with pytest.raises(ValueError, match="torso must be 'auto' where A2C observes no image"):
        impala.A2C(torso='resnet').build(SPEC)


def test_activation():
    """Far from 0 a tanh is level, a ReLU is a line."""

    def logits(activation, scale):
        parts = impala.IMPALA(activation=activation, hidden_sizes=(8,)).build(SPEC)
        params = parts.learner.variables(jax.jit(parts.learner.init)(jax.random.key(0)))
        state = parts.actor.init(jax.random.key(0), streams.lanes(1))
        observation = np.full((1, 4), scale, np.float32)
        timestep = TimeStep(np.ones(1, np.int32), None, None, observation)
        act = jax.jit(lambda timestep: parts.actor.select_action(
            params, timestep, state, streams.context(0)))  # fmt: skip
        return np.asarray(act(timestep)[2]['policy'].logits)

    np.testing.assert_allclose(logits('tanh', 1e4), logits('tanh', 2e4))
    np.testing.assert_allclose(logits('relu', 1e4) * 2, logits('relu', 2e4), rtol=1e-3)


# The settings themselves.


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('hidden_sizes', (64, 0), 'hidden_sizes must be at least 1, got 0'),
        ('core_size', 0, 'core_size must be at least 1'),
        ('discount', 1.1, r'discount must be in \[0, 1\], got 1.1'),
        ('lambda_', -0.1, r'lambda_ must be in \[0, 1\]'),
        ('value_cost', -1.0, 'value_cost must be at least 0'),
        ('entropy_cost', -1.0, 'entropy_cost must be at least 0'),
        ('reward_clip', 0.0, 'reward_clip must be above 0'),
        ('learning_rate', 0.0, 'learning_rate must be above 0'),
        ('learning_rate_decay_steps', 0, 'learning_rate_decay_steps must be at least 1'),
        ('optimizer_epsilon', 0.0, 'optimizer_epsilon must be above 0'),
        ('rmsprop_decay', 1.0, r'rmsprop_decay must be in \[0, 1\)'),
        ('max_gradient_norm', 0.0, 'max_gradient_norm must be above 0'),
        ('unroll_length', 0, 'unroll_length must be at least 1'),
        ('batch_size', 0, 'batch_size must be at least 1'),
        ('clip_rho_threshold', 0.0, 'clip_rho_threshold must be above 0'),
        ('clip_pg_rho_threshold', 0.0, 'clip_pg_rho_threshold must be above 0'),
        ('max_staleness', -1, 'max_staleness must be at least 0'),
        ('max_queue_size', 0, 'max_queue_size must be at least 1'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        impala.IMPALA(**{field: value})


def test_a_value_of_a_wrong_type_is_refused_by_name():
    with pytest.raises(TypeError, match="A2C.core must be one of 'none', 'lstm', 'gru'"):
        impala.A2C(core='rnn')
