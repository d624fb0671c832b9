"""The loss of V-MPO, against a loop over the steps of a batch in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import vmpo
from culmen.components import losses
from culmen.components import updates
from tests.agents.vmpo import by_loop

PLAIN = {
    'discount': 0.9, 'lambda_': 0.8, 'top_fraction': 0.5, 'value_cost': 0.7,
    'epsilon_temperature': 0.2, 'epsilon_policy': 0.05, 'epsilon_mean': 0.1, 'epsilon_scale': 0.02,
}  # fmt: skip
MEANT = {'temperature': 0.8, 'policy': 3.0, 'mean': 2.0, 'scale': 4.0}


def duals_of(params, per_dimension=False):
    names = ('policy',) if 'logits' in params else ('mean', 'scale')
    meant = {'temperature': np.float64(MEANT['temperature'])}
    for name in names:
        meant[name] = MEANT[name] * (np.array([1.0, 1.5]) if per_dimension else np.float64(1.0))
    return meant, {name: updates.raw_of(value) for name, value in meant.items()}


def both(params, per_dimension=False, pop_art=(), **settings):
    """(the loss, that of the loop, the metrics)."""
    config = {**PLAIN, **settings}
    sample, (meant, raw) = by_loop.sample_of(params), duals_of(params, per_dimension)
    network = by_loop.network_of(params)
    if pop_art:
        network = network._replace(num_tasks=2, unroll=lambda params, tasked, *others: (
            by_loop.network_of(params).unroll(params, tasked.observation, *others)
        ))  # fmt: skip
    given, metrics = jax.jit(
        lambda params: vmpo.loss(params, raw, sample, network, vmpo.VMPOConfig(**config), pop_art)
    )(params)
    moved = {'shift': pop_art.shift, 'scale': pop_art.scale} if pop_art else {}
    return float(given), by_loop.loss(params, meant, sample, config, **moved), metrics


@pytest.mark.parametrize('params', [by_loop.CHOICES, by_loop.BOXES], ids=['choices', 'boxes'])
@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'lambda_': 1.0, 'discount': 0.5},
        {'top_fraction': 0.25, 'value_cost': 0.0},
        {'epsilon_temperature': 1.0, 'epsilon_policy': 0.5, 'epsilon_mean': 0.5, 'epsilon_scale': 0.5},
    ],
)  # fmt: skip
def test_the_loss_is_that_of_the_paper(params, settings):
    given, expected, metrics = both(params, **settings)
    assert given == pytest.approx(expected, abs=1e-5)
    assert metrics['loss'] == pytest.approx(given)


def test_bounds_of_each_dimension():
    given, expected, metrics = both(by_loop.BOXES, per_dimension=True)
    assert given == pytest.approx(expected, abs=1e-5)
    assert given != pytest.approx(both(by_loop.BOXES)[0], abs=1e-3)
    assert metrics['alpha_mean'] == pytest.approx(2.5)  # of 2 and 3


def test_with_pop_art_errors_and_advantages_are_in_units_of_the_task():
    pop_art = losses.PopArtState(jnp.array([1.0, -2.0]), jnp.array([2.0, 0.5]), jnp.zeros(2))
    given, expected, _ = both(by_loop.CHOICES, pop_art=pop_art)
    assert given == pytest.approx(expected, abs=1e-5)
    assert given != pytest.approx(both(by_loop.CHOICES)[0], abs=1e-2)


def gradients(params):
    """Those of the loss, of the network's parameters and of the dual variables."""
    sample, (meant, raw) = by_loop.sample_of(params), duals_of(params)
    network, config = by_loop.network_of(params), vmpo.VMPOConfig(**PLAIN)
    of_both = jax.grad(
        lambda params, duals: vmpo.loss(params, duals, sample, network, config)[0], argnums=(0, 1)
    )(params, raw)
    return of_both, meant, raw, sample


@pytest.mark.parametrize('params', [by_loop.CHOICES, by_loop.BOXES], ids=['choices', 'boxes'])
def test_multipliers_rise_where_the_bound_is_broken_and_hold_the_policy(params):
    """sg of equation 5: a multiplier sees the divergence, the policy the multiplier, and neither both."""
    (of_params, of_duals), meant, raw, sample = gradients(params)
    metrics = both(params)[2]
    for name in meant.keys() - {'temperature'}:
        slope = jax.grad(updates.positive)(raw[name])
        expected = slope * (PLAIN[f'epsilon_{name}'] - metrics[f'kl_{name}'])
        assert of_duals[name] == pytest.approx(float(expected), rel=1e-4)
    # Of the loop a difference quotient, of the policy's terms alone.
    which = 'logits' if 'logits' in params else 'mean'
    for place in ((0, 0), (2, 1)):
        values = []
        for change in (1e-4, -1e-4):
            moved = {name: np.array(leaf, np.float64) for name, leaf in params.items()}
            moved[which][place] += change
            policy_alone = {**PLAIN, 'value_cost': 0.0}
            # The dual terms of the loop add alpha (epsilon - kl) to alpha kl: only epsilon is left of both.
            held = sum(
                meant[name] * metric for name, metric in _divergence_means(moved, sample).items()
            )
            values.append(by_loop.loss(moved, meant, sample, policy_alone) + held)
        quotient = (values[0] - values[1]) / 2e-4
        assert of_params[which][place] == pytest.approx(quotient, abs=1e-3)


def _divergence_means(params, sample):
    names = ['logits'] if 'logits' in params else ['mean', 'log_scale']
    found = {}
    real = [(i, t) for i in range(2) for t in range(4) if sample.steps.mask[i, t]]
    for i, t in real:
        old = [np.asarray(leaf, np.float64)[i, t] for leaf in sample.steps.extras['policy']]
        new = [params[name][sample.steps.observation[i, t]] for name in names]
        for name, kl in by_loop.divergences(old, new).items():
            found[name] = found.get(name, 0.0) + np.sum(kl) / len(real)
    return found


def test_the_temperature_s_gradient_is_that_of_its_dual():
    (_, of_duals), meant, raw, sample = gradients(by_loop.CHOICES)
    slope = jax.grad(updates.positive)(raw['temperature'])
    values = [
        by_loop.loss(
            by_loop.CHOICES, {**meant, 'temperature': meant['temperature'] + change}, sample,
            {**PLAIN, 'value_cost': 0.0}, frozen_weights_at=meant['temperature'],
        )
        for change in (1e-4, -1e-4)
    ]  # fmt: skip
    quotient = (values[0] - values[1]) / 2e-4
    assert of_duals['temperature'] == pytest.approx(float(slope * quotient), abs=1e-3)


def test_values_learn_from_all_steps_and_not_through_advantages():
    (of_params, _), _, _, sample = gradients(by_loop.CHOICES)
    expected = np.zeros(4)
    value = np.asarray(by_loop.CHOICES['value'], np.float64)
    steps, num = sample.steps, sample.steps.mask.sum()
    for i in range(2):
        after = None
        for t in reversed(range(4)):
            if not steps.mask[i, t]:
                after = None
                continue
            later = value[steps.observation[i, t + 1]]
            if after is not None:
                later = 0.2 * later + 0.8 * after
            after = steps.reward[i, t + 1] + 0.9 * steps.discount[i, t + 1] * later
            expected[steps.observation[i, t]] -= (
                0.7 * (after - value[steps.observation[i, t]]) / num
            )
    np.testing.assert_allclose(of_params['value'], expected, atol=1e-5)
