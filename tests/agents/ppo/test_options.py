"""PPO's other options: the epochs around the loss, the network, the experience."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import culmen
from culmen.agents import ppo
from culmen.core.experience import Queue
from culmen.core.experience import Window
from culmen.core.types import Context
from tests import probes
from tests.agents import registry
from tests.agents.impala import by_hand
from tests.agents.impala.by_hand import PARAMS

SPEC = registry.discrete_spec(num_actions=3)
# Four real steps whose rewards are off the values (1, 2, 4, 6) by 1, -3, 2 and 0: with discount 0
# these are the advantages, and with one descent over all of them the gradients are
SAMPLE = by_hand.sample([0, 1, 2, 3, 0], [2, -1, 6, 6])
SAMPLE = SAMPLE._replace(
    steps=SAMPLE.steps._replace(extras={'log_prob': np.full((1, 4), np.log(0.5), np.float32)})
)
ADVANTAGE = np.array([1.0, -3.0, 2.0, 0.0])
GRADIENT = {'logits': np.outer(ADVANTAGE, [-0.5, 0.5]) / 4, 'value': -ADVANTAGE / 4}
PLAIN = {'discount': 0.0, 'value_cost': 1.0, 'entropy_cost': 0.0, 'max_gradient_norm': None,
         'normalise_advantages': False, 'num_epochs': 1, 'num_minibatches': 1,
         'optimizer_epsilon': 1.0, 'learning_rate': 0.1}  # fmt: skip


def update(sample=SAMPLE, actor_steps=0, key=0, **settings):
    """(what one update adds to the parameters, its metrics)."""
    learner = ppo.make_learner(by_hand.NETWORK, ppo.PPOConfig(**{**PLAIN, **settings}))
    context = Context(jax.random.key(key), jnp.int32(actor_steps), jnp.int32(0), jnp.int32(0))
    after, metrics, priorities = jax.jit(learner.update)(
        learner.init(jax.random.key(0)), sample, context
    )
    assert priorities is None
    added = jax.tree_util.tree_map(lambda a, b: np.asarray(a - b), after.params, PARAMS)
    return added, metrics


def assert_added(expected, **settings):
    added, _ = update(**settings)
    for name, gradient in GRADIENT.items():
        np.testing.assert_allclose(added[name], expected(gradient), rtol=1e-4, atol=1e-6)


def test_adam():
    # Adam's first moments are the gradient and its square: -rate g / (|g| + epsilon).
    assert_added(lambda g: -0.1 * g / (np.abs(g) + 1.0))


def test_learning_rate_and_its_decay():
    assert_added(lambda g: -0.02 * g / (np.abs(g) + 1.0), learning_rate=0.02)
    for actor_steps, left in ((25, 0.75), (300, 0.0)):
        assert_added(
            lambda g, left=left: -left * 0.1 * g / (np.abs(g) + 1.0),
            learning_rate_decay_steps=100,
            actor_steps=actor_steps,
        )


def test_optimizer_epsilon():
    assert_added(lambda g: -0.1 * g / (np.abs(g) + 3.0), optimizer_epsilon=3.0)


def test_max_gradient_norm_is_that_of_all_parameters():
    norm = np.sqrt(sum(np.sum(g**2) for g in GRADIENT.values()))

    def expected(gradient):
        clipped = 0.5 * gradient / norm
        return -0.1 * clipped / (np.abs(clipped) + 1.0)

    assert_added(expected, max_gradient_norm=0.5)
    assert_added(lambda g: -0.1 * g / (np.abs(g) + 1.0), max_gradient_norm=100.0)


def test_each_epoch_descends_on_every_minibatch_in_an_order_of_its_own():
    assert update(num_epochs=3, num_minibatches=2)[1]['descents'] == 6
    assert update(num_epochs=1, num_minibatches=4)[1]['descents'] == 4
    # One descent a step: Adam's first moments belong to whichever came first.
    learner = ppo.make_learner(by_hand.NETWORK, ppo.PPOConfig(**{**PLAIN, 'num_minibatches': 4}))

    @jax.jit
    def values(key):
        context = Context(key, jnp.int32(0), jnp.int32(0), jnp.int32(0))
        state, _, _ = learner.update(learner.init(jax.random.key(0)), SAMPLE, context)
        return state.params['value'] - PARAMS['value']

    added = [np.asarray(values(jax.random.key(seed))) for seed in range(4)]
    assert len({each.tobytes() for each in added}) > 1
    for each in added:
        np.testing.assert_array_equal(np.sign(each), np.sign(ADVANTAGE))  # none was left out
    once, twice = (update(num_epochs=num)[0]['value'] for num in (1, 2))
    assert (np.abs(twice) > np.abs(once))[ADVANTAGE != 0].all()


def test_minibatches_that_do_not_divide_a_batch_are_refused():
    with pytest.raises(
        ValueError, match='num_minibatches must divide the 4 steps of a batch, got 3'
    ):
        update(num_minibatches=3)


def test_target_kl_ends_the_epochs_before_the_step():
    settings = {'num_epochs': 4, 'learning_rate': 0.5}
    free, metrics = update(**settings)
    assert metrics['descents'] == 4
    assert metrics['kl'] > 1e-3
    added, metrics = update(**settings, target_kl=1e-6)
    # The first is on the policy that acted; the second sees the divergence, and no later one moves.
    assert metrics['descents'] == 1
    for name, value in update(**{**settings, 'num_epochs': 1})[0].items():
        np.testing.assert_array_equal(added[name], value)
        assert (added[name] != free[name]).any()
    assert update(**settings, target_kl=100.0)[1]['descents'] == 4


def test_lambda():
    """The advantages of long windows; their arithmetic is in test_loss.py."""
    losses = [float(update(discount=0.5, lambda_=x)[1]['value_loss']) for x in (0.0, 1.0)]
    assert losses[0] != pytest.approx(losses[1])


@pytest.mark.parametrize(
    ('probe', 'lanes', 'core'),
    [
        (probes.ObservationActionProbe, 2, 'none'),
        (probes.MemoryProbe, 1, 'lstm'),
        (probes.ContinuousProbe, 2, 'none'),
    ],
)
def test_the_first_minibatch_is_on_the_policy_that_acted(probe, lanes, core):
    """In a run, after many updates: its log ratios are nothing but rounding."""
    agent = ppo.PPO(hidden_sizes=(16,), num_epochs=2, num_minibatches=2, unroll_length=5,
                    batch_size=4, learning_rate=1e-2, entropy_cost=0.5, core=core, core_size=8)  # fmt: skip
    result = culmen.run(
        culmen.Experiment(
            agent=agent, environment=probe, seed=0, max_actor_steps=300, num_environments=lanes,
            evaluation=culmen.Evaluation(every=None, episodes=1),
        ),
        progress=False,
    )  # fmt: skip
    rows = result.logs['learner']
    assert rows['learner_steps'].max() > 10
    assert rows['kl'].max() > 1e-6  # later ones are not
    assert rows['log_ratio'].max() <= 1e-5


# What experience asks for.


def test_experience():
    for batch_size in (None, 5):
        agent = ppo.PPO(unroll_length=7, batch_size=batch_size)
        window = Window(length=7, period=7, cross_episodes=True)
        assert agent.build(SPEC).experience == Queue(window, batch_size, max_staleness=0)
    window = ppo.PPO(core='gru').build(SPEC).experience.window
    assert window.first == ('extras/core_state',)


# The network.


def shapes(spec=SPEC, **settings):
    params = jax.eval_shape(ppo.PPO(**settings).build(spec).learner.init, jax.random.key(0)).params
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def test_hidden_sizes_and_shared_torso():
    assert {(4, 5), (5, 7), (7, 3), (7, 1)} <= set(shapes(hidden_sizes=(5, 7)).values())
    for shared, number in ((True, 1), (False, 2)):
        given = list(shapes(hidden_sizes=(5,), shared_torso=shared).values())
        assert given.count((4, 5)) == number


@pytest.mark.parametrize('core', ['lstm', 'gru'])
def test_core_and_core_size(core):
    given = shapes(core=core, core_size=6)
    assert any(core in path for path in given)
    assert (6, 3) in given.values()  # the policy's head


def test_torso():
    image = registry.discrete_spec(3, (36, 36, 2))
    assert any('res_net_torso' in path for path in shapes(image, torso='resnet'))


def test_activation_and_initial_log_scale():
    spec = registry.continuous_spec(2)

    def make(**settings):
        parts = ppo.PPO(hidden_sizes=(8,), **settings).build(spec)
        params = parts.learner.variables(jax.jit(parts.learner.init)(jax.random.key(0)))
        return parts, params

    def act(scale, **settings):
        parts, params = make(**settings)
        lanes = culmen.core.Lanes(np.arange(500, dtype=np.int32), 500)
        state = parts.actor.init(jax.random.key(0), lanes)
        observation = np.full((500, 4), scale, np.float32)
        timestep = culmen.core.TimeStep(np.ones(500, np.int32), None, None, observation)
        context = Context(jax.random.key(1), jnp.int32(0), jnp.int32(0), jnp.int32(0))
        return np.asarray(parts.actor.select_action(params, timestep, state, context)[2]['drawn'])

    assert act(0.0).std() == pytest.approx(1.0, abs=0.1)
    assert act(0.0, initial_log_scale=-2.0).std() == pytest.approx(np.exp(-2), abs=0.02)
    # Far from 0 a tanh is level, a ReLU is a line.
    level = [act(scale, activation='tanh').mean(0) for scale in (1e4, 2e4)]
    np.testing.assert_allclose(*level, atol=1e-4)
    line = [act(scale, activation='relu').mean(0) for scale in (1e4, 2e4)]
    assert np.abs(line[1] - line[0]).max() > 1.0


# The settings themselves.


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('hidden_sizes', (64, 0), 'hidden_sizes must be at least 1, got 0'),
        ('core_size', 0, 'core_size must be at least 1'),
        ('discount', 1.1, r'discount must be in \[0, 1\], got 1.1'),
        ('lambda_', -0.1, r'lambda_ must be in \[0, 1\]'),
        ('clip_epsilon', 0.0, 'clip_epsilon must be above 0'),
        ('value_clip_epsilon', 0.0, 'value_clip_epsilon must be above 0'),
        ('value_cost', -1.0, 'value_cost must be at least 0'),
        ('entropy_cost', -1.0, 'entropy_cost must be at least 0'),
        ('num_epochs', 0, 'num_epochs must be at least 1'),
        ('num_minibatches', 0, 'num_minibatches must be at least 1'),
        ('target_kl', 0.0, 'target_kl must be above 0'),
        ('learning_rate', 0.0, 'learning_rate must be above 0'),
        ('learning_rate_decay_steps', 0, 'learning_rate_decay_steps must be at least 1'),
        ('optimizer_epsilon', 0.0, 'optimizer_epsilon must be above 0'),
        ('max_gradient_norm', 0.0, 'max_gradient_norm must be above 0'),
        ('unroll_length', 0, 'unroll_length must be at least 1'),
        ('batch_size', 0, 'batch_size must be at least 1'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        ppo.PPO(**{field: value})
