"""The losses of CrossQ against its equations in double, its update and its options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import crossq
from culmen.agents.crossq import learning
from culmen.components.networks import action_box
from culmen.components.networks import make_renormed_networks
from culmen.components.replay.stream.windows import Transitions
from culmen.core.experience import Replay
from culmen.core.experience import Window
from tests.agents import registry
from tests.agents import streams

SPEC = registry.continuous_spec()
SMALL = {**registry.CROSSQ, 'hidden_sizes': (5,), 'critic_hidden_sizes': (6,), 'random_steps': 0}
NETWORKS = make_renormed_networks(
    SPEC, action_box('tests', SPEC), (5,), (6,), momentum=0.9, warmup=10**6
)
POLICY, POLICY_MOMENTS, CRITICS, CRITIC_MOMENTS = jax.jit(NETWORKS.init)(jax.random.key(3))
KEY, TEMPERATURE = jax.random.key(5), 0.3
GENERATOR = np.random.default_rng(1)
BATCH = 7
TRANSITIONS = Transitions(
    *(
        jnp.asarray(each, jnp.float32)
        for each in (
            GENERATOR.normal(size=(BATCH, 4)),
            GENERATOR.uniform(-1, 1, (BATCH, 2)),
            GENERATOR.normal(size=BATCH),
            np.array([0.9, 0.0, 0.9, 0.9, 0.0, 0.9, 0.9]),
            GENERATOR.normal(size=(BATCH, 4)),
        )
    )
)


def double(tree):
    return jax.tree_util.tree_map(lambda leaf: np.asarray(leaf, np.float64), tree)


def forward(params, moments, x, of_batch):
    """Norm, layer, ReLU, norm, and the last layer; with the batch's moments or the running ones."""

    def named(tree, what):
        return [leaf for name, leaf in sorted(tree.items()) if what in name]

    def norm(x, which):
        held = named(moments, 'renorm')[which]
        mean, variance = (
            (x.mean(axis=0), x.var(axis=0)) if of_batch else (held['mean'], held['variance'])
        )
        scale, offset = (named(params, 'renorm')[which][name] for name in ('scale', 'offset'))
        return scale * (x - mean) / np.sqrt(variance + 1e-3) + offset

    first, last = named(params, 'linear')
    x = np.maximum(norm(x, 0) @ first['w'] + first['b'], 0)
    return norm(x, 1) @ last['w'] + last['b']


def act(features, key, of_batch):
    """Actions and log-densities."""
    both = forward(double(POLICY), double(POLICY_MOMENTS), features, of_batch)
    mean, log_scale = np.split(both, 2, axis=1)
    noise = np.asarray(jax.random.normal(key, (BATCH, 2)), np.float64)
    before = mean + np.exp(log_scale) * noise
    density = -0.5 * noise**2 - log_scale - 0.5 * np.log(2 * np.pi)
    return np.tanh(before), np.sum(density - np.log(1 - np.tanh(before) ** 2), axis=1)


def value(critic, features, action, of_batch):
    params = jax.tree_util.tree_map(lambda leaf: leaf[critic], double(CRITICS.ensemble))
    moments = jax.tree_util.tree_map(lambda leaf: leaf[critic], double(CRITIC_MOMENTS))
    # Leaves of a nest are joined in the order of their names: the action is first.
    return forward(params, moments, np.concatenate([action, features], axis=1), of_batch)[:, 0]


def test_the_critics_loss_sees_both_ends_in_one_batch():
    o_tm1, a_tm1, r_t, discount_t, o_t = double(TRANSITIONS)
    a_t, log_prob_t = act(o_t, KEY, of_batch=False)
    both = np.concatenate([o_tm1, o_t]), np.concatenate([a_tm1, a_t])
    q = np.stack([value(critic, *both, of_batch=True) for critic in range(2)])
    expected = 0.0
    for b in range(BATCH):
        y = min(q[0, BATCH + b], q[1, BATCH + b]) - TEMPERATURE * log_prob_t[b]
        y = r_t[b] + discount_t[b] * y
        expected += sum((y - q[critic, b]) ** 2 / 2 for critic in range(2)) / BATCH
    loss, (features, q_tm1, moments) = jax.jit(
        lambda *given: learning.critic_loss(*given, NETWORKS)
    )(CRITICS, CRITIC_MOMENTS, (POLICY, POLICY_MOMENTS), TEMPERATURE, TRANSITIONS, KEY)
    assert loss == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(q_tm1, q[:, :BATCH], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(features, TRANSITIONS.o_tm1)
    first = [held['mean'] for _, held in sorted(moments.items())][0]
    inputs = np.concatenate(both[::-1], axis=1)
    np.testing.assert_allclose(first, 0.1 * np.stack([inputs.mean(axis=0)] * 2), atol=1e-5)


def test_the_policy_s_loss_takes_the_running_moments_of_the_critics():
    o_tm1 = double(TRANSITIONS).o_tm1
    action, log_prob = act(o_tm1, KEY, of_batch=True)
    q = np.stack([value(critic, o_tm1, action, of_batch=False) for critic in range(2)])
    expected = np.mean([TEMPERATURE * log_prob[b] - min(q[:, b]) for b in range(BATCH)])
    loss, (given, moments) = jax.jit(lambda *given: learning.policy_loss(*given, NETWORKS))(
        POLICY, POLICY_MOMENTS, (CRITICS.ensemble, CRITIC_MOMENTS), TEMPERATURE,
        TRANSITIONS.o_tm1, KEY,
    )  # fmt: skip
    assert loss == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(given, log_prob, rtol=1e-3, atol=1e-4)
    first = [held['mean'] for _, held in sorted(moments.items())][0]
    np.testing.assert_allclose(first, 0.1 * o_tm1.mean(axis=0), atol=1e-5)


def test_no_gradient_passes_through_the_target():
    def loss(rewards, policy):
        return learning.critic_loss(
            CRITICS, CRITIC_MOMENTS, (policy, POLICY_MOMENTS), TEMPERATURE,
            TRANSITIONS._replace(discount_t=jnp.zeros(BATCH), r_t=rewards), KEY, NETWORKS,
        )[0]  # fmt: skip

    gradient = jax.jit(jax.grad(loss))(TRANSITIONS.r_t, POLICY)
    assert (gradient == 0).all()


def run(number=6, **settings):
    """The states of so many updates from the same samples, and the last metrics."""
    agent = crossq.CrossQ(**{**SMALL, **settings})
    row = registry.Row('crossq', agent, SPEC)
    learner = agent.build(SPEC).learner
    compiled, sample = jax.jit(learner.update), streams.samples(row)[0]
    states = [jax.jit(learner.init)(jax.random.key(0))]
    for i in range(number):
        state, metrics, _ = compiled(states[-1], sample, streams.context(i, 0, i))
        states.append(state)
    return states, metrics


def moved(name, states):
    leaves = [jax.tree_util.tree_leaves(getattr(state, name)) for state in states]
    return [any(bool((a != b).any()) for a, b in zip(*pair)) for pair in zip(leaves, leaves[1:])]


def test_the_policy_its_moments_and_the_temperature_wait_for_their_turn():
    states, metrics = run(policy_period=3)
    for name in ('policy_params', 'policy_moments', 'log_temperature'):
        assert moved(name, states) == [False, False, True] * 2
    for name in ('critic_params', 'critic_moments'):
        assert moved(name, states) == [True] * 6
    assert set(metrics) == {'loss', 'q', 'temperature'}
    assert not any('target' in name for name in states[0]._fields)
    calls = [held['calls'] for held in states[-1].critic_moments.values()]
    assert all((each == 6).all() for each in calls)  # once an update


def test_learning_rate_and_the_momentum_of_adam():
    (before, after), _ = run(1, learning_rate=1e-3)
    for a, b in zip(*(jax.tree_util.tree_leaves(each.critic_params) for each in (before, after))):
        assert np.abs(a - b).max() == pytest.approx(1e-3, rel=1e-2)
    (_, plain), _ = run(1, adam_b1=0.5)
    (_, other), _ = run(1, adam_b1=0.9)
    first = [
        next(leaf for leaf in jax.tree_util.tree_leaves(each.critic_optimizer_state) if leaf.ndim)
        for each in (plain, other)
    ]
    np.testing.assert_allclose(0.1 * first[0], 0.5 * first[1], rtol=1e-4, atol=1e-9)


def test_norm_warmup_and_momentum():
    (*_, cold), _ = run(3, norm_warmup=100)
    (*_, warm), _ = run(3, norm_warmup=0)
    streams.assert_trees_equal(
        *(
            {name: held['calls'] for name, held in each.critic_moments.items()}
            for each in (cold, warm)
        )
    )
    apart = zip(*(jax.tree_util.tree_leaves(each.critic_params) for each in (cold, warm)))
    assert any((a != b).any() for a, b in apart)
    (_, fast), _ = run(1, norm_momentum=0.0)
    (_, slow), _ = run(1, norm_momentum=0.9)
    for name, held in fast.critic_moments.items():
        given = slow.critic_moments[name]['mean']
        np.testing.assert_allclose(given, 0.1 * held['mean'], rtol=1e-4, atol=1e-7)


def test_target_entropy_and_initial_temperature():
    for target, sign in ((-100.0, -1), (100.0, 1)):
        (before, after), metrics = run(
            1, policy_period=1, target_entropy=target, initial_temperature=0.5
        )
        assert metrics['temperature'] == pytest.approx(0.5)
        assert np.sign(after.log_temperature - before.log_temperature) == sign


def test_experience():
    agent = crossq.CrossQ(
        batch_size=17, replay_capacity=301, min_replay_size=29, samples_per_insert=3.5
    )
    assert agent.build(SPEC).experience == Replay(
        window=Window(length=1), capacity=301, min_size=29, batch_size=17, samples_per_insert=3.5
    )


@pytest.mark.parametrize(
    ('field', 'bad', 'words'),
    [
        ('hidden_sizes', (0,), 'hidden_sizes must be at least 1'),
        ('critic_hidden_sizes', (0,), 'critic_hidden_sizes must be at least 1'),
        ('num_critics', 0, 'num_critics must be at least 1'),
        ('norm_momentum', 1.5, r'norm_momentum must be in \[0, 1\]'),
        ('norm_warmup', -1, 'norm_warmup must be at least 0'),
        ('augmentation_pad', -1, 'augmentation_pad must be at least 0'),
        ('adam_b1', 1.0, r'adam_b1 must be in \[0, 1\)'),
        ('policy_period', 0, 'policy_period must be at least 1'),
        ('initial_temperature', 0.0, 'initial_temperature must be above 0'),
        ('min_replay_size', 10**8, r'min_replay_size must be in \[0, \d+\]'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, bad, words):
    with pytest.raises(ValueError, match=words):
        crossq.CrossQ(**{field: bad})
