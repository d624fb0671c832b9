"""PPO's loss by hand: each option changes the number that it should.

Unless a test says otherwise: no normalisation, no entropy cost, the value's cost 1, clip 0.2. A batch
has three pieces of one step, whose actions the even policy of `PARAMS` takes with probability 1/2:

    old probability   1/4    1/2    10/17     ratio   2      1     0.85
    advantage         1     -2      4         clipped surrogate  1.2   -2   3.4
    value             1      2      4         target  old value + advantage
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import ppo
from tests.agents.impala import by_hand
from tests.agents.impala.by_hand import NETWORK
from tests.agents.impala.by_hand import PARAMS

LOG2 = float(np.log(2))
PLAIN = {'value_cost': 1.0, 'entropy_cost': 0.0, 'clip_epsilon': 0.2, 'normalise_advantages': False,
         'value_clip_epsilon': None}  # fmt: skip


def column(values, dtype=np.float32):
    return np.asarray(values, dtype)[:, None]


BATCH = ppo.Batch(
    observation=column([0, 1, 2], np.int32),
    step_type=column([1, 1, 1], np.int32),
    core_state=(),
    drawn=column([0, 1, 0], np.int32),
    log_prob=column(np.log([0.25, 0.5, 0.5 / 0.85])),
    value=column([0.5, 3.0, 2.0]),
    advantage=column([1.0, -2.0, 4.0]),
    mask=column([True, True, True], bool),
)


def metrics(batch=BATCH, **settings):
    value, metrics = ppo.loss(PARAMS, batch, NETWORK, ppo.PPOConfig(**{**PLAIN, **settings}))
    assert value == metrics['loss']
    return {name: float(metric) for name, metric in metrics.items()}


def test_the_parts_of_the_loss():
    """Schulman et al. 2017, equations 7 and 9."""
    given = metrics()
    assert given['policy_loss'] == pytest.approx(-(1.2 - 2 + 3.4) / 3)
    # Targets 1.5, 1 and 6 against values 1, 2 and 4.
    assert given['value_loss'] == pytest.approx((0.125 + 0.5 + 2.0) / 3)
    assert given['loss'] == pytest.approx(given['policy_loss'] + given['value_loss'])
    assert given['entropy'] == pytest.approx(LOG2)
    assert given['log_ratio'] == pytest.approx(LOG2)
    assert given['clip_fraction'] == pytest.approx(1 / 3)
    ratio = np.array([2, 1, 0.85])
    assert given['kl'] == pytest.approx(np.mean(ratio - 1 - np.log(ratio)))


def test_value_cost_and_entropy_cost():
    plain, given = metrics(), metrics(value_cost=0.25, entropy_cost=3.0)
    expected = plain['policy_loss'] + 0.25 * plain['value_loss'] - 3.0 * LOG2
    assert given['loss'] == pytest.approx(expected)


def test_clip_epsilon():
    assert metrics(clip_epsilon=0.5)['policy_loss'] == pytest.approx(-(1.5 - 2 + 3.4) / 3)
    # The lower bound never helps where the advantage is positive.
    given = metrics(clip_epsilon=0.1)
    assert given['policy_loss'] == pytest.approx(-(1.1 - 2 + 3.4) / 3)
    assert given['clip_fraction'] == pytest.approx(2 / 3)


def test_normalise_advantages():
    deviation = np.array([0.0, -3.0, 3.0]) / np.sqrt(6)  # of 1, -2 and 4, whose mean is 1
    surrogate = np.minimum(np.array([2, 1, 0.85]) * deviation, np.array([1.2, 1, 0.85]) * deviation)
    given = metrics(normalise_advantages=True)
    assert given['policy_loss'] == pytest.approx(-surrogate.mean(), rel=1e-5)
    assert given['value_loss'] == metrics()['value_loss']  # targets are not normalised


def test_value_clip_epsilon():
    # Old values 0.5, 3, 2; new ones 1, 2, 4; within 0.25 of the old: 0.75, 2.75, 2.25. The larger
    # loss counts: errors max(0.5, 0.75), max(1, 1.75), max(2, 3.75).
    expected = (0.75**2 + 1.75**2 + 3.75**2) / 6
    assert metrics(value_clip_epsilon=0.25)['value_loss'] == pytest.approx(expected)
    assert metrics(value_clip_epsilon=9.0)['value_loss'] == pytest.approx(metrics()['value_loss'])


@pytest.mark.parametrize('normalise', [False, True])
def test_a_step_that_is_none_counts_nothing(normalise):
    masked = BATCH._replace(mask=column([True, True, False], bool))
    two = jax.tree_util.tree_map(lambda leaf: leaf[:2], BATCH)
    given = metrics(masked, normalise_advantages=normalise)
    for name, value in metrics(two, normalise_advantages=normalise).items():
        assert given[name] == pytest.approx(value), name


def test_advantages_are_generalised_and_cut_at_an_end():
    """Schulman et al. 2016, equation 16; the values of PARAMS are 1, 2, 4, 6."""
    config = ppo.PPOConfig(discount=0.5, lambda_=0.5)
    # 0 -> 1 -> 2, which is LAST; the reset; 3 -> 0.
    for discount, last in ((1.0, 2 + 0.5 * 4 - 2), (0.0, 2 - 2)):
        sample = by_hand.sample(
            [0, 1, 2, 3, 0], [1, 2, 9, 5], [0, 1, 0, 1], [1, discount, 1, 1], [2]
        )
        steps = sample.steps._replace(extras={'log_prob': np.zeros((1, 4), np.float32)})
        batch = ppo.learning.evaluate(PARAMS, sample._replace(steps=steps), NETWORK, config)
        first = 1 + 0.5 * 2 - 1 + 0.5 * 0.5 * last
        np.testing.assert_allclose(batch.advantage[:, 0], [first, last, 0, 5 + 0.5 - 6])
        np.testing.assert_array_equal(batch.mask[:, 0], [True, True, False, True])
        np.testing.assert_array_equal(batch.value[:, 0], [1, 2, 4, 6])
        np.testing.assert_array_equal(batch.observation[:, 0], [0, 1, 2, 3])
        np.testing.assert_array_equal(batch.drawn[:, 0], [0, 1, 0, 1])


def test_no_gradient_flows_where_the_ratio_is_clipped():
    config = ppo.PPOConfig(**{**PLAIN, 'value_cost': 0.0})
    grads = jax.grad(lambda params: ppo.loss(params, BATCH, NETWORK, config)[0])(PARAMS)
    # -ratio advantage / 3 times d log pi = (1/2, -1/2) for action 0, the other way round for 1.
    expected = np.array([[0, 0], [-1, 1], [-1.7, 1.7], [0, 0]]) / 3
    np.testing.assert_allclose(grads['logits'], expected, rtol=1e-5)
    np.testing.assert_array_equal(grads['value'], jnp.zeros(4))
