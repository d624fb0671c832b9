"""MPO's losses against loops over plain numbers, with linear networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import mpo
from culmen.agents.mpo import critics
from culmen.agents.mpo import evaluation
from culmen.agents.mpo import learning
from culmen.components import updates
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Sample
from culmen.core.types import Steps
from tests.agents import registry
from tests.agents.mpo import by_hand

KEY = jax.random.key(3)
TWO_REWARDS = registry.continuous_spec()._replace(
    reward={name: registry.continuous_spec().reward for name in ('first', 'second')}
)


def sample(length=4, batch=3, choices=False, rewards=1, seed=0):
    """Windows of random steps; the second ends with a termination after two steps, and is padded."""
    rng = np.random.default_rng(seed)
    mask = np.ones((batch, length), bool)
    discount = np.ones((batch, length + 1), np.float32)
    if length > 2:
        mask[1, 2:] = False
        discount[1, 2:] = 0
    reward = rng.normal(size=(rewards, batch, length + 1)).astype(np.float32)
    if choices:
        action = rng.integers(0, by_hand.CHOICES, (batch, length)).astype(np.int32)
        extras = {'log_prob': np.log(rng.uniform(0.2, 0.9, (batch, length))).astype(np.float32)}
    else:
        drawn = rng.normal(size=(batch, length, by_hand.SIZE)).astype(np.float32)
        action = np.clip(drawn, -1, 1)
        extras = {'log_prob': rng.normal(size=(batch, length)).astype(np.float32), 'drawn': drawn}
    steps = Steps(
        step_type=np.full((batch, length + 1), MID, np.int32),
        reward=reward[0] if rewards == 1 else {'first': reward[0], 'second': reward[1]},
        discount=discount,
        observation=rng.normal(size=(batch, length + 1, 1)).astype(np.float32),
        action=action,
        extras=extras,
        mask=mask,
    )
    return Sample(steps, np.ones(batch, np.float32), np.int32(9), *np.zeros((2, batch), np.int32))


def evaluated(config, given, networks, head, target_critic, target_policy):
    sequences = evaluation.read(given.steps, networks, config)
    found, features = evaluation.candidates(
        target_policy, target_critic, sequences, KEY, networks, head, config
    )
    return sequences, found, features


def priors(found):
    return np.exp(np.asarray(found.log_prior, np.float64))


def rewards_of(steps):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree_util.tree_leaves(steps.reward)]


def n_step_target(steps, b, t, k, n, discount, value):
    """R + D v(o), by Sutton's sum, for the objective k of the step t in the window b."""
    total, factor, at = 0.0, 1.0, t
    while at < min(t + n, steps.mask.shape[1]) and steps.mask[b, at]:
        total += factor * rewards_of(steps)[k][b, at + 1]
        factor *= discount * float(steps.discount[b, at + 1])
        at += 1
    return total, factor, at


SETTINGS = {'discount': 0.9, 'num_samples': 5}


@pytest.mark.parametrize(
    ('choices', 'settings', 'rewards'),
    [
        (False, {'n_step': 3}, 1),
        (False, {'n_step': 2, 'sequence_length': 4}, 1),
        (False, {'n_step': 2, 'sequence_length': 4}, 2),
        (True, {'n_step': 3}, 1),
        (True, {'n_step': 3, 'sequence_length': 4}, 1),
    ],
)
def test_the_critic_s_loss_to_n_step_targets(choices, settings, rewards):
    spec = registry.discrete_spec(by_hand.CHOICES) if choices else None
    config = mpo.MPOConfig(**SETTINGS, **settings)
    networks, head = by_hand.networks(spec), critics.expected()
    size = by_hand.CHOICES if choices else by_hand.SIZE
    online, target = by_hand.critic(1, rewards, size), by_hand.critic(2, rewards, size)
    old = by_hand.OLD_CHOOSE if choices else by_hand.OLD_POLICY
    length = config.sequence_length or config.n_step
    given = sample(length, choices=choices, rewards=rewards)
    sequences, found, features = evaluated(config, given, networks, head, target, old)
    loss, (_, q) = jax.jit(
        lambda params: evaluation.critic_loss(
            params, target, sequences, found, features, KEY, networks, head, config
        )
    )(online)

    steps = given.steps
    if choices:
        np.testing.assert_allclose(
            priors(found)[:, 0, 0],
            by_hand.probabilities(by_hand.OLD_CHOOSE, float(steps.observation[0, 0, 0])),
            rtol=1e-5,
        )
    total, count = 0.0, 0
    for b in range(3):
        for t in range(length if config.sequence_length else 1):
            if not steps.mask[b, t]:
                continue
            count += 1
            for k in range(rewards):
                reward, factor, at = n_step_target(steps, b, t, k, config.n_step, 0.9, None)
                column = at if config.sequence_length else 1
                bootstrap = 0.0
                for s in range(found.draws.shape[0]):
                    drawn = np.asarray(found.draws[s, b, column])
                    bootstrap += priors(found)[s, b, column] * by_hand.value(
                        target, float(steps.observation[b, at, 0]), drawn, k
                    )
                predicted = by_hand.value(
                    online, float(steps.observation[b, t, 0]), steps.action[b, t], k
                )
                assert q[b, t, k] == pytest.approx(predicted, rel=1e-4)
                total += 0.5 * (reward + factor * bootstrap - predicted) ** 2
    assert loss == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize('choices', [False, True])
@pytest.mark.parametrize('lambda_', [0.0, 0.8])
def test_the_critic_s_loss_to_retrace_s_targets(choices, lambda_):
    config = mpo.MPOConfig(**SETTINGS, targets='retrace', retrace_lambda=lambda_, sequence_length=4)
    spec = registry.discrete_spec(by_hand.CHOICES) if choices else None
    networks, head = by_hand.networks(spec), critics.expected()
    size = by_hand.CHOICES if choices else by_hand.SIZE
    online, target = by_hand.critic(1, 1, size), by_hand.critic(2, 1, size)
    old = by_hand.OLD_CHOOSE if choices else by_hand.OLD_POLICY
    given = sample(choices=choices)
    sequences, found, features = evaluated(config, given, networks, head, target, old)
    loss, _ = jax.jit(
        lambda params: evaluation.critic_loss(
            params, target, sequences, found, features, KEY, networks, head, config
        )
    )(online)

    steps = given.steps
    draws = steps.action if choices else steps.extras['drawn']

    def seen(b, t):
        return float(steps.observation[b, t, 0])

    def log_pi(b, t):
        if choices:
            return math.log(by_hand.probabilities(old, seen(b, t))[draws[b, t]])
        return sum(
            by_hand.log_density(
                float(draws[b, t, d]), seen(b, t) * float(old['mean'][d]),
                math.exp(float(old['log_scale'][d])),
            )
            for d in range(by_hand.SIZE)
        )  # fmt: skip

    def state_value(b, t):
        return sum(
            priors(found)[s, b, t]
            * by_hand.value(target, seen(b, t), np.asarray(found.draws[s, b, t]))
            for s in range(found.draws.shape[0])
        )

    def returns(b, t):
        """Munos et al. 2016, equation 4, as a recursion."""
        reward = rewards_of(steps)[0][b, t + 1]
        discount = 0.9 * float(steps.discount[b, t + 1])
        after = 0.0
        if t + 1 < 4 and steps.mask[b, t + 1]:
            ratio = math.exp(log_pi(b, t + 1) - float(steps.extras['log_prob'][b, t + 1]))
            taken = by_hand.value(target, seen(b, t + 1), draws[b, t + 1])
            after = lambda_ * min(1.0, ratio) * (returns(b, t + 1) - taken)
        return reward + discount * (state_value(b, t + 1) + after)

    real = [(b, t) for b in range(3) for t in range(4) if steps.mask[b, t]]
    errors = [returns(b, t) - by_hand.value(online, seen(b, t), draws[b, t]) for b, t in real]
    assert loss == pytest.approx(np.mean([0.5 * error**2 for error in errors]), rel=1e-5)


def improvement(config, given, networks, head, target_critic, target_policy):
    sequences, found, _ = evaluated(config, given, networks, head, target_critic, target_policy)
    cut = lambda axis: lambda leaf: jax.lax.slice_in_dim(leaf, 0, -1, axis=axis)
    policy, *others = found
    before = evaluation.Candidates(
        jax.tree_util.tree_map(cut(1), policy), *(cut(2)(leaf) for leaf in others)
    )
    observation = sequences.observation[:, :-1]
    return learning.Improvement(
        jnp.asarray(observation), observation, sequences.mask, before, target_critic, KEY
    )


@pytest.mark.parametrize('penalty', [False, True])
@pytest.mark.parametrize('per_dimension', [False, True])
@pytest.mark.parametrize('objectives', [None, (0.3, 0.05)])
def test_the_policy_s_loss_of_a_box(penalty, per_dimension, objectives):
    config = mpo.MPOConfig(
        **SETTINGS, sequence_length=4, n_step=1, action_penalty=penalty, epsilon_penalty=0.02,
        epsilon_temperature=0.2, epsilon_objectives=objectives, epsilon_mean=0.1,
        epsilon_scale=0.01, per_dimension=per_dimension, initial_alpha_mean=2.0,
        initial_alpha_scale=5.0,
    )  # fmt: skip
    rewards = len(objectives or (0,))
    networks, head, target = by_hand.networks(), critics.expected(), by_hand.critic(2, rewards)
    given = sample(rewards=rewards)
    found = improvement(config, given, networks, head, target, by_hand.OLD_POLICY)
    etas = [0.7, 1.3, 0.4][: rewards + penalty]
    duals = updates.initial_duals(
        registry.continuous_spec(by_hand.SIZE).action, {'temperature': jnp.array(etas)},
        config.multipliers, per_dimension,
    )  # fmt: skip
    loss, metrics = jax.jit(
        lambda params: learning.policy_loss(params, duals, found, networks, config)
    )(by_hand.POLICY)

    epsilons = [*(objectives or (0.2,)), 0.02]
    steps, total, fits = given.steps, [], []
    new_scale, old_scale = (
        np.exp(np.asarray(p['log_scale'], np.float64)) for p in (by_hand.POLICY, by_hand.OLD_POLICY)
    )
    for b in range(3):
        for t in range(4):
            if not steps.mask[b, t]:
                continue
            seen = float(steps.observation[b, t, 0])
            new, old = (
                seen * np.asarray(p['mean'], np.float64)
                for p in (by_hand.POLICY, by_hand.OLD_POLICY)
            )
            draws = np.asarray(found.candidates.draws[:, b, t], np.float64)
            cost = 0.0
            weights = np.zeros(len(draws))
            for k in range(rewards + penalty):
                if k < rewards:
                    values = [by_hand.value(target, seen, drawn, k) for drawn in draws]
                else:
                    values = [-np.linalg.norm(drawn - np.clip(drawn, -1, 1)) for drawn in draws]
                of_k, dual = by_hand.e_step(values, etas[k], epsilons[k], [1 / 5] * 5)
                weights += of_k
                cost += dual
            fit = 0.0
            for weight, drawn in zip(weights, draws):
                for d in range(by_hand.SIZE):
                    fit -= weight * by_hand.log_density(drawn[d], new[d], old_scale[d])
                    fit -= weight * by_hand.log_density(drawn[d], old[d], new_scale[d])
            of_means = [
                by_hand.kl_normal(old[d], old_scale[d], new[d], old_scale[d]) for d in range(2)
            ]
            of_scales = [
                by_hand.kl_normal(old[d], old_scale[d], old[d], new_scale[d]) for d in range(2)
            ]
            for divergences, alpha, epsilon in ((of_means, 2.0, 0.1), (of_scales, 5.0, 0.01)):
                bounded = divergences if per_dimension else [sum(divergences)]
                cost += sum(alpha * kl + alpha * (epsilon - kl) for kl in bounded)
            fits.append(fit)
            total.append(fit + cost)
    assert loss == pytest.approx(np.mean(total), rel=1e-5)
    assert metrics['policy_loss'] == pytest.approx(np.mean(fits), rel=1e-5)


def test_the_policy_s_loss_of_a_choice():
    config = mpo.MPOConfig(
        **SETTINGS, sequence_length=4, n_step=1, epsilon_temperature=0.2, epsilon_policy=0.1,
        initial_alpha_policy=2.0,
    )  # fmt: skip
    spec = registry.discrete_spec(by_hand.CHOICES)
    networks, head = by_hand.networks(spec), critics.expected()
    target, given = by_hand.critic(2, 1, by_hand.CHOICES), sample(choices=True)
    found = improvement(config, given, networks, head, target, by_hand.OLD_CHOOSE)
    duals = updates.initial_duals(
        spec.action, {'temperature': jnp.array([0.7])}, config.multipliers, True
    )
    loss, metrics = learning.policy_loss(by_hand.CHOOSE, duals, found, networks, config)
    assert not {'kl_mean', 'kl_scale'} & set(metrics)

    total, entropies = [], []
    for b in range(3):
        for t in range(4):
            if not given.steps.mask[b, t]:
                continue
            seen = float(given.steps.observation[b, t, 0])
            new, old = (
                by_hand.probabilities(p, seen) for p in (by_hand.CHOOSE, by_hand.OLD_CHOOSE)
            )
            values = [by_hand.value(target, seen, a) for a in range(by_hand.CHOICES)]
            weights, dual = by_hand.e_step(values, 0.7, 0.2, old)
            fit = -sum(w * math.log(p) for w, p in zip(weights, new))
            kl = sum(q * math.log(q / p) for q, p in zip(old, new))
            total.append(fit + dual + 2.0 * kl + 2.0 * (0.1 - kl))
            entropies.append(-sum(p * math.log(p) for p in new))
    assert loss == pytest.approx(np.mean(total), rel=1e-5)
    assert metrics['entropy'] == pytest.approx(np.mean(entropies), rel=1e-5)


def test_what_learns_from_the_policy_s_loss():
    """The policy by the fit and the cost of its change, duals by theirs; the E-step's weights are given."""
    config = mpo.MPOConfig(**SETTINGS, sequence_length=4, n_step=1, per_dimension=True)
    networks, head, target = by_hand.networks(), critics.expected(), by_hand.critic(2, 1)
    found = improvement(config, sample(), networks, head, target, by_hand.OLD_POLICY)
    duals = updates.initial_duals(
        registry.continuous_spec(by_hand.SIZE).action, {'temperature': jnp.ones(2)},
        config.multipliers, True,
    )  # fmt: skip
    of_policy, of_duals = jax.grad(learning.policy_loss, argnums=(0, 1), has_aux=True)(
        by_hand.POLICY, duals, found, networks, config
    )[0]
    # With 1,000 times the multipliers the divergence decides where the policy goes: to the old one.
    steep = {**duals, 'mean': duals['mean'] + 1e4}
    pulled = jax.grad(learning.policy_loss, has_aux=True)(
        by_hand.POLICY, steep, found, networks, config
    )[0]
    assert (
        np.sign(pulled['mean']) == np.sign(by_hand.POLICY['mean'] - by_hand.OLD_POLICY['mean'])
    ).all()
    assert (of_policy['mean'] != pulled['mean']).all()
    # Multipliers rise where the divergence is above its bound: their gradient is its bound less it.
    _, metrics = learning.policy_loss(by_hand.POLICY, duals, found, networks, config)
    slope = jax.nn.sigmoid(duals['mean'])
    assert jnp.sum(of_duals['mean'] / slope) == pytest.approx(
        2 * (config.epsilon_mean - float(metrics['kl_mean'])), rel=1e-4
    )
    assert LAST not in np.asarray(sample().steps.step_type)
