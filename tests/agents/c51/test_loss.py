"""C51's loss by hand: a table of logits, and algorithm 1 as loops."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import c51
from culmen.agents import rainbow
from culmen.components.networks import Network
from culmen.core.types import Lanes
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents.dqn import by_hand
from tests.agents.dqn.by_hand import CONTEXT
from tests.agents.dqn.by_hand import TWO

ATOMS = np.array([-1.0, 0.0, 1.0])
# Logits of three observations, two actions and three atoms.
ONLINE = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32)
TARGET = np.random.default_rng(2).normal(size=(3, 2, 3)).astype(np.float32)
NETWORK = Network(init=lambda key: jnp.asarray(ONLINE), apply=by_hand.lookup)
PLAIN = {'n_step': 1, 'double': False, 'discount': 0.5, 'num_atoms': 3, 'v_min': -1.0, 'v_max': 1.0}


def loss(sample=TWO, params=ONLINE, **settings):
    config = c51.C51Config(**{**PLAIN, **settings})
    value, (metrics, priorities) = c51.loss(
        jnp.asarray(params), jnp.asarray(TARGET), sample, CONTEXT, NETWORK, config
    )
    return float(value), np.asarray(priorities), metrics


def softmax(logits):
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def cross_entropy(o_tm1, a_tm1, reward, discount, o_t, selector=TARGET, atoms=ATOMS, legal=(0, 1)):
    """Bellemare et al. 2017, algorithm 1."""
    values = softmax(selector[o_t]) @ atoms
    best = max(legal, key=lambda a: values[a])
    probs, m, width = softmax(TARGET[o_t, best]), np.zeros(len(atoms)), atoms[1] - atoms[0]
    for j, z in enumerate(atoms):
        b = (np.clip(reward + discount * z, atoms[0], atoms[-1]) - atoms[0]) / width
        low, high = int(np.floor(b)), int(np.ceil(b))
        if low == high:
            m[low] += probs[j]
        else:
            m[low] += probs[j] * (high - b)
            m[high] += probs[j] * (b - low)
    return -np.sum(m * np.log(softmax(ONLINE[o_tm1, a_tm1])))


def test_it_is_the_cross_entropy_to_the_projected_target():
    value, priorities, metrics = loss()
    expected = [cross_entropy(0, 1, 1.0, 0.5, 1), cross_entropy(1, 0, -1.0, 0.0, 2)]
    np.testing.assert_allclose(priorities, expected, rtol=1e-5)
    assert value == pytest.approx(np.mean(expected), rel=1e-5)
    taken = softmax(ONLINE[[0, 1], [1, 0]])
    assert metrics['q'] == pytest.approx(np.mean(taken @ ATOMS), rel=1e-4)
    assert metrics['mass_at_v_min'] == pytest.approx(taken[:, 0].mean(), rel=1e-5)
    assert metrics['mass_at_v_max'] == pytest.approx(taken[:, -1].mean(), rel=1e-5)
    # Of the first, 1 + 0.5 z leaves [-1, 1] by more than 0.5 for no z but 1, where it is by 0.5 alone.
    assert metrics['mass_outside'] == 0
    far = by_hand.sample([0, 1], [1, 0], [[1.2], [-1.0]], [[1.0], [0.0]], [1, 2])
    best = np.argmax(softmax(TARGET[1]) @ ATOMS)
    expected = softmax(TARGET[1, best])[-1] / 2  # 1.2 + 0.5
    assert loss(far)[2]['mass_outside'] == pytest.approx(expected, rel=1e-5)


def test_the_online_network_selects_with_double():
    values = [softmax(table[1]) @ ATOMS for table in (ONLINE, TARGET)]
    assert np.argmax(values[0]) != np.argmax(values[1])
    expected = cross_entropy(0, 1, 1.0, 0.5, 1, selector=ONLINE)
    assert loss(double=True)[1][0] == pytest.approx(expected, rel=1e-5)
    assert loss(double=True)[1][0] != pytest.approx(loss()[1][0], rel=1e-3)


@pytest.mark.parametrize(('v_min', 'v_max', 'num_atoms'), [(-2.0, 1.0, 3), (-1.0, 0.5, 3)])
def test_the_support(v_min, v_max, num_atoms):
    atoms = np.linspace(v_min, v_max, num_atoms)
    expected = cross_entropy(0, 1, 1.0, 0.5, 1, atoms=atoms)
    given = loss(v_min=v_min, v_max=v_max, num_atoms=num_atoms)[1][0]
    assert given == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('double', [False, True])
def test_illegal_actions_are_not_selected(double):
    table = ONLINE if double else TARGET
    best = int(np.argmax(softmax(table[1]) @ ATOMS))
    legal = [[[True, True], [best != 0, best != 1]]]
    sample = by_hand.sample([0], [1], [[1.0]], [[1.0]], [1], legal=legal)
    expected = cross_entropy(0, 1, 1.0, 0.5, 1, selector=table, legal=(1 - best,))
    assert loss(sample, double=double)[1] == pytest.approx([expected], rel=1e-5)


def test_no_gradient_reaches_the_target():
    config = c51.C51Config(**{**PLAIN, 'double': True})

    def of(online, target):
        return c51.loss(online, target, TWO, CONTEXT, NETWORK, config)[0]

    online, target = jax.grad(of, argnums=(0, 1))(jnp.asarray(ONLINE), jnp.asarray(TARGET))
    assert not np.asarray(target).any()
    # Cross-entropy: softmax less the target, of the taken actions alone.
    assert np.asarray(online)[0, 1].any()
    assert not np.asarray(online)[0, 0].any()
    assert not np.asarray(online)[2].any()


def test_importance_weights_and_their_rise():
    sample = TWO._replace(probability=np.float32([0.5, 0.125]), size=np.int32(8))
    elements = loss()[1]
    settings = {'priority_exponent': 0.5, 'importance_exponent': 0.5}
    for steps, beta in ((0, 0.5), (5, 0.75), (10, 1.0)):
        config = c51.C51Config(**PLAIN, **settings, importance_anneal_steps=10)
        context = CONTEXT._replace(actor_steps=jnp.int32(steps))
        value, _ = c51.loss(
            jnp.asarray(ONLINE), jnp.asarray(TARGET), sample, context, NETWORK, config
        )
        expected = np.mean(elements * [4**-beta, 1.0])
        assert float(value) == pytest.approx(expected, rel=1e-5)
    assert loss(sample, **settings)[0] == pytest.approx(np.mean(elements * [0.5, 1.0]), rel=1e-5)


def test_an_action_s_value_is_the_mean_of_its_distribution():
    agent = c51.C51(hidden_sizes=(4,), num_atoms=3, v_min=-1.0, v_max=1.0)
    parts = agent.build(registry.discrete_spec())
    params = jax.jit(parts.learner.init)(jax.random.key(0)).params
    zeros = jax.tree_util.tree_map(jnp.zeros_like, params)
    name = next(name for name in zeros if zeros[name]['b'].shape == (9,))
    # The first action may pay 1 or -1, the second pays 0 surely, the third mostly 1.
    logits = jnp.array([[1.0, 0.0, 1.0], [0.0, 9.0, 0.0], [0.0, 0.0, 2.0]])
    zeros[name]['b'] = logits.ravel()
    timestep = TimeStep(np.ones(1, np.int32), None, None, np.zeros((1, 4), np.float32))
    state = parts.evaluator.init(jax.random.key(0), Lanes(np.arange(1, dtype=np.int32), 1))
    action, _, _ = parts.evaluator.select_action(zeros, timestep, state, CONTEXT)
    assert action.tolist() == [2]


@pytest.mark.parametrize('agent', [c51.C51, rainbow.Rainbow])
@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('v_min', -math.inf, 'v_min must be finite, got -inf'),
        ('v_min', math.nan, 'v_min must be finite, got nan'),
        ('v_max', math.inf, 'v_max must be finite and above -10.0, got inf'),
        ('v_max', math.nan, 'v_max must be finite and above -10.0, got nan'),
    ],
)
def test_a_support_without_end_is_refused(agent, field, value, words):
    with pytest.raises(ValueError, match=words):
        agent(**{field: value})


@pytest.mark.parametrize(('v_min', 'v_max'), [(1.0, 1.0), (2.0, -2.0)])
def test_an_empty_support_is_refused(v_min, v_max):
    with pytest.raises(ValueError, match='v_max must be finite and above'):
        c51.C51(v_min=v_min, v_max=v_max)
    with pytest.raises(ValueError, match='num_atoms must be at least 2, got 1'):
        c51.C51(num_atoms=1)
    assert dataclasses.replace(c51.C51(), v_min=-1.0).v_min == -1.0
