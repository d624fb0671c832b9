"""The loss of REINFORCE, against loops over the steps of episodes in NumPy."""

import jax
import numpy as np
import pytest

from culmen.agents import reinforce
from tests.agents.impala import by_hand
from tests.agents.impala.by_hand import NETWORK

OBSERVATION, ACTION = [0, 3, 1, 2, 0], [1, 0, 0, 1]
REWARD = [1.0, -2.0, 0.5, 3.0]
PLAIN = {
    'discount': 0.9, 'baseline': False, 'value_cost': 0.7, 'entropy_cost': 0.0,
    'normalise_advantages': False, 'discounted_steps': False,
}  # fmt: skip
generator = np.random.default_rng(0)
PARAMS = {
    'logits': generator.normal(size=(4, 2)).astype(np.float32),
    'value': generator.normal(size=4).astype(np.float32),
}


def episode(ends):
    """The last step terminates the episode, truncates it, or is one of a longer one."""
    discount = [1.0, 1.0, 1.0, 0.0 if ends == 'terminated' else 1.0]
    last = [] if ends == 'cut' else [4]
    return by_hand.sample(OBSERVATION, REWARD, ACTION, discount=discount, last=last)


def by_loop(sample, params, **settings):
    """The loss in float64, a step after another."""
    config = {**PLAIN, **settings}
    logits, value = (np.asarray(params[name], np.float64) for name in ('logits', 'value'))
    steps = sample.steps
    real = [t for t in range(steps.mask.shape[1]) if steps.mask[0, t]]
    returns, total = {}, 0.0
    if config['baseline']:
        total = value[steps.observation[0, real[-1] + 1]]
    for t in reversed(real):
        total = steps.reward[0, t + 1] + config['discount'] * steps.discount[0, t + 1] * total
        returns[t] = total
    advantage = {t: returns[t] - config['baseline'] * value[steps.observation[0, t]] for t in real}
    of_value = np.mean([0.5 * advantage[t] ** 2 for t in real])
    if config['normalise_advantages']:
        mean, deviation = np.mean(list(advantage.values())), np.std(list(advantage.values()))
        advantage = {t: (advantage[t] - mean) / deviation for t in real}
    of_policy, entropy = 0.0, 0.0
    for t in real:
        row = logits[steps.observation[0, t]]
        log_pi = row - np.log(np.sum(np.exp(row)))
        weight = config['discount'] ** t if config['discounted_steps'] else 1.0
        of_policy -= weight * advantage[t] * log_pi[steps.action[0, t]] / len(real)
        entropy -= np.sum(np.exp(log_pi) * log_pi) / len(real)
    total = of_policy - config['entropy_cost'] * entropy
    return total + config['baseline'] * config['value_cost'] * of_value


def value_of(sample, params=PARAMS, **settings):
    config = reinforce.REINFORCEConfig(**{**PLAIN, **settings})
    return reinforce.loss(params, sample, NETWORK, config)


@pytest.mark.parametrize('ends', ['terminated', 'truncated', 'cut'])
@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'baseline': True},
        {'discounted_steps': True},
        {'normalise_advantages': True, 'baseline': True},
        {'entropy_cost': 0.3},
        {'discount': 0.5, 'baseline': True, 'discounted_steps': True, 'value_cost': 2.0},
    ],
)
def test_the_loss_is_that_of_the_book(ends, settings):
    sample = episode(ends)
    given, metrics = value_of(sample, **settings)
    assert float(given) == pytest.approx(by_loop(sample, PARAMS, **settings), abs=1e-5)
    assert metrics['loss'] == given


def test_padding_does_not_count():
    sample = episode('terminated')
    wide = sample.steps._replace(
        step_type=np.array([[1, 1, 2, 2, 2]], np.int32),
        discount=np.array([[1, 1, 0, 7, 7]], np.float32),
        mask=np.array([[True, True, False, False]]),
    )
    short = jax.tree_util.tree_map(lambda leaf: leaf[:, :2], wide)._replace(
        **{
            name: getattr(wide, name)[:, :3]
            for name in ('step_type', 'reward', 'discount', 'observation')
        }
    )
    settings = {'baseline': True, 'normalise_advantages': True, 'entropy_cost': 0.1}
    given = value_of(sample._replace(steps=wide), **settings)
    assert float(given[0]) == pytest.approx(
        float(value_of(sample._replace(steps=short), **settings)[0])
    )
    assert given[1]['steps'] == 2


def test_the_gradient_is_that_of_the_log_probabilities_alone():
    """No gradient passes returns and baselines on their way to the policy, nor the bootstrap."""
    sample = episode('truncated')
    config = reinforce.REINFORCEConfig(**{**PLAIN, 'baseline': True})
    given = jax.grad(lambda params: reinforce.loss(params, sample, NETWORK, config)[0])(PARAMS)
    value = PARAMS['value']
    total, expected, of_value = value[0], np.zeros((4, 2)), np.zeros(4)
    for t in reversed(range(4)):
        total = REWARD[t] + 0.9 * total
        row = np.exp(PARAMS['logits'][OBSERVATION[t]])
        pi = row / row.sum()
        advantage = total - value[OBSERVATION[t]]
        expected[OBSERVATION[t]] += advantage * (pi - np.eye(2)[ACTION[t]]) / 4
        of_value[OBSERVATION[t]] -= 0.7 * advantage / 4
    np.testing.assert_allclose(given['logits'], expected, atol=1e-5)
    np.testing.assert_allclose(given['value'], of_value, atol=1e-5)
