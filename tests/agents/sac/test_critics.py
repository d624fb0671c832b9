"""SAC's variants by field: ensembles, quantiles, dropout, norms, SimBa's networks, a policy that waits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import sac
from culmen.agents import wrappers
from culmen.agents.sac import learning
from culmen.agents.sac.networks import make_critics
from culmen.agents.sac.networks import make_networks
from culmen.components import updates
from culmen.components.networks import CriticParams
from culmen.components.networks import Keyed
from culmen.components.networks import action_box
from tests.agents import continuous
from tests.agents import registry
from tests.agents import streams
from tests.agents.sac import by_hand

SPEC = registry.continuous_spec()
BOX = action_box('SAC', SPEC)
SMALL = {**registry.CONTINUOUS, 'hidden_sizes': (6,), 'random_steps': 0}


def networks(**settings):
    config = sac.SAC(**{**SMALL, **settings})
    made = make_networks(SPEC, BOX, config)
    policy, critics = made.init(jax.random.key(0))
    return made, policy, critics


def shapes(params):
    return sorted(leaf.shape for leaf in jax.tree_util.tree_leaves(params))


@pytest.mark.parametrize('policy_value', ['least', 'mean'])
@pytest.mark.parametrize('quantiles', [None, 2])
def test_the_losses_against_a_loop(policy_value, quantiles):
    """Equations 3, 5 and 9 of SAC with the target of REDQ, and that of TQC in its place."""
    weights, targets = np.array([1.0, 3.0, -2.0]), np.array([2.0, 1.0, 0.5])
    spread = np.array([0.0]) if quantiles is None else np.array([-1.0, 2.0])

    def outputs(w, features, action):
        q = w[:, None] * features[None, :, 0] + action[None, :, 0]
        return (
            q if quantiles is None else jnp.stack([q + each for each in spread.tolist()], axis=-1)
        )

    made = by_hand.NETWORKS._replace(critics=outputs)
    config = sac.SAC(
        num_critics=3, num_quantiles=quantiles, dropped_quantiles=1, policy_value=policy_value
    )
    critics, batch = make_critics(config), by_hand.transitions(0.9)
    key, temperature = by_hand.KEY, jnp.float32(0.3)
    value, _ = jax.jit(lambda *given: learning.critic_loss(*given, key, made, critics))(
        CriticParams({}, jnp.array(weights, jnp.float32)),
        CriticParams({}, jnp.array(targets, jnp.float32)),
        by_hand.POLICY, temperature, batch,
    )  # fmt: skip
    a_t, log_prob_t = by_hand.drawn(key)
    o_tm1, a_tm1, o_t = np.array([1.0, -1.0]), np.array([0.5, -1.0]), np.array([2.0, 5.0])
    rewards, discounts = np.array([1.0, -3.0]), np.array([0.9, 0.0])
    expected = 0.0
    for w in weights:
        for b in range(2):
            pool = sorted(t * o_t[b] + a_t[b] + s for t in targets for s in spread)
            pool = pool[:1] if quantiles is None else pool[:3]
            y = [rewards[b] + discounts[b] * (z - 0.3 * log_prob_t[b]) for z in pool]
            q = w * o_tm1[b] + a_tm1[b]
            if quantiles is None:
                expected += (y[0] - q) ** 2 / 2 / 2
                continue
            for s, tau in zip(spread, (0.25, 0.75)):
                for each in y:
                    u = each - q - s
                    huber = u**2 / 2 if abs(u) <= 1 else abs(u) - 0.5
                    expected += abs(tau - (u < 0)) * huber / (3 * 2 * 2)
    assert value == pytest.approx(expected, rel=1e-5)

    value, log_prob = jax.jit(lambda *given: learning.policy_loss(*given, key, made, critics))(
        by_hand.POLICY, jnp.array(weights, jnp.float32), temperature, jnp.array([[1.0], [-1.0]])
    )
    expected = 0.0
    for b in range(2):
        q = [np.mean([w * o_tm1[b] + a_t[b] + s for s in spread]) for w in weights]
        climbed = min(q) if policy_value == 'least' else np.mean(q)
        expected += (0.3 * log_prob_t[b] - climbed) / 2
    assert value == pytest.approx(expected, rel=1e-4)


def test_the_target_is_of_critics_that_are_drawn():
    critics = make_critics(sac.SAC(num_critics=2, num_target_critics=1))
    chosen = [critics.chosen(jnp.array([1.0, 2.0]), jax.random.key(i)) for i in range(20)]
    assert {float(each[0]) for each in chosen} == {1.0, 2.0}


def test_the_numbers_and_widths_of_critics():
    _, policy, critics = networks(num_critics=5, critic_hidden_sizes=(7, 3), num_quantiles=4)
    assert shapes(policy) == [(4,), (4, 6), (6,), (6, 4)]
    assert shapes(critics.ensemble) == [
        (5, 3), (5, 3, 4), (5, 4), (5, 6, 7), (5, 7), (5, 7, 3),
    ]  # fmt: skip


@pytest.mark.parametrize('name', ['critic_layer_norm', 'layer_norm'])
def test_norms_of_layers(name):
    made, policy, critics = networks(**{name: True, 'hidden_sizes': (6, 5)})
    is_norm = lambda params: sum(key.rpartition('/')[2].startswith('layer_norm') for key in params)
    # Every hidden layer of the critics alone, or the first of each network.
    assert (is_norm(policy), is_norm(critics.ensemble)) == {
        'critic_layer_norm': (0, 2),
        'layer_norm': (1, 1),
    }[name]


def test_dropout_is_the_critics_in_learning_and_in_targets():
    made, policy, critics = networks(dropout_rate=0.5)
    features, action = jnp.ones((64, 4)), jnp.ones((64, 2))
    plain = made.critics(critics.ensemble, features, action)
    np.testing.assert_allclose(plain, plain[:, :1] + jnp.zeros_like(plain), rtol=1e-5)
    dropped = made.critics(Keyed(critics.ensemble, jax.random.key(1)), features, action)
    assert len(np.unique(dropped[0])) > 2
    assert (dropped[0] != dropped[1]).any()
    _, policy_alone, _ = networks()
    assert shapes(policy) == shapes(policy_alone)
    of_learner = make_critics(sac.SAC(dropout_rate=0.5))
    assert of_learner.drops and not make_critics(sac.SAC()).drops

    seen = []

    def spy(params, features, action):
        seen.append(isinstance(params, Keyed))
        held = params.params if isinstance(params, Keyed) else params
        return held[:, None] * features[None, :, 0] + action[None, :, 0]

    spied = by_hand.NETWORKS._replace(critics=spy)
    learning.critic_loss(
        by_hand.CRITICS, by_hand.TARGETS, by_hand.POLICY, 0.1, by_hand.transitions(0.9),
        by_hand.KEY, spied, of_learner,
    )  # fmt: skip
    learning.policy_loss(
        by_hand.POLICY, by_hand.CRITICS.ensemble, 0.1, jnp.ones((2, 1)), by_hand.KEY, spied,
        of_learner,
    )  # fmt: skip
    assert seen == [True, True, True]


def test_simba_s_networks():
    made, policy, critics = networks(
        network='simba', hidden_sizes=(4,), critic_hidden_sizes=(6, 6), num_critics=1
    )
    # A layer; for each block a norm and two layers, the first four times as wide; a norm; the head.
    norm, out = [(4,), (4,)], [(4,), (4, 4)]
    assert shapes(policy) == sorted(
        [(4, 4), (4,), *norm, (4, 16), (16,), (16, 4), (4,), *norm, *out]
    )
    widths = [leaf.shape[1:] for leaf in jax.tree_util.tree_leaves(critics.ensemble)]
    assert widths.count((6, 24)) == 2 and widths.count((24, 6)) == 2
    assert sum('norm' in key for key in critics.ensemble) == 3


def test_observations_are_normalised_by_their_running_moments():
    agent = sac.SAC(**SMALL, normalise_observations=True)
    around = wrappers.Normalised(sac.SAC(**SMALL))
    row = registry.Row('normalised', agent, SPEC)
    states = []
    for each in (agent, around):
        learner = each.build(SPEC).learner
        state = learner.init(jax.random.key(0))
        state, metrics, _ = jax.jit(learner.update)(
            state, streams.samples(row)[0], streams.context(0, 0, 0)
        )
        states.append(state)
    assert 'observation_deviation' in metrics
    streams.assert_trees_equal(*states)


def update(period, number=4, **settings):
    learner = sac.make_learner(
        by_hand.NETWORKS, sac.SACConfig(**{**by_hand.PLAIN, 'policy_period': period, **settings})
    )
    compiled, states = jax.jit(learner.update), [learner.init(jax.random.key(0))]
    for i in range(number):
        state, metrics, _ = compiled(states[-1], continuous.TWO, streams.context(i, 0, i))
        states.append(state)
    return states, metrics


def test_policy_period():
    def moved(name, states):
        leaves = [jax.tree_util.tree_leaves(getattr(state, name))[0] for state in states]
        return [bool((a != b).any()) for a, b in zip(leaves[:-1], leaves[1:])]

    states, metrics = update(2)
    assert moved('policy_params', states) == [False, True, False, True]
    assert moved('log_temperature', states) == [False, True, False, True]
    assert moved('target_critic_params', states) == [True] * 4
    assert set(metrics) == {'loss', 'q', 'temperature'}
    states, metrics = update(1)
    assert moved('policy_params', states) == [True] * 4
    assert set(metrics) == {'loss', 'q', 'temperature', 'policy_loss', 'entropy'}


def test_weight_decay():
    (before, after), _ = update(1, 1, weight_decay=0.5)
    (_, plain), _ = update(1, 1)
    rate = by_hand.PLAIN['learning_rate']
    for name in ('policy_params', 'critic_params'):
        for start, decayed, other in zip(
            *(jax.tree_util.tree_leaves(getattr(each, name)) for each in (before, after, plain))
        ):
            np.testing.assert_allclose(decayed - other, -rate * 0.5 * start, rtol=2e-2, atol=1e-7)
    assert after.log_temperature == plain.log_temperature


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'num_target_critics': 3}, r'num_target_critics must be in \[1, 2\], got 3'),
        ({'num_critics': 0}, 'num_critics must be at least 1'),
        ({'num_quantiles': 2}, 'dropped_quantiles must be below num_quantiles, 2, got 2'),
        ({'dropped_quantiles': -1}, 'dropped_quantiles must be at least 0'),
        (
            {'num_quantiles': 5, 'num_target_critics': 1},
            'num_target_critics must be None where num_quantiles is given.*got 1',
        ),
        ({'dropout_rate': 1.0}, r'dropout_rate must be in \[0, 1\)'),
        ({'policy_value': 'most'}, "policy_value must be .*'least'.*got 'most'"),
        ({'policy_period': 0}, 'policy_period must be at least 1'),
        ({'weight_decay': -0.1}, 'weight_decay must be at least 0'),
        (
            {'network': 'simba', 'layer_norm': True},
            "layer_norm.*need the network 'mlp', got 'simba'",
        ),
        ({'network': 'simba', 'dropout_rate': 0.1}, "dropout_rate need the network 'mlp'"),
        ({'network': 'simba', 'hidden_sizes': (8, 4)}, r'hidden_sizes must be equal.*got \(8, 4\)'),
        (
            {'network': 'simba', 'critic_hidden_sizes': (8, 4)},
            r'critic_hidden_sizes must be equal.*got \(8, 4\)',
        ),
        ({'critic_hidden_sizes': (0,)}, 'critic_hidden_sizes must be at least 1'),
        ({'layer_norm': True, 'dropout_rate': 0.1}, 'layer_norm must be False where'),
        ({'layer_norm': True, 'critic_layer_norm': True}, 'layer_norm must be False where'),
    ],
)
def test_what_can_not_be_is_refused_by_name(settings, words):
    with pytest.raises(ValueError, match=words):
        sac.SAC(**settings)


@pytest.mark.parametrize('name', ['redq', 'droq', 'tqc', 'simba'])
def test_presets_can_be_built(name):
    parts = sac.SAC(**sac.SAC.presets[name]).build(SPEC)
    state = jax.eval_shape(parts.learner.init, jax.random.key(0))
    base = getattr(state, 'base', state)
    leaves = jax.tree_util.tree_leaves(base.critic_params.ensemble)
    assert leaves[0].shape[0] == {'redq': 10, 'droq': 2, 'tqc': 5, 'simba': 1}[name]
    assert isinstance(make_critics(sac.SAC(**sac.SAC.presets[name])), updates.Critics)
