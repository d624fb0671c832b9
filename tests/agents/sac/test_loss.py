"""SAC's losses by hand: two linear critics and a policy whose parameters are its distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import sac
from culmen.agents.sac import learning
from culmen.components.networks import CriticParams
from culmen.core.types import Context
from tests.agents import continuous
from tests.agents import registry
from tests.agents import streams
from tests.agents.continuous import TWO
from tests.agents.sac.by_hand import CRITICS
from tests.agents.sac.by_hand import KEY
from tests.agents.sac.by_hand import NETWORKS
from tests.agents.sac.by_hand import PLAIN
from tests.agents.sac.by_hand import POLICY
from tests.agents.sac.by_hand import TARGETS
from tests.agents.sac.by_hand import drawn
from tests.agents.sac.by_hand import policy
from tests.agents.sac.by_hand import transitions


@jax.jit
def critic_loss(*inputs):
    return learning.critic_loss(*inputs, KEY, NETWORKS)


@pytest.mark.parametrize('discount', [0.9, 0.5])
@pytest.mark.parametrize('temperature', [0.0, 0.3])
def test_the_critics_loss(discount, temperature):
    value, (features, q) = critic_loss(
        CRITICS, TARGETS, POLICY, jnp.float32(temperature), transitions(discount)
    )
    # q[i] = w[i] o + a: 1.5 and -2 of the first critic, 3.5 and -4 of the second.
    np.testing.assert_allclose(q, [[1.5, -2.0], [3.5, -4.0]], rtol=1e-6)
    np.testing.assert_array_equal(features, [[1.0], [-1.0]])
    a_t, log_prob_t = drawn(KEY)
    # The targets see o = 2: min(4 + a, 2 + a); the second transition is a termination.
    y = np.array([1 + discount * (2 + a_t[0] - temperature * log_prob_t[0]), -3.0])
    expected = np.sum(np.mean(0.5 * (y - np.asarray(q)) ** 2, axis=1))
    assert value == pytest.approx(expected, rel=1e-5)


def test_no_gradient_passes_through_the_target():
    def loss(weights):
        critics = CriticParams({}, weights)
        return critic_loss(critics, TARGETS, POLICY, jnp.float32(0.3), transitions(0.9))[0]

    a_t, log_prob_t = drawn(KEY)
    y = np.array([1 + 0.9 * (2 + a_t[0] - 0.3 * log_prob_t[0]), -3.0])
    q = np.array([[1.5, -2.0], [3.5, -4.0]])
    # d q[i] / d w[i] = o
    expected = np.mean((q - y) * np.array([1.0, -1.0]), axis=1)
    np.testing.assert_allclose(jax.grad(loss)(CRITICS.ensemble), expected, rtol=1e-5)
    # Nor is the target's encoder, its critics or the policy taught by it.
    grads = jax.grad(
        lambda targets, params: critic_loss(
            CRITICS, targets, params, jnp.float32(0.3), transitions(0.9)
        )[0],
        argnums=(0, 1),
    )(TARGETS, POLICY)
    assert all((leaf == 0).all() for leaf in jax.tree_util.tree_leaves(grads))


def test_the_policy_s_loss():
    features = jnp.array([[1.0], [-1.0]])

    def loss(params):
        return learning.policy_loss(
            params, CRITICS.ensemble, jnp.float32(0.3), features, KEY, NETWORKS
        )

    (value, log_prob), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(POLICY)
    action, expected_log_prob = drawn(KEY)
    np.testing.assert_allclose(log_prob, expected_log_prob, rtol=1e-4)
    least = np.array([1 + action[0], -3 + action[1]])  # of o + a and 3 o + a
    assert value == pytest.approx(np.mean(0.3 * expected_log_prob - least), rel=1e-4)
    # By the mean m, with a = tanh(m + s e): d log p / d m = 2 a, and d q / d m = 1 - a^2.
    expected = np.mean(0.3 * 2 * action - (1 - action**2))
    assert grads['mean'] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(('target_entropy', 'falls'), [(0.0, True), (3.0, False)])
def test_the_temperature_s_loss(target_entropy, falls):
    log_prob = jnp.array([-1.0, -2.0])  # an entropy of 1.5
    value, grad = jax.value_and_grad(learning.temperature_loss)(
        jnp.log(0.5), log_prob, target_entropy
    )
    assert value == pytest.approx(np.log(0.5) * (1.5 - target_entropy), rel=1e-6)
    assert grad == pytest.approx(1.5 - target_entropy, rel=1e-6)
    assert (grad > 0) == falls


# The update: everything is learned with Adam, whose first step is the rate times the sign.


def update(number=1, sample=TWO, networks=NETWORKS, **settings):
    """The states before and after so many updates, and the last metrics."""
    learner = sac.make_learner(networks, sac.SACConfig(**{**PLAIN, **settings}))
    compiled = jax.jit(learner.update)
    states, metrics = [learner.init(jax.random.key(0))], {}
    for i in range(number):
        context = Context(jax.random.key(i), jnp.int32(0), jnp.int32(i), jnp.int32(i))
        state, metrics, priorities = compiled(states[-1], sample, context)
        assert priorities is None
        states.append(state)
    return states, metrics


@pytest.mark.parametrize('rate', [1e-4, 3e-4])
def test_learning_rate(rate):
    (before, after), _ = update(learning_rate=rate)
    for name in ('policy_params', 'critic_params', 'log_temperature'):
        for a, b in zip(
            *(jax.tree_util.tree_leaves(getattr(state, name)) for state in (before, after)),
            strict=True,
        ):
            np.testing.assert_allclose(np.abs(a - b), rate, rtol=1e-2)


@pytest.mark.parametrize('rate', [0.25, 0.5])
def test_target_rate(rate):
    (before, after), _ = update(target_rate=rate, learning_rate=0.1)
    expected = (
        1 - rate
    ) * before.target_critic_params.ensemble + rate * after.critic_params.ensemble
    np.testing.assert_allclose(after.target_critic_params.ensemble, expected, rtol=1e-6)
    assert (after.critic_params.ensemble != before.critic_params.ensemble).all()


@pytest.mark.parametrize('discount', [0.0, 0.9])
def test_discount(discount):
    _, metrics = update(discount=discount, temperature=0.0)
    a_t, _ = drawn(jax.random.split(jax.random.key(0), 4)[0])
    y = np.array([1 + discount * (2 + a_t[0]), -3.0])  # the target critics are the critics: 1 o + a
    q = np.array([[1.5, -2.0], [3.5, -4.0]])
    assert metrics['loss'] == pytest.approx(np.sum(np.mean(0.5 * (y - q) ** 2, axis=1)), rel=1e-5)


def test_the_policy_climbs_the_critics_as_they_were_before_their_step():
    settings = {'learning_rate': 10.0, 'temperature': 0.0}
    (before, _), metrics = update(**settings)
    weights = np.asarray(before.critic_params.ensemble)
    action, _ = drawn(jax.random.split(jax.random.key(0), 4)[1])
    q = weights[:, None] * np.array([1.0, -1.0]) + action
    assert metrics['policy_loss'] == pytest.approx(-np.mean(q.min(axis=0)), rel=1e-4)


def test_temperature_fixed_or_learned():
    for temperature in (0.0, 0.2):
        (before, after), metrics = update(temperature=temperature)
        assert metrics['temperature'] == pytest.approx(temperature)
        assert before.log_temperature == after.log_temperature
    (_, after), metrics = update()
    assert metrics['temperature'] == pytest.approx(0.5)  # it acts one update later
    assert after.log_temperature != np.float32(np.log(0.5))


def test_initial_temperature():
    (before, _), metrics = update(initial_temperature=2.0)
    assert before.log_temperature == pytest.approx(np.log(2.0))
    assert metrics['temperature'] == pytest.approx(2.0)


def test_target_entropy():
    _, metrics = update()
    entropy = float(metrics['entropy'])  # of the policy before its step
    for target, sign in ((entropy - 0.1, -1), (entropy + 0.1, 1), (None, -1)):
        (before, after), _ = update(target_entropy=target)
        assert np.sign(after.log_temperature - before.log_temperature) == sign
    # None is minus the numbers of an action: -1, above the entropy of a narrow policy.
    assert entropy > -1
    narrow = continuous.make_networks(policy, {**POLICY, 'log_scale': jnp.float32(-9.0)})
    (before, after), metrics = update(networks=narrow)
    assert metrics['entropy'] < -1
    assert after.log_temperature > before.log_temperature


def test_max_gradient_norm():
    """Adam does not see the size of a gradient but through its second step."""
    (_, plain, second), _ = update(2)
    (_, clipped, other), _ = update(2, max_gradient_norm=1e-3)
    np.testing.assert_allclose(
        clipped.critic_params.ensemble, plain.critic_params.ensemble, rtol=1e-5
    )
    moments = jax.tree_util.tree_leaves(clipped.critic_optimizer_state)
    # Adam's first moment is 0.1 of the gradient.
    vectors = [leaf for leaf in moments if jnp.shape(leaf) == (2,)]
    assert np.linalg.norm(vectors[0]) == pytest.approx(0.1 * 1e-3, rel=1e-4)
    vectors = [
        leaf
        for leaf in jax.tree_util.tree_leaves(clipped.policy_optimizer_state)
        if jnp.shape(leaf) == (2,)
    ]
    assert np.linalg.norm(vectors[0]) == pytest.approx(0.1 * 1e-3, rel=1e-4)


def test_a_terminal_observation_is_not_read():
    steps = TWO.steps._replace(observation=TWO.steps.observation.copy())
    steps.observation[1, 1] = 50.0
    losses = [update(sample=given)[1]['loss'] for given in (TWO, TWO._replace(steps=steps))]
    assert losses[0] == losses[1]


@pytest.mark.skipif(jax.__version_info__ < (0, 5), reason='older compilers round in one way')
def test_the_policy_s_gradient_is_the_same_in_a_larger_program():
    """There a compiler may round the action values in two ways, and find the least of them in neither."""
    row = next(row for row in registry.AGENTS if row.name == 'sac_all_options')
    learner = row.agent.build(row.spec).learner
    drawn = streams.samples(row)

    def updates(update):
        state = learner.init(jax.random.key(0))
        for i, sample in enumerate(drawn):
            state, _, _ = update(state, sample, streams.context(i, 0, i))
        return state.policy_params

    whole = jax.jit(lambda: updates(learner.update))()
    streams.assert_trees_close(whole, updates(jax.jit(learner.update)), rtol=1e-4, atol=1e-5)
