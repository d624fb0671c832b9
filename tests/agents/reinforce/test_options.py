"""REINFORCE's other options: the update around the loss, and the experience."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import reinforce
from culmen.core.experience import Queue
from culmen.core.experience import Window
from culmen.core.types import Context
from tests.agents import registry
from tests.agents.impala import by_hand

SAMPLE = by_hand.sample([0, 1, 2], [2, -1], last=[2])
PLAIN = {'discount': 0.0, 'baseline': True, 'value_cost': 1.0, 'entropy_cost': 0.0,
         'max_gradient_norm': None, 'optimizer_epsilon': 1.0, 'learning_rate': 0.1}  # fmt: skip


def added(actor_steps=0, **settings):
    """What one update adds to the values of the first two observations, whose gradients are -0.5 and 1.5."""
    learner = reinforce.make_learner(
        by_hand.NETWORK, reinforce.REINFORCEConfig(**{**PLAIN, **settings})
    )
    context = Context(jax.random.key(0), jnp.int32(actor_steps), jnp.int32(0), jnp.int32(0))
    after, metrics, priorities = learner.update(learner.init(jax.random.key(0)), SAMPLE, context)
    assert priorities is None
    assert metrics['value_loss'] == pytest.approx(0.5 * (1 + 9) / 2)
    return np.asarray(after.params['value'] - by_hand.PARAMS['value'])[:2]


GRADIENT = np.array([-0.5, 1.5])


def adam(gradient, rate=0.1, epsilon=1.0):
    """The first step of Adam, whose moments are the gradient and its square."""
    return -rate * gradient / (np.abs(gradient) + epsilon)


def test_the_optimiser_and_its_settings():
    np.testing.assert_allclose(added(), adam(GRADIENT), rtol=1e-4)
    np.testing.assert_allclose(added(learning_rate=0.02), adam(GRADIENT, rate=0.02), rtol=1e-4)
    np.testing.assert_allclose(added(optimizer_epsilon=3.0), adam(GRADIENT, epsilon=3.0), rtol=1e-4)
    half = added(learning_rate_decay_steps=100, actor_steps=50)
    np.testing.assert_allclose(half, adam(GRADIENT, rate=0.05), rtol=1e-4)
    # With the logits' gradients, -+ 0.25 and +- 0.75, the norm is larger.
    norm = np.sqrt(np.sum(GRADIENT**2) + 2 * 0.25**2 + 2 * 0.75**2)
    np.testing.assert_allclose(added(max_gradient_norm=0.5), adam(0.5 * GRADIENT / norm), rtol=1e-4)


def test_experience_is_of_whole_episodes_of_the_policy_that_learns():
    window = Window(length=7, period=7)
    spec = registry.discrete_spec()
    agent = reinforce.REINFORCE(episode_length=7, batch_size=3)
    assert agent.build(spec).experience == Queue(window, 3, max_staleness=0)
    window = reinforce.REINFORCE(core='gru').build(spec).experience.window
    assert window.first == ('extras/core_state',)


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('discount', 1.1, r'discount must be in \[0, 1\], got 1.1'),
        ('value_cost', -1.0, 'value_cost must be at least 0'),
        ('entropy_cost', -1.0, 'entropy_cost must be at least 0'),
        ('learning_rate', 0.0, 'learning_rate must be above 0'),
        ('episode_length', 0, 'episode_length must be at least 1'),
        ('batch_size', 0, 'batch_size must be at least 1'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        reinforce.REINFORCE(**{field: value})
