"""SAC where an action is one choice: losses beside NumPy loops of the paper's formulas, and options."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.agents import sac
from culmen.agents.sac import discrete
from culmen.components.networks import Categorical
from culmen.components.networks import ChoiceNetworks
from culmen.components.networks import CriticParams
from culmen.components.networks import Seen
from culmen.components.networks import make_choice_networks
from culmen.components.replay.stream.windows import Transitions
from culmen.core.errors import SettingError
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams

BATCH, ACTIONS, CRITICS = 5, 3, 2
RNG = np.random.default_rng(0)
O_TM1, O_T = RNG.normal(size=(2, BATCH, 2)).astype(np.float32)
LEGAL_TM1 = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 1], [0, 0, 0]], bool)
LEGAL_T = LEGAL_TM1[::-1]
A_TM1 = np.array([1, 2, 2, 1, 0], np.int32)
R_T = RNG.normal(size=BATCH).astype(np.float32)
DISCOUNT_T = np.array([0.9, 0.9, 0.0, 0.81, 0.9], np.float32)
# Matrices [2, actions] of the policy, and of the critics and their targets.
POLICY = RNG.normal(size=(2, ACTIONS)).astype(np.float32)
WEIGHTS, TARGETS = RNG.normal(size=(2, CRITICS, 2, ACTIONS)).astype(np.float32)
TEMPERATURE = 0.3


def make_networks():
    def policy(params, seen):
        given = Categorical(seen.features @ params)
        return given if seen.allowed is None else given.only(seen.allowed)

    return ChoiceNetworks(
        init=lambda key: (jnp.array(POLICY), CriticParams({}, jnp.array(WEIGHTS))),
        encode=lambda params, o: Seen(o[0], o[1] | ~o[1].any(axis=1, keepdims=True)),
        policy=policy,
        critics=lambda weights, seen: jnp.einsum('bi,nia->nba', seen.features, weights),
        num_actions=ACTIONS,
    )


NETWORKS = make_networks()
KEY = jax.random.key(0)


def probabilities(observation, legal):
    """Of allowed actions, by a loop in double; all where none is legal."""
    allowed = [a for a in range(ACTIONS) if legal[a] or not legal.any()]
    weights = {a: np.exp(np.float64(observation) @ np.float64(POLICY[:, a])) for a in allowed}
    return {a: weight / sum(weights.values()) for a, weight in weights.items()}


def least(weights, observation, action):
    return min(np.float64(observation) @ np.float64(w[:, action]) for w in weights)


def critic_loss(weights, policy=POLICY):
    batch = Transitions(
        (jnp.array(O_TM1), jnp.array(LEGAL_TM1)), A_TM1, R_T, DISCOUNT_T,
        (jnp.array(O_T), jnp.array(LEGAL_T)),
    )  # fmt: skip
    return discrete.critic_loss(
        CriticParams({}, weights), CriticParams({}, jnp.array(TARGETS)), jnp.array(policy),
        jnp.float32(TEMPERATURE), batch, KEY, NETWORKS,
    )  # fmt: skip


def policy_loss(policy):
    seen = NETWORKS.encode({}, (jnp.array(O_TM1), jnp.array(LEGAL_TM1)))
    return discrete.policy_loss(
        policy, jnp.array(WEIGHTS), jnp.float32(TEMPERATURE), seen, KEY, NETWORKS
    )


def test_the_critics_loss():
    value, (_, q) = critic_loss(jnp.array(WEIGHTS))
    losses = np.zeros((CRITICS, BATCH))
    for b in range(BATCH):
        soft = sum(
            p * (least(TARGETS, O_T[b], a) - TEMPERATURE * np.log(p))
            for a, p in probabilities(O_T[b], LEGAL_T[b]).items()
        )
        y = np.float64(R_T[b]) + np.float64(DISCOUNT_T[b]) * soft
        for n in range(CRITICS):
            taken = np.float64(O_TM1[b]) @ np.float64(WEIGHTS[n, :, A_TM1[b]])
            assert q[n, b] == pytest.approx(taken, rel=1e-5)
            losses[n, b] = 0.5 * (y - taken) ** 2
    assert value == pytest.approx(losses.mean(axis=1).sum(), rel=1e-5)


def test_the_policys_loss():
    value, log_prob = policy_loss(jnp.array(POLICY))
    expected, of_logs = [], []
    for b in range(BATCH):
        each = probabilities(O_TM1[b], LEGAL_TM1[b])
        of_logs.append(sum(p * np.log(p) for p in each.values()))
        expected.append(
            sum(
                p * (TEMPERATURE * np.log(p) - least(WEIGHTS, O_TM1[b], a)) for a, p in each.items()
            )
        )
    assert value == pytest.approx(np.mean(expected), rel=1e-5)
    np.testing.assert_allclose(log_prob, of_logs, rtol=1e-5, atol=1e-6)


def test_gradients_are_finite_and_pass_neither_the_target_nor_the_critics():
    gradient = jax.grad(lambda policy: policy_loss(policy)[0])(jnp.array(POLICY))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    of_target = jax.grad(lambda policy: critic_loss(jnp.array(WEIGHTS), policy)[0])(POLICY)
    np.testing.assert_array_equal(of_target, 0)


@pytest.mark.parametrize('share', [None, 0.5])
def test_the_entropy_that_is_sought_is_a_share_of_the_most(share):
    seen = NETWORKS.encode({}, (jnp.array(O_TM1), jnp.array(LEGAL_TM1)))
    wanted = discrete.target_entropy(NETWORKS, seen, sac.SAC(target_entropy_share=share))
    # Allowed are 3, 2, 1 and 2 actions, and all 3 where none is legal.
    expected = (0.98 if share is None else share) * np.log([3, 2, 1, 2, 3])
    np.testing.assert_allclose(wanted, expected, rtol=1e-6)
    everything = discrete.target_entropy(NETWORKS, seen._replace(allowed=None), sac.SAC())
    assert float(everything) == pytest.approx(0.98 * np.log(3))


ROW = next(row for row in registry.AGENTS if row.name == 'sac_choices')


@pytest.mark.parametrize('wanted', [5.0, -5.0])
def test_an_entropy_that_is_given_takes_the_place_of_the_share(wanted):
    agent = dataclasses.replace(ROW.agent, target_entropy_share=None, target_entropy=wanted)
    learner = agent.build(ROW.spec).learner
    before = learner.init(KEY)
    after, _, _ = jax.jit(learner.update)(before, streams.samples(ROW)[0], streams.context(0))
    assert (after.log_temperature > before.log_temperature) == (wanted > 0)


LANES = 300


def taken(role, actor_steps, random_steps=100):
    """How often each action is taken where action 1 is forbidden and the policy favours action 0 a little."""
    spec = registry.legal_spec()
    parts = sac.SAC(hidden_sizes=(4,), random_steps=random_steps).build(spec)
    params = registry.favour(parts.learner.variables(parts.learner.init(KEY)), 0, ACTIONS, 2.0)
    seen = {
        'vector': jnp.ones((LANES, 4)),
        'legal_actions': jnp.array([[True, False, True]] * LANES),
    }
    timestep = TimeStep(np.ones(LANES, np.int32), None, None, seen)
    core = getattr(parts, role)
    state = core.init(KEY, streams.lanes(LANES))
    action, _, _ = core.select_action(params, timestep, state, streams.context(7, actor_steps))
    assert action.dtype == jnp.int32
    return np.bincount(action, minlength=ACTIONS) / LANES


def test_first_actions_are_uniform_later_ones_are_drawn_and_evaluations_take_the_likeliest():
    np.testing.assert_allclose(taken('actor', 99), [0.5, 0, 0.5], atol=0.1)
    drawn = taken('actor', 100)
    assert 0.6 < drawn[0] < 1
    assert drawn[1] == 0
    np.testing.assert_array_equal(taken('evaluator', 0), [1, 0, 0])


def test_a_share_is_refused_for_a_box_and_beside_an_entropy():
    agent = sac.SAC(target_entropy_share=0.5)
    with pytest.raises(SettingError, match='target_entropy_share must be None where an action is'):
        agent.build(registry.continuous_spec())
    with pytest.raises(SettingError, match='target_entropy_share must be None where target_entr'):
        sac.SAC(target_entropy_share=0.5, target_entropy=0.1)
    with pytest.raises(ValueError, match=r'target_entropy_share must be in \[0, 1\]'):
        sac.SAC(target_entropy_share=1.5)
    with pytest.raises(ValueError, match=r'SAC needs a continuous action .* or one choice'):
        agent.build(registry.multi_discrete_spec())


def test_critics_may_see_more_than_the_policy():
    spec = registry.discrete_spec()
    hidden = specs.BoundedArray((), np.int32, 0, 5, 'number')
    spec = spec._replace(observation={'vector': spec.observation, 'number': hidden})
    networks = make_choice_networks(spec, ACTIONS, (4,), critic_observation=('number',))
    policy_params, critic_params = networks.init(KEY)

    def outputs(number):
        observation = {'vector': jnp.ones((1, 4)), 'number': jnp.full(1, number)}
        seen = networks.encode(critic_params.encoder, observation)
        of_critics = networks.critics(critic_params.ensemble, seen)
        return networks.policy(policy_params, seen).logits, of_critics

    (policy, critics), (policy_then, critics_then) = outputs(0), outputs(5)
    np.testing.assert_array_equal(policy, policy_then)
    assert (critics != critics_then).all()


@pytest.mark.parametrize(
    'changes',
    [
        {'critic_hidden_sizes': (8,)},
        {'network': 'simba'},
        {'critic_layer_norm': True},
        {'dropout_rate': 0.1},
        {'num_target_critics': 1},
        {'num_quantiles': 5},
        {'policy_value': 'mean'},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_fields_of_continuous_critics_are_refused_where_an_action_is_a_choice(changes):
    [(name, given)] = changes.items()
    with pytest.raises(ValueError, match=f'{name} must be .* where an action is one choice, got'):
        sac.SAC(**changes).build(registry.discrete_spec())
