"""D4PG's options beside the losses: acting, the network, experience, what is refused."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import d4pg
from culmen.components.keys import unpack
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams

SPEC = registry.continuous_spec()
LANES = 2000


def act(role, actor_steps=0, **settings):
    """Actions [LANES, 2] on one observation, of a new agent."""
    parts = d4pg.D4PG(**{'hidden_sizes': (4,), **settings}).build(SPEC)
    core = getattr(parts, role)
    timestep = TimeStep(np.ones(LANES, np.int32), None, None, jnp.ones((LANES, 4)))

    @jax.jit
    def of_a_new_agent(packed):
        params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
        state = core.init(jax.random.key(0), streams.lanes(LANES))
        return core.select_action(params, timestep, state, unpack(packed))[0]

    return np.asarray(of_a_new_agent(streams.packed(7, actor_steps)))


@pytest.mark.parametrize('noise', [0.1, 0.3])
def test_exploration_noise(noise):
    best = act('evaluator', exploration_noise=noise)
    assert len(np.unique(best, axis=0)) == 1
    np.testing.assert_allclose(best, 0.0, atol=0.02)  # the last layer is small at first
    given = act('actor', exploration_noise=noise, random_steps=0)
    np.testing.assert_allclose(given.std(axis=0), noise, rtol=0.1)


def test_random_steps():
    for random_steps, actor_steps, uniform in ((100, 99, True), (100, 100, False), (0, 0, False)):
        given = act('actor', actor_steps, random_steps=random_steps)
        shares = np.histogram(given[:, 0], [-1.0, -0.5, 0.0, 0.5, 1.0])[0] / LANES
        assert np.allclose(shares, 0.25, atol=0.05) == uniform


def test_hidden_sizes_and_layer_norm():
    for layer_norm in (False, True):
        learner = d4pg.D4PG(hidden_sizes=(5, 7), layer_norm=layer_norm).build(SPEC).learner
        state = jax.eval_shape(learner.init, jax.random.key(0))
        for params, shapes in (
            (state.policy_params, {(4, 5), (5, 7), (7, 2)}),
            (state.critic_params, {(1, 6, 5), (1, 5, 7), (1, 7, 51)}),
        ):
            assert shapes <= {leaf.shape for leaf in jax.tree_util.tree_leaves(params)}
            paths = jax.tree_util.tree_flatten_with_path(params)[0]
            norms = [leaf for path, leaf in paths if path[-1].key in ('scale', 'offset')]
            assert [leaf.shape[-1:] for leaf in norms] == [(5,), (5,)] * layer_norm


def test_experience():
    agent = d4pg.D4PG(
        n_step=3,
        batch_size=17,
        replay_capacity=301,
        min_replay_size=29,
        samples_per_insert=3.5,
        priority_exponent=0.7,
    )
    assert agent.build(SPEC).experience == Replay(
        window=Window(length=3, ends=('observation',)),
        capacity=301,
        min_size=29,
        batch_size=17,
        samples_per_insert=3.5,
        priority_exponent=0.7,
    )
    assert not d4pg.D4PG().build(SPEC).experience.prioritised


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('hidden_sizes', (64, 0), 'hidden_sizes must be at least 1, got 0'),
        ('num_atoms', 1, 'num_atoms must be at least 2'),
        ('v_max', -150.0, 'v_max must be above -150.0'),
        ('priority_exponent', -0.5, 'priority_exponent must be at least 0'),
        ('importance_exponent', 1.5, r'importance_exponent must be in'),
        ('random_steps', -1, 'random_steps must be at least 0'),
        ('exploration_noise', -0.1, 'exploration_noise must be at least 0'),
        ('discount', 1.1, r'discount must be in \[0, 1\]'),
        ('n_step', 0, 'n_step must be at least 1'),
        ('policy_learning_rate', 0.0, 'policy_learning_rate must be above 0'),
        ('critic_learning_rate', 0.0, 'critic_learning_rate must be above 0'),
        ('target_update_period', 0, 'target_update_period must be at least 1'),
        ('max_gradient_norm', 0.0, 'max_gradient_norm must be above 0'),
        ('batch_size', 0, 'batch_size must be at least 1'),
        ('replay_capacity', 0, 'replay_capacity must be at least 1'),
        ('min_replay_size', 10**8, r'min_replay_size must be in \[0, \d+\]'),
        ('samples_per_insert', 0.0, 'samples_per_insert must be above 0'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        d4pg.D4PG(**{field: value})


def test_presets_are_settings():
    for name, preset in d4pg.D4PG.presets.items():
        assert d4pg.D4PG(**preset) != d4pg.D4PG(), name
        d4pg.D4PG(**preset).build(SPEC)


def test_every_option_is_tested():
    """A field that no test of this folder sets is a field that may be ignored unnoticed."""
    folder = pathlib.Path(__file__).parent
    text = ''.join((folder / name).read_text() for name in ('test_loss.py', 'test_options.py'))
    for field in dataclasses.fields(d4pg.D4PG):
        assert f'{field.name}=' in text or f"'{field.name}':" in text, field.name
