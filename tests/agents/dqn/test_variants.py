"""DQN's variants: noise, Munchausen's reward, DQNReg, and Ape-X."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import dqn
from culmen.components.networks import Keyed
from culmen.components.networks import Network
from culmen.core.types import Lanes
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams
from tests.agents.dqn import by_hand
from tests.agents.dqn.by_hand import CONTEXT
from tests.agents.dqn.by_hand import ONLINE
from tests.agents.dqn.by_hand import TARGET
from tests.agents.dqn.by_hand import TWO

PLAIN = {'n_step': 1, 'double': False, 'discount': 0.5, 'huber_delta': None}


def loss(sample=TWO, network=by_hand.NETWORK, online=ONLINE, **settings):
    config = dqn.DQNConfig(**{**PLAIN, **settings})
    value, (_, errors) = dqn.loss(online, TARGET, sample, CONTEXT, network, config)
    return float(value), np.asarray(errors)


# Munchausen's reward.


def munchausen_error(alpha, tau, clip, legal=(True, True)):
    """Vieillard et al. 2020, equation 2, of the transition 0 -> 1 by action 1 with reward 1."""
    before, after = np.asarray(TARGET, np.float64)[:2]
    after = after[list(legal)]
    log_pi = before[1] / tau - np.log(np.exp(before / tau).sum())
    soft = tau * np.log(np.exp((after - after.max()) / tau).sum()) + after.max()
    return 1.0 + alpha * np.clip(tau * log_pi, clip, 0.0) + 0.5 * soft - float(ONLINE[0, 1])


@pytest.mark.parametrize(
    ('alpha', 'tau', 'clip'), [(0.9, 0.5, -1.0), (0.0, 0.5, -1.0), (0.9, 2.0, -0.5)]
)
def test_munchausen(alpha, tau, clip):
    _, errors = loss(munchausen=alpha, temperature=tau, log_policy_clip=clip)
    assert errors[0] == pytest.approx(abs(munchausen_error(alpha, tau, clip)), rel=1e-5)


def test_illegal_actions_have_no_share_in_the_soft_policy():
    legal = [[[True, True], [False, True]]]
    sample = by_hand.sample([0], [1], [[1.0]], [[1.0]], [1], legal=legal)
    _, errors = loss(sample, munchausen=0.9, temperature=0.5)
    expected = abs(munchausen_error(0.9, 0.5, -1.0, legal=(False, True)))
    assert errors == pytest.approx([expected], rel=1e-5)


def test_double_is_refused_beside_it():
    with pytest.raises(ValueError, match='double must be False with munchausen'):
        dqn.DQN(munchausen=0.9)


# DQNReg.


def test_value_cost_adds_the_taken_action_s_value():
    """Co-Reyes et al. 2021, equation 3: the mean of Q(o, a) is 2.5."""
    plain, weighted = loss()[0], loss(value_cost=0.2)[0]
    assert weighted == pytest.approx(plain + 0.2 * np.mean([2.0, 3.0]))


# Noise.


def noisy_apply(params, observation):
    """Values with noise that shows the key: all actions alike, so no choice depends on it."""
    if not isinstance(params, Keyed):
        return by_hand.lookup(params, observation)
    held, key = params
    return by_hand.lookup(held, observation) + jax.random.normal(key)


def test_online_target_and_selector_draw_their_own_noise():
    network = Network(init=lambda key: ONLINE, apply=noisy_apply)
    seen = []

    def apply(params, observation):
        seen.append(float(jax.random.normal(params.key)))
        return noisy_apply(params, observation)

    for double, number in ((True, 3), (False, 2)):
        seen.clear()
        loss(network=network._replace(apply=apply), noise='factorised', double=double)
        assert len(set(seen)) == len(seen) == number
    first = dict(enumerate(seen))
    seen.clear()
    config = dqn.DQNConfig(**PLAIN, noise='factorised')
    context = CONTEXT._replace(key=jax.random.key(1))
    dqn.loss(ONLINE, TARGET, TWO, context, network._replace(apply=apply), config)
    assert set(seen).isdisjoint(first.values())  # another update, other noise
    seen.clear()
    loss(network=network, noise='none')


def values_of(role, key, **settings):
    """The share of 64 lanes, all at one observation, that take the first action."""
    agent = dqn.DQN(**{**dqn.DQN.presets['noisy'], 'hidden_sizes': (16,), **settings})
    parts = agent.build(registry.discrete_spec())
    core = getattr(parts, role)
    params = jax.jit(parts.learner.init)(jax.random.key(0)).params
    observation = np.ones((64, 4), np.float32)
    timestep = TimeStep(np.ones(64, np.int32), None, None, observation)
    state = core.init(jax.random.key(0), Lanes(np.arange(64, dtype=np.int32), 64))
    context = streams.context(key, 10)
    return np.asarray(core.select_action(params, timestep, state, context)[0])


@pytest.mark.slow
@pytest.mark.parametrize('noise', ['factorised', 'independent'])
def test_noise_explores_by_lane_and_by_call_and_not_in_evaluations(noise):
    settings = {'noise': noise, 'noise_sigma': 3.0}
    acting, again, later = (values_of('actor', key, **settings) for key in (0, 0, 1))
    np.testing.assert_array_equal(acting, again)
    assert (acting != later).any()
    assert len(set(acting.tolist())) > 1  # each lane has noise of its own
    assert len(set(values_of('evaluator', 0, **settings).tolist())) == 1
    noisy = values_of('evaluator', 0, evaluation_noise=True, **settings)
    assert len(set(noisy.tolist())) > 1


def test_noise_sigma_is_the_first_deviation():
    for sigma, expected in ((None, 0.5), (0.1, 0.1)):
        agent = dqn.DQN(hidden_sizes=(4,), noise='factorised', noise_sigma=sigma)
        learner = agent.build(registry.discrete_spec()).learner
        params = jax.jit(learner.init)(jax.random.key(0)).params
        for layer in params.values():  # both have 4 inputs
            np.testing.assert_allclose(layer['sigma_w'], expected / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'noise_sigma': 0.5}, 'noise_sigma needs noise, which is none'),
        ({'evaluation_noise': True}, 'evaluation_noise needs noise, which is none'),
        ({'noise': 'gaussian'}, "noise must be one of 'none', 'factorised', 'independent'"),
    ],
)
def test_noise_of_nothing_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        dqn.DQN(**settings)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'noise': 'factorised'}, 'noise must be none where an action has several choices'),
        ({'munchausen': 0.9, 'double': False}, 'munchausen must be None where'),
        ({'value_cost': 0.1}, 'value_cost must be None where'),
    ],
)
def test_what_branches_do_not_have_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        dqn.DQN(**settings).build(registry.branches_spec())


# Ape-X.


def test_ape_x_begins_with_the_errors_that_acted():
    """Horgan et al. 2018, section 3: |R + D max q - q| of the values at acting time."""
    parts = dqn.ApeX(discount=0.5, reward_clip=1.0).build(registry.discrete_spec())
    sample = by_hand.sample([0], [1], [[3.0, 0.5, 0.25]], [[1.0, 1.0, 1.0]], [1])
    steps = sample.steps._replace(
        extras={'q': np.float32([[2.0, 9.0, 9.0]]), 'best_q': np.float32([[7.0, 8.0, 4.0]])}
    )
    # The value of the last observation is not known; that of the one before stands for it.
    error = 1.0 + 0.5 * 0.5 + 0.25 * 0.25 + 0.125 * 4.0 - 2.0
    assert parts.experience.priority(steps) == pytest.approx([abs(error)], rel=1e-5)
    assert parts.experience.priority_exponent == 0.6
    assert parts.experience.window.length == 3


def test_acting_priorities_need_an_exponent():
    with pytest.raises(
        ValueError, match='initial_priority is acting, which needs a priority_exponent'
    ):
        dqn.DQN(initial_priority='acting')
    agent = dqn.DQN(initial_priority='acting', priority_exponent=0.6)
    assert agent.build(registry.discrete_spec()).experience.priority is not None
    assert jnp.isfinite(loss(priority_exponent=0.6)[0])
