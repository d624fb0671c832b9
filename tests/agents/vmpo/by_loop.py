"""V-MPO's loss in float64, a step after another, as Song et al. 2019 write it, and networks for it."""

from typing import Any

import numpy as np

from culmen.components.networks import ActorCriticNetwork
from culmen.components.networks import Categorical
from culmen.components.networks import DiagonalGaussian
from culmen.components.networks import PolicyAndValue
from culmen.core.types import Sample
from tests.agents.impala import by_hand

generator = np.random.default_rng(0)


def _drawn(*shape: int) -> Any:
    return generator.normal(size=shape).astype(np.float32)


# Two actions, or a box of two dimensions, for each of four observations.
CHOICES = {'logits': _drawn(4, 2), 'value': _drawn(4)}
BOXES = {'mean': _drawn(4, 2), 'log_scale': 0.3 * _drawn(4, 2), 'value': _drawn(4)}


def policy_of(params: Any, observation: Any) -> Any:
    if 'logits' in params:
        return Categorical(params['logits'][observation])
    return DiagonalGaussian(params['mean'][observation], params['log_scale'][observation])


def network_of(params: Any) -> ActorCriticNetwork:
    return by_hand.NETWORK._replace(
        init=lambda key: params,
        unroll=lambda params, observation, step_type, state: PolicyAndValue(
            policy_of(params, observation), params['value'][observation]
        ),
    )


def sample_of(params: Any) -> Sample:
    """Two windows of four steps, one with the end of an episode within, acted by another policy."""
    observation = np.array([[0, 3, 1, 2, 0], [2, 2, 3, 0, 1]], np.int32)
    is_box = 'mean' in params
    old = {name: leaf + 0.3 * np.sin(7 * leaf) for name, leaf in params.items()}
    action = np.array([[1, 0, 0, 1], [0, 0, 1, 1]], np.int32)
    if is_box:
        action = np.linspace(-1, 1, 16).reshape((2, 4, 2)).astype(np.float32)
    steps = by_hand.sample([0, 1], [1]).steps._replace(
        step_type=np.array([[1, 1, 2, 0, 1], [0, 1, 1, 1, 1]], np.int32),
        reward=np.array([[9, 1, -2, 9, 3], [9, 0.5, 1, -1, 2]], np.float32),
        discount=np.array([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1]], np.float32),
        observation=observation,
        action=action,
        extras={'policy': policy_of(old, observation[:, :-1])},
        mask=np.array([[True, True, False, True], [True] * 4]),
    )
    ones = np.ones(2, np.float32)
    return Sample(steps, ones, np.int32(2), np.zeros(2, np.int32), np.array([0, 1], np.int32))


def _density(part: Any, drawn: Any) -> float:
    if len(part) == 1:
        return part[0][drawn] - np.log(np.sum(np.exp(part[0])))
    mean, log_scale = part
    z = (drawn - mean) / np.exp(log_scale)
    return float(np.sum(-0.5 * z**2 - log_scale - 0.5 * np.log(2 * np.pi)))


def divergences(old: Any, new: Any) -> dict[str, Any]:
    if len(old) == 1:
        p, q = (np.exp(each[0]) / np.sum(np.exp(each[0])) for each in (old, new))
        return {'policy': np.sum(p * np.log(p / q))}
    (m, s), (n, r) = old, new
    v, w = np.exp(2 * s), np.exp(2 * r)
    return {'mean': 0.5 * (n - m) ** 2 / v, 'scale': 0.5 * (v / w - 1 + np.log(w / v))}


def loss(
    params: Any, duals: dict[str, Any], sample: Sample, config: dict[str, Any],
    shift: Any = 0.0, scale: Any = 1.0, frozen_weights_at: float | None = None,
) -> float:  # fmt: skip
    """The loss.

    Args:
        duals: what they stand for.
        shift, scale: of the values, a number for each window.
        frozen_weights_at: the temperature of the weights; None: that of `duals`.
    """
    params = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    steps = sample.steps
    shift, scale = np.broadcast_to(shift, 2), np.broadcast_to(scale, 2)
    names = ['logits'] if 'logits' in params else ['mean', 'log_scale']
    rows = []  # (advantage, log pi, divergences) of real steps
    for i in range(2):
        value = shift[i] + scale[i] * params['value'][steps.observation[i]]
        after = None
        for t in reversed(range(4)):
            if not steps.mask[i, t]:
                after = None
                continue
            discount = config['discount'] * steps.discount[i, t + 1]
            later = value[t + 1]
            if after is not None:
                later = (1 - config['lambda_']) * value[t + 1] + config['lambda_'] * after
            after = steps.reward[i, t + 1] + discount * later
            new = [params[name][steps.observation[i, t]] for name in names]
            old = [np.asarray(leaf, np.float64)[i, t] for leaf in steps.extras['policy']]
            rows.append((
                (after - value[t]) / scale[i],
                _density(new, steps.action[i, t]),
                divergences(old, new),
            ))  # fmt: skip
    advantages = np.array([row[0] for row in rows])
    num_best = int(config['top_fraction'] * steps.mask.size)
    best = np.argsort(-advantages)[:num_best]
    eta = duals['temperature']
    exponentials = np.exp(advantages[best] / eta)
    of_weights = np.exp(advantages[best] / (frozen_weights_at or eta))
    weights = of_weights / np.sum(of_weights)
    total = -sum(w * rows[k][1] for w, k in zip(weights, best))
    total += eta * (config['epsilon_temperature'] + np.log(np.mean(exponentials)))
    total += config['value_cost'] * np.mean(0.5 * advantages**2)
    for _, _, moved in rows:
        for name, kl in moved.items():
            alpha, epsilon = duals[name], config[f'epsilon_{name}']
            kl = kl if np.ndim(alpha) else np.sum(kl)
            # What the policy pays, and what the multiplier does, of one step.
            total += np.sum(alpha * kl + alpha * (epsilon - kl)) / len(rows)
    return float(total)
