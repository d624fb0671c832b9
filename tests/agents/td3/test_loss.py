"""TD3's losses and update by hand: linear critics and a policy of one number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import td3
from culmen.agents.td3 import learning
from culmen.components.networks import CriticParams
from culmen.components.replay.stream.windows import fold
from culmen.core.types import Context
from tests.agents import continuous
from tests.agents import registry
from tests.agents.continuous import TWO


def policy(slope, observation):
    return slope * observation


NETWORKS = continuous.make_networks(policy, jnp.float32(0.25))
PLAIN = {'policy_learning_rate': 1e-4, 'critic_learning_rate': 1e-4, 'target_rate': 0.25,
         'discount': 0.9, 'policy_period': 1, 'target_noise': 0.0}  # fmt: skip
# q[i] = w[i] o + a with w = 1, 3: what the critics say of TWO.
Q = np.array([[1.5, -2.0], [3.5, -4.0]])


def one_critic(networks=NETWORKS):
    """The second critic alone: the one that values more."""
    return networks._replace(
        init=lambda key: (jnp.float32(0.25), CriticParams({}, jnp.ones(1) * 3))
    )


def update(number=1, sample=TWO, networks=NETWORKS, key=0, **settings):
    """The states before and after so many updates, and the last metrics."""
    learner = td3.make_learner(networks, td3.TD3Config(**{**PLAIN, **settings}))
    compiled = jax.jit(learner.update)
    states, metrics = [learner.init(jax.random.key(0))], {}
    for i in range(number):
        context = Context(jax.random.key(key + i), jnp.int32(0), jnp.int32(i), jnp.int32(i))
        state, metrics, priorities = compiled(states[-1], sample, context)
        assert priorities is None
        states.append(state)
    return states, metrics


def expected_loss(y, q=Q):
    return np.sum(np.mean(0.5 * (np.asarray(y) - q) ** 2, axis=1))


# The target.


@pytest.mark.parametrize('discount', [0.0, 0.9])
def test_the_target_is_the_least_critic_of_the_target_policy(discount):
    # o = 2, a = 0.5: q = 2.5 and 6.5; the second transition is a termination.
    _, metrics = update(discount=discount)
    assert metrics['loss'] == pytest.approx(expected_loss([1 + discount * 2.5, -3.0]), rel=1e-5)
    assert metrics['q'] == pytest.approx(Q.mean())


def test_num_critics():
    _, metrics = update(networks=one_critic())
    assert metrics['loss'] == pytest.approx(expected_loss([1 + 0.9 * 6.5, -3.0], Q[1:]), rel=1e-5)
    spec = registry.continuous_spec()
    for num_critics in (1, 3):
        learner = td3.TD3(num_critics=num_critics).build(spec).learner
        state = jax.eval_shape(learner.init, jax.random.key(0))
        for leaf in jax.tree_util.tree_leaves(state.critic_params):
            assert leaf.shape[0] == num_critics


def test_n_step():
    # Two rewards, 1 and 4, to o = 2; then a window that a termination cuts short.
    sample = continuous.sample([1, -1], [1, -2], [[1, 4], [-3, 0]], [[1, 1], [0, 0]], [2, 5])
    sample.steps.mask[1, 1] = False
    _, metrics = update(sample=sample, n_step=2)
    y = [1 + 0.9 * 4 + 0.81 * 2.5, -3.0]
    assert metrics['loss'] == pytest.approx(expected_loss(y), rel=1e-5)
    window = td3.TD3(n_step=4).build(registry.continuous_spec()).experience.window
    assert (window.length, window.ends) == (4, ('observation',))


def noises(number=1000, **settings):
    """The noise on the target's action, from the losses of one critic at many keys."""
    config = td3.TD3Config(**{**PLAIN, **settings})
    transitions = fold(TWO.steps, 0.9)
    transitions = transitions._replace(a_tm1=continuous.BOX.to_canonical(transitions.a_tm1))
    networks = one_critic()
    policy_params, critic_params = networks.init(None)

    @jax.jit
    @jax.vmap
    def losses(key):
        return learning.critic_loss(
            critic_params, critic_params, policy_params, transitions, key, networks, config
        )[0]

    # loss = (((1 + 0.9 (6 + a)) - 3.5)^2 / 2 + 1 / 2) / 2
    values = np.asarray(losses(jax.random.split(jax.random.key(0), number)), np.float64)
    return (2.5 + np.sqrt(4 * values - 1)) / 0.9 - 6.5


def test_target_noise_and_its_clip():
    given = noises(target_noise=0.1, target_noise_clip=10.0)
    assert np.std(given) == pytest.approx(0.1, rel=0.1)
    clipped = noises(target_noise=5.0, target_noise_clip=0.2)
    assert np.abs(clipped).max() == pytest.approx(0.2, abs=1e-4)
    assert np.mean(np.abs(clipped) > 0.199) > 0.9
    assert abs(np.mean(np.sign(clipped))) < 0.1
    # The noisy action stays in the box: 0.5 and at most 0.5 more.
    bounded = noises(target_noise=50.0, target_noise_clip=5.0)
    assert bounded.max() == pytest.approx(0.5, abs=1e-3)


def test_no_gradient_passes_through_the_target():
    (before, after), _ = update(critic_learning_rate=0.1, max_gradient_norm=1e6)
    # d q[i] / d w[i] = o; Adam's first moment is 0.1 of the gradient.
    y = np.array([1 + 0.9 * 2.5, -3.0])
    expected = np.mean((Q - y) * np.array([1.0, -1.0]), axis=1)
    moments = [
        leaf
        for leaf in jax.tree_util.tree_leaves(after.critic_optimizer_state)
        if jnp.shape(leaf) == (2,)
    ]
    np.testing.assert_allclose(moments[0], 0.1 * expected, rtol=1e-5)
    # Down the gradient by the rate: Adam's first step.
    steps = after.critic_params.ensemble - before.critic_params.ensemble
    np.testing.assert_allclose(steps, -0.1 * np.sign(expected), rtol=1e-3)


# The policy and the targets.


def test_the_policy_climbs_the_first_critic():
    # q[0] = w o + s o: its mean over o = 1, -1 does not depend on s; over o = 1, 3 it rises by 2.
    sample = continuous.sample([1, 3], [1, -2], [[1], [-3]], [[1.0], [0.0]], [2, 5])
    (_, after), _ = update(sample=sample, policy_learning_rate=0.1)
    assert after.policy_params == pytest.approx(0.25 + 0.1, rel=1e-4)
    moments = [
        leaf
        for leaf in jax.tree_util.tree_leaves(after.policy_optimizer_state)
        if jnp.shape(leaf) == (1,)
    ]
    assert moments[0][0] == pytest.approx(-0.1 * 2.0, rel=1e-5)
    # The other critic has no part in it.
    turned = NETWORKS._replace(
        critics=lambda weights, features, action: (
            weights[:, None] * features[None, :, 0]
            + jnp.array([[1.0], [-9.0]])[: len(weights)] * action[None, :, 0]
        )
    )
    (_, other), _ = update(sample=sample, networks=turned, policy_learning_rate=0.1)
    assert other.policy_params == pytest.approx(0.35, rel=1e-4)


@pytest.mark.parametrize('period', [1, 3])
def test_policy_period(period):
    sample = continuous.sample([1, 3], [1, -2], [[1], [-3]], [[1.0], [0.0]], [2, 5])
    states, _ = update(7, sample=sample, policy_period=period)
    for number in range(1, 8):
        before, after = states[number - 1 : number + 1]
        assert (before.critic_params.ensemble != after.critic_params.ensemble).all()
        for name in ('policy_params', 'target_policy_params', 'target_critic_params'):
            changed = jax.tree_util.tree_leaves(
                jax.tree_util.tree_map(
                    lambda a, b: bool((a != b).any()), getattr(before, name), getattr(after, name)
                )
            )
            assert changed == [number % period == 0] * len(changed)


@pytest.mark.parametrize('rate', [0.25, 0.5])
def test_target_rate(rate):
    sample = continuous.sample([1, 3], [1, -2], [[1], [-3]], [[1.0], [0.0]], [2, 5])
    settings = {'critic_learning_rate': 0.1, 'policy_learning_rate': 0.2}
    (before, after), _ = update(sample=sample, target_rate=rate, **settings)
    old, new = before.target_critic_params.ensemble, after.critic_params.ensemble
    np.testing.assert_allclose(
        after.target_critic_params.ensemble, (1 - rate) * old + rate * new, rtol=1e-6
    )
    expected = (1 - rate) * before.target_policy_params + rate * after.policy_params
    assert float(after.target_policy_params) == pytest.approx(float(expected), rel=1e-6)
    assert after.policy_params != before.policy_params


def test_learning_rates_are_each_its_own():
    sample = continuous.sample([1, 3], [1, -2], [[1], [-3]], [[1.0], [0.0]], [2, 5])
    (before, after), _ = update(
        sample=sample, policy_learning_rate=0.03, critic_learning_rate=0.002
    )
    assert after.policy_params - before.policy_params == pytest.approx(0.03, rel=1e-3)
    steps = np.abs(after.critic_params.ensemble - before.critic_params.ensemble)
    np.testing.assert_allclose(steps, 0.002, rtol=1e-2)


def test_max_gradient_norm():
    sample = continuous.sample([1, 3], [1, -2], [[1], [-3]], [[1.0], [0.0]], [2, 5])
    (_, after), _ = update(sample=sample, max_gradient_norm=1e-3)
    for state in (after.critic_optimizer_state, after.policy_optimizer_state):
        moments = [leaf for leaf in jax.tree_util.tree_leaves(state) if jnp.ndim(leaf) == 1]
        assert np.linalg.norm(moments[0]) == pytest.approx(0.1 * 1e-3, rel=1e-4)


def test_a_terminal_observation_is_not_read():
    steps = TWO.steps._replace(observation=TWO.steps.observation.copy())
    steps.observation[1, 1] = 50.0
    given = [update(sample=sample)[1]['loss'] for sample in (TWO, TWO._replace(steps=steps))]
    assert given[0] == given[1]
