"""V-MPO's other options: the update around the loss, the network that acts, the experience."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import vmpo
from culmen.components import updates
from culmen.core.experience import Queue
from culmen.core.experience import Window
from culmen.core.types import Context
from tests.agents import registry
from tests.agents.vmpo import by_loop

PLAIN = {'max_gradient_norm': None, 'optimizer_epsilon': 1.0, 'learning_rate': 0.1,
         'dual_learning_rate': 0.2, 'target_update_period': 3}  # fmt: skip
SAMPLE = by_loop.sample_of(by_loop.CHOICES)
ACTION = registry.discrete_spec(num_actions=2).action


def updated(actor_steps=0, learner_steps=0, **settings):
    """(the state before, the state after, the gradients of the network and of the dual variables)."""
    config = vmpo.VMPOConfig(**{**PLAIN, **settings})
    network = by_loop.network_of(by_loop.CHOICES)
    learner = vmpo.make_learner(network, config, ACTION)
    state = learner.init(jax.random.key(0))
    counts = map(jnp.int32, (actor_steps, learner_steps, learner_steps))
    after, _, priorities = learner.update(state, SAMPLE, Context(jax.random.key(0), *counts))
    assert priorities is None
    grads = jax.grad(lambda *p: vmpo.loss(*p, SAMPLE, network, config)[0], argnums=(0, 1))(
        state.params, state.dual_params
    )
    return state, after, *grads


def adam(gradient, rate=0.1, epsilon=1.0):
    """The first step of Adam, whose moments are the gradient and its square."""
    return -rate * gradient / (np.abs(gradient) + epsilon)


@pytest.mark.parametrize(
    ('settings', 'rate', 'epsilon'),
    [
        ({}, 0.1, 1.0),
        ({'learning_rate': 0.02}, 0.02, 1.0),
        ({'optimizer_epsilon': 3.0}, 0.1, 3.0),
        ({'learning_rate_decay_steps': 100, 'actor_steps': 25}, 0.075, 1.0),
    ],
)
def test_the_network_takes_a_step_of_adam(settings, rate, epsilon):
    before, after, gradient, _ = updated(**settings)
    for name, value in before.params.items():
        added = np.asarray(after.params[name] - value)
        np.testing.assert_allclose(added, adam(gradient[name], rate, epsilon), rtol=1e-4, atol=1e-6)


def test_max_gradient_norm_is_that_of_the_network():
    before, after, gradient, _ = updated(max_gradient_norm=0.1)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradient.values()))
    assert norm > 0.1
    added = np.asarray(after.params['value'] - before.params['value'])
    np.testing.assert_allclose(added, adam(0.1 * gradient['value'] / norm), rtol=1e-4, atol=1e-6)


def test_dual_variables_begin_as_told_and_take_steps_of_their_own():
    before, after, _, gradient = updated(initial_temperature=2.0, initial_alpha_policy=7.0)
    assert float(updates.positive(before.dual_params['temperature'])) == pytest.approx(2.0)
    assert float(updates.positive(before.dual_params['policy'])) == pytest.approx(7.0, rel=1e-5)
    assert set(before.dual_params) == {'temperature', 'policy'}
    for name, raw in before.dual_params.items():
        added = float(after.dual_params[name] - raw)
        assert added == pytest.approx(-0.2 * np.sign(float(gradient[name])), rel=1e-3)


def test_the_target_network_acts_and_is_copied_every_period():
    learner = vmpo.VMPO().build(registry.discrete_spec()).learner
    for learner_steps, copied in ((0, False), (1, False), (2, True), (5, True)):
        before, after, _, _ = updated(learner_steps=learner_steps)
        expected = after.params if copied else before.params
        assert (after.params['logits'] != before.params['logits']).any()
        np.testing.assert_array_equal(after.target_params['logits'], expected['logits'])
        assert learner.variables(after) is after.target_params


def test_experience():
    spec = registry.discrete_spec()
    for batch_size in (None, 5):
        window = Window(length=7, period=7, cross_episodes=True)
        given = vmpo.VMPO(unroll_length=7, batch_size=batch_size).build(spec).experience
        assert given == Queue(window, batch_size, max_staleness=0)
    window = vmpo.VMPO(core='lstm').build(spec).experience.window
    assert window.first == ('extras/core_state',)


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('lambda_', 1.1, r'lambda_ must be in \[0, 1\], got 1.1'),
        ('top_fraction', 0.0, r'top_fraction must be in \(0, 1\], got 0.0'),
        ('pop_art_rate', 0.0, r'pop_art_rate must be in \(0, 1\]'),
        ('target_update_period', 0, 'target_update_period must be at least 1'),
        ('epsilon_temperature', 0.0, 'epsilon_temperature must be above 0'),
        ('epsilon_policy', 0.0, 'epsilon_policy must be above 0'),
        ('epsilon_mean', -1.0, 'epsilon_mean must be above 0'),
        ('epsilon_scale', 0.0, 'epsilon_scale must be above 0'),
        ('initial_temperature', 0.0, 'initial_temperature must be above 0'),
        ('initial_alpha_policy', 0.0, 'initial_alpha_policy must be above 0'),
        ('dual_learning_rate', 0.0, 'dual_learning_rate must be above 0'),
        ('learning_rate_decay_steps', 0, 'learning_rate_decay_steps must be at least 1'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        vmpo.VMPO(**{field: value})
