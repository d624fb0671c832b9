"""The losses of A2C and IMPALA by hand: each option changes the number that it should.

Unless a test says otherwise: discount 0.5, lambda 1, no entropy cost, the value's cost 1, and the
window TWO, observations 0 -> 1 -> 2 with values 1, 2, 4 and rewards 1, 2:

    returns  2 + 0.5 * 4 = 4 and 1 + 0.5 * 4 = 3;  advantages 4 - 2 = 2 and 3 - 1 = 2
    policy loss  log(2) * 2 (the policy is even)   value loss  2^2 / 2
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import impala
from culmen.components import losses
from culmen.components.networks import make_actor_critic_network
from tests.agents import registry
from tests.agents import streams
from tests.agents.impala import by_hand
from tests.agents.impala.by_hand import NETWORK
from tests.agents.impala.by_hand import PARAMS

LOG2 = float(np.log(2))
TWO = by_hand.sample([0, 1, 2], [1, 2])
PLAIN = {
    'discount': 0.5,
    'lambda_': 1.0,
    'value_cost': 1.0,
    'entropy_cost': 0.0,
    'reward_clip': None,
}


def metrics(sample=TWO, agent=impala.A2CConfig, params=PARAMS, **settings):
    """The metrics of a sample."""
    value, metrics = impala.loss(params, sample, NETWORK, agent(**{**PLAIN, **settings}))
    assert value == metrics['loss']
    return {name: float(metric) for name, metric in metrics.items()}


def value_loss(sample=TWO, **settings):
    return metrics(sample, **settings)['value_loss']


def test_the_parts_of_the_loss():
    given = metrics()
    assert given['policy_loss'] == pytest.approx(2 * LOG2)
    assert given['value_loss'] == pytest.approx(2.0)
    assert given['entropy'] == pytest.approx(LOG2)
    assert given['value'] == pytest.approx(1.5)  # of observations 0 and 1
    assert given['ratio'] == 1.0
    assert given['loss'] == pytest.approx(2 * LOG2 + 2.0)


def test_value_cost_and_entropy_cost():
    given = metrics(value_cost=0.25, entropy_cost=3.0)
    assert given['loss'] == pytest.approx(2 * LOG2 + 0.25 * 2.0 - 3.0 * LOG2)


def test_discount():
    # Discount 0: errors 1 - 1 and 2 - 2. Discount 1: 2 + 4 - 2 = 4 and 1 + 6 - 1 = 6.
    assert value_loss(discount=0.0) == 0.0
    assert value_loss(discount=1.0) == pytest.approx((8 + 18) / 2)


def test_lambda():
    # 0: errors of one step, 2 + 2 - 2 = 2 and 1 + 1 - 1 = 1. 0.5: the first is 1 + 0.5 * 0.5 * 2.
    assert value_loss(lambda_=0.0) == pytest.approx((2 + 0.5) / 2)
    assert value_loss(lambda_=0.5) == pytest.approx((2 + 0.5 * 1.5**2) / 2)


def test_reward_clip():
    sample = by_hand.sample([0, 1, 2], [5, -7])
    # As 1 and -1: -1 + 2 - 2 = -1 and 1 + 0.5 * 1 - 1 = 0.5.
    assert value_loss(sample, reward_clip=1.0) == pytest.approx((0.5 + 0.125) / 2)
    assert value_loss(sample) == pytest.approx((0.5 * 49 + 0.5 * (5 - 2.5 - 1) ** 2) / 2)


@pytest.mark.parametrize('agent', [impala.A2CConfig, impala.IMPALAConfig])
@pytest.mark.parametrize(('discount', 'error'), [(0.0, 0.0), (1.0, 2.0)])
def test_a_termination_ends_and_a_truncation_bootstraps_from_its_own_last_value(
    agent, discount, error
):
    # 1 -> 2, which is LAST, with reward 2; then 3 is FIRST, and 3 -> 0 with reward 5.5.
    sample = by_hand.sample(
        [1, 2, 3, 0], [2, 9, 5.5], discount=[discount, 1, 1], last=[1], behaviour=np.zeros((3, 2))
    )
    # Error 2 + 0.5 d 4 - 2 of the first; 5.5 + 0.5 * 1 - 6 = 0 of the last; the reset is no step.
    given = metrics(sample, agent)
    assert given['value_loss'] == pytest.approx(0.5 * error**2 / 2)
    assert given['policy_loss'] == pytest.approx(LOG2 * error / 2)
    assert given['value'] == 4.0  # of 1 and 3


def test_the_gradient_is_that_of_the_textbook():
    """Mnih et al. 2016 with generalised advantages, by the library's own loss of a sequence."""
    generator = np.random.default_rng(0)
    params = {
        'logits': jnp.asarray(generator.normal(size=(4, 2)), jnp.float32),
        'value': jnp.asarray(generator.normal(size=4), jnp.float32),
    }
    observation, action, reward = [0, 3, 1, 2, 0], [1, 0, 0, 1], [1.0, -2.0, 0.5, 3.0]
    sample = by_hand.sample(observation, reward, action)
    config = impala.A2CConfig(
        discount=0.9, lambda_=0.8, value_cost=0.7, entropy_cost=0.3, reward_clip=None
    )

    def textbook(params):
        numbers = np.array(observation)
        return (
            losses.sequence_advantage_actor_critic_loss(
                params['logits'][numbers[:-1]],
                params['value'][numbers[:-1]],
                np.array(action),
                np.array(reward),
                np.full(4, 0.9),
                jax.lax.stop_gradient(params['value'][numbers[-1]]),
                lambda_=0.8,
                entropy_cost=0.3,
                baseline_cost=0.7,
            ).loss
            / 4
        )

    given = jax.grad(lambda params: impala.loss(params, sample, NETWORK, config)[0])(params)
    streams.assert_trees_close(given, jax.grad(textbook)(params))


# V-trace: the behaviour took action 0 with probability 1/4 and 1, so that the ratios are 2 and 1/2.
BEHAVIOUR = [[0.0, np.log(3.0)], [40.0, 0.0]]
OFF = by_hand.sample([0, 1, 2], [1, 2], behaviour=BEHAVIOUR)
off_policy = functools.partial(metrics, OFF, impala.IMPALAConfig)


def test_ratios_are_clipped_where_they_multiply():
    """Espeholt et al. 2018, equation 1 and section 4.2."""
    # Errors: E1 = 0.5 (2 + 2 - 2) = 1; E0 = 1 (1 + 1 - 1) + 0.5 * min(1, 2) * 1 = 1.5.
    # Advantages: 0.5 * 2 = 1 and 1 * (1 + 0.5 (2 + 1) - 1) = 1.5.
    given = off_policy(clip_rho_threshold=1.0, clip_pg_rho_threshold=1.0)
    assert given['ratio'] == pytest.approx(1.25)
    assert given['value_loss'] == pytest.approx((0.5 + 0.5 * 1.5**2) / 2)
    assert given['policy_loss'] == pytest.approx(LOG2 * (1 + 1.5) / 2)


def test_clip_rho_threshold():
    # Unclipped E0 = 2 * 1 + 0.5 * 1 * 1 = 2.5, the traces stay clipped; the advantages stay.
    for threshold in (None, 3.0):
        given = off_policy(clip_rho_threshold=threshold, clip_pg_rho_threshold=1.0)
        assert given['value_loss'] == pytest.approx((0.5 + 0.5 * 2.5**2) / 2)
        assert given['policy_loss'] == pytest.approx(LOG2 * (1 + 1.5) / 2)


def test_clip_pg_rho_threshold():
    for threshold in (None, 3.0):
        given = off_policy(clip_rho_threshold=1.0, clip_pg_rho_threshold=threshold)
        assert given['value_loss'] == pytest.approx((0.5 + 0.5 * 1.5**2) / 2)
        assert given['policy_loss'] == pytest.approx(LOG2 * (1 + 2 * 1.5) / 2)


def test_no_gradient_flows_through_the_ratios():
    config = impala.IMPALAConfig(**{**PLAIN, 'value_cost': 0.0})
    grads = jax.grad(lambda params: impala.loss(params, OFF, NETWORK, config)[0])(PARAMS)
    # -advantage / 2 steps times d log pi = (1 - 1/2, -1/2) for the action taken.
    expected = [[-1.5 / 4, 1.5 / 4], [-1.0 / 4, 1.0 / 4], [0, 0], [0, 0]]
    np.testing.assert_allclose(grads['logits'], expected, rtol=1e-5)
    np.testing.assert_array_equal(grads['value'], np.zeros(4))


@pytest.mark.parametrize('core', ['none', 'gru'])
def test_without_lag_the_gradient_of_impala_is_that_of_a2c(core):
    settings = {**registry.UNROLL, 'core': core, 'core_size': 5}
    ahead, in_step = impala.IMPALA(**settings), impala.A2C(**settings)
    spec = registry.legal_spec()
    sample = streams.samples(registry.Row(f'lag 0, {core}', ahead, spec))[1]
    assert (~sample.steps.mask).any()
    network = make_actor_critic_network('', spec, (16,), core=core, core_size=5)
    params = jax.jit(network.init)(jax.random.key(0))  # those that acted in the sample

    def gradients(params):
        def gradient(config):
            return jax.jit(jax.grad(lambda p: impala.loss(p, sample, network, config)[0]))(params)

        return gradient(ahead), gradient(in_step)

    streams.assert_trees_close(*gradients(params))
    moved = jax.tree_util.tree_map(lambda leaf: leaf + 0.3, params)
    with pytest.raises(AssertionError):
        streams.assert_trees_close(*gradients(moved))
