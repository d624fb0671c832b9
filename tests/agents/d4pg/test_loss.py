"""D4PG's losses and update by hand: a critic whose logits are linear, a policy of one number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import d4pg
from culmen.agents.d4pg import learning
from culmen.components.networks import ContinuousNetworks
from culmen.components.networks import CriticParams
from culmen.core.types import Context
from tests.agents import continuous
from tests.agents import registry
from tests.agents.continuous import TWO

# Atoms -4, 0, 4; logits are these slopes times w o + a.
SLOPES = np.array([0.0, 0.5, 1.0])
ATOMS = np.array([-4.0, 0.0, 4.0])


def critics(weights, features, action):
    value = weights[:, None] * features[None, :, 0] + action[None, :, 0]
    return value[..., None] * jnp.asarray(SLOPES, jnp.float32)[None, None]


NETWORKS = ContinuousNetworks(
    init=lambda key: (jnp.float32(0.25), CriticParams({}, jnp.ones(1))),
    encode=lambda params, observation: jnp.asarray(observation),
    policy=lambda slope, observation: slope * observation,
    critics=critics,
    box=continuous.BOX,
)
PLAIN = {'policy_learning_rate': 1e-4, 'critic_learning_rate': 1e-4, 'discount': 0.9, 'n_step': 1,
         'target_update_period': 1000, 'num_atoms': 3, 'v_min': -4.0, 'v_max': 4.0}  # fmt: skip


def probabilities(value):
    """Of the atoms, where w o + a is value."""
    exponents = np.exp(SLOPES * value)
    return exponents / exponents.sum()


def projected(probs, returns, atoms=ATOMS):
    """Each return's probability is shared by its two neighbours; written as a loop."""
    out = np.zeros(len(atoms))
    for p, z in zip(probs, np.clip(returns, atoms[0], atoms[-1])):
        place = (z - atoms[0]) / (atoms[1] - atoms[0])
        low = min(int(place), len(atoms) - 2)
        out[low] += p * (low + 1 - place)
        out[low + 1] += p * (place - low)
    return out


def cross_entropies(discount=0.9, atoms=ATOMS, rewards=(1.0, -3.0)):
    """Of the two windows: from o = 1, a = 0.5 to o = 2, a = 0.5; and o = -1, a = -1, a termination."""
    given = []
    for value, reward, factor in ((1.5, rewards[0], discount), (-2.0, rewards[1], 0.0)):
        target = projected(probabilities(2.5), reward + factor * atoms, atoms)
        given.append(-np.sum(target * np.log(probabilities(value))))
    return np.array(given)


def errors(discount=0.9):
    """Absolute errors of the mean returns."""
    mean = [ATOMS @ probabilities(value) for value in (1.5, -2.0, 2.5)]
    return np.abs([1.0 + discount * mean[2] - mean[0], -3.0 - mean[1]])


def update(number=1, sample=TWO, **settings):
    """The states before and after so many updates, the last metrics and the last priorities."""
    learner = d4pg.make_learner(NETWORKS, d4pg.D4PGConfig(**{**PLAIN, **settings}))
    compiled = jax.jit(learner.update)
    states, metrics, priorities = [learner.init(jax.random.key(0))], {}, None
    for i in range(number):
        context = Context(jax.random.key(i), jnp.int32(0), jnp.int32(i), jnp.int32(i))
        state, metrics, priorities = compiled(states[-1], sample, context)
        states.append(state)
    return states, metrics, priorities


@pytest.mark.parametrize('discount', [0.0, 0.9])
def test_the_critic_s_loss(discount):
    _, metrics, priorities = update(discount=discount)
    assert metrics['loss'] == pytest.approx(cross_entropies(discount).mean(), rel=1e-5)
    assert metrics['q'] == pytest.approx(
        np.mean([ATOMS @ probabilities(1.5), ATOMS @ probabilities(-2.0)]), rel=1e-5
    )
    assert metrics['absolute_error'] == pytest.approx(errors(discount).mean(), rel=1e-5)
    assert priorities is None


@pytest.mark.parametrize(('v_min', 'v_max'), [(-4.0, 2.0), (-2.0, 4.0), (-10.0, 10.0)])
def test_v_min_and_v_max(v_min, v_max):
    _, metrics, _ = update(v_min=v_min, v_max=v_max)
    atoms = np.linspace(v_min, v_max, 3)
    assert metrics['loss'] == pytest.approx(cross_entropies(atoms=atoms).mean(), rel=1e-5)


def test_num_atoms():
    learner = d4pg.D4PG(num_atoms=9, hidden_sizes=(5,)).build(registry.continuous_spec()).learner
    state = jax.eval_shape(learner.init, jax.random.key(0))
    shapes = {leaf.shape for leaf in jax.tree_util.tree_leaves(state.critic_params)}
    assert (1, 5, 9) in shapes


def test_n_step():
    # Two rewards, 1 and 4, to o = 2; then a window that a termination cuts short.
    sample = continuous.sample([1, -1], [1, -2], [[1, 4], [-3, 0]], [[1, 1], [0, 0]], [2, 5])
    sample.steps.mask[1, 1] = False
    _, metrics, _ = update(sample=sample, n_step=2)
    expected = cross_entropies(discount=0.81, rewards=(1 + 0.9 * 4, -3.0))
    assert metrics['loss'] == pytest.approx(expected.mean(), rel=1e-5)
    window = d4pg.D4PG(n_step=4).build(registry.continuous_spec()).experience.window
    assert (window.length, window.ends) == (4, ('observation',))


def test_both_gradients_are_of_the_parameters_before_the_update():
    settings = {'critic_learning_rate': 0.1, 'policy_learning_rate': 0.2}
    sample = continuous.sample([1, 3], [1, -2], [[1], [-3]], [[1.0], [0.0]], [2, 5])
    (before, after), _, _ = update(sample=sample, **settings)
    features = jnp.array([[1.0], [3.0]])

    def loss(slope):
        weights = before.critic_params.ensemble
        return learning.policy_loss(slope, weights, features, jnp.asarray(ATOMS), NETWORKS)

    gradient = jax.jit(jax.grad(loss))(before.policy_params)
    # d mean / d slope, by differences: the mean return rises with the action.
    means = [
        np.mean([ATOMS @ probabilities(o + slope * o) for o in (1.0, 3.0)])
        for slope in (0.249, 0.251)
    ]
    assert gradient == pytest.approx((means[0] - means[1]) / 0.002, rel=1e-2)
    moments = [
        leaf
        for leaf in jax.tree_util.tree_leaves(after.policy_optimizer_state)
        if jnp.shape(leaf) == (1,)
    ]
    assert moments[0][0] == pytest.approx(0.1 * float(gradient), rel=1e-5)
    assert after.policy_params == pytest.approx(0.25 + 0.2, rel=1e-4)


def test_learning_rates_are_each_its_own():
    sample = continuous.sample([1, 3], [1, -2], [[1], [-3]], [[1.0], [0.0]], [2, 5])
    (before, after), _, _ = update(
        sample=sample, policy_learning_rate=0.03, critic_learning_rate=0.002
    )
    assert abs(after.policy_params - before.policy_params) == pytest.approx(0.03, rel=1e-3)
    steps = np.abs(after.critic_params.ensemble - before.critic_params.ensemble)
    np.testing.assert_allclose(steps, 0.002, rtol=1e-2)


def test_max_gradient_norm():
    (_, after), _, _ = update(max_gradient_norm=1e-3)
    moments = [
        leaf
        for leaf in jax.tree_util.tree_leaves(after.critic_optimizer_state)
        if jnp.ndim(leaf) == 1
    ]
    assert np.linalg.norm(moments[0]) == pytest.approx(0.1 * 1e-3, rel=1e-4)


@pytest.mark.parametrize('period', [1, 3])
def test_target_update_period(period):
    states, _, _ = update(7, target_update_period=period, critic_learning_rate=0.1)
    for number, state in enumerate(states):
        copied = states[number - number % period]
        np.testing.assert_array_equal(
            state.target_critic_params.ensemble, copied.critic_params.ensemble
        )
        np.testing.assert_array_equal(state.target_policy_params, copied.policy_params)
        if number:
            assert (state.critic_params.ensemble != states[number - 1].critic_params.ensemble).all()


def test_priorities_and_importance_weights():
    # Probabilities 1/2 and 1/8 of 8 items: (8 p)^-beta = 4^-beta and 1, and 1 is the largest.
    sample = TWO._replace(probability=np.float32([0.5, 0.125]), size=np.int32(8))
    for beta in (0.0, 0.5, 1.0):
        _, metrics, priorities = update(
            sample=sample, priority_exponent=0.6, importance_exponent=beta
        )
        expected = np.mean(cross_entropies() * np.array([4**-beta, 1.0]))
        assert metrics['loss'] == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(priorities, errors(), rtol=1e-5)
    _, metrics, priorities = update(sample=sample, importance_exponent=1.0)
    assert metrics['loss'] == pytest.approx(cross_entropies().mean(), rel=1e-5)
    assert priorities is None


def test_a_terminal_observation_is_not_read():
    steps = TWO.steps._replace(observation=TWO.steps.observation.copy())
    steps.observation[1, 1] = 50.0
    given = [update(sample=sample)[1]['loss'] for sample in (TWO, TWO._replace(steps=steps))]
    assert given[0] == pytest.approx(float(given[1]), rel=1e-6)
