"""The dual variables of MPO and V-MPO, by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from culmen.components import losses
from culmen.components import updates
from culmen.components.networks import Bernoulli
from culmen.components.networks import Categorical
from culmen.components.networks import DiagonalGaussian
from culmen.components.networks import Product
from tests.agents import registry

OLD = DiagonalGaussian(jnp.array([[0.0, 1.0]]), jnp.log(jnp.array([[0.5, 2.0]])))
NEW = DiagonalGaussian(jnp.array([[0.5, -1.0]]), jnp.log(jnp.array([[1.0, 3.0]])))


@pytest.mark.parametrize('value', [1e-6, 0.03, 1.0, 10.0, 1000.0])
def test_a_raw_number_stands_for_a_positive_one(value):
    assert updates.positive(updates.raw_of(value)) == pytest.approx(value, rel=0.02)
    assert updates.positive(jnp.float32(-1e4)) > 0


def test_only_the_multipliers_that_an_action_needs_are_made():
    temperatures = {'temperature': jnp.array([3.0, 5.0])}
    multipliers = {'policy': 1.0, 'mean': 2.0, 'scale': 100.0}

    def made(spec, per_dimension=True):
        return updates.initial_duals(spec.action, temperatures, multipliers, per_dimension)

    shapes = {name: raw.shape for name, raw in made(registry.continuous_spec(3)).items()}
    assert shapes == {'temperature': (2,), 'mean': (3,), 'scale': (3,)}
    of_sum = made(registry.continuous_spec(3), per_dimension=False)
    assert of_sum['mean'].shape == of_sum['scale'].shape == ()
    assert set(made(registry.discrete_spec())) == {'temperature', 'policy'}
    hybrid = made(registry.hybrid_spec())
    assert {name: raw.shape for name, raw in hybrid.items()} == {
        'temperature': (2,), 'policy': (), 'mean': (2,), 'scale': (2,),
    }  # fmt: skip
    values = jax.tree_util.tree_map(updates.positive, hybrid)
    np.testing.assert_allclose(values['temperature'], [3.0, 5.0], rtol=1e-5)
    np.testing.assert_allclose(values['scale'], [100.0, 100.0], rtol=1e-5)
    assert values['policy'] == pytest.approx(1.0, rel=1e-5)


def test_the_divergences_of_a_box_are_those_of_its_means_and_of_its_deviations():
    found = updates.divergences(OLD, NEW)
    mean_0, scale_0 = np.array([0.0, 1.0]), np.array([0.5, 2.0])
    mean_1, scale_1 = np.array([0.5, -1.0]), np.array([1.0, 3.0])
    # 1812.02256, appendix D: of N(m1, s0) and of N(m0, s1) from N(m0, s0).
    expected_mean = [0.5 * (b - a) ** 2 / s**2 for a, b, s in zip(mean_0, mean_1, scale_0)]
    expected_scale = [
        np.log(b / a) + a**2 / (2 * b**2) - 0.5 for a, b in zip(scale_0, scale_1, strict=True)
    ]
    np.testing.assert_allclose(found['mean'], [expected_mean], rtol=1e-5)
    np.testing.assert_allclose(found['scale'], [expected_scale], rtol=1e-5)


def test_choices_are_summed_and_boxes_joined():
    choice = [Categorical(jnp.array([[0.0, x]])) for x in (0.0, 1.0)]
    pair = [Bernoulli(jnp.array([[x, 0.0]])) for x in (0.0, 1.0)]
    old, new = (
        Product({'a': gauss, 'b': one, 'c': two, 'd': gauss})
        for gauss, one, two in zip((OLD, NEW), choice, pair)
    )
    found = updates.divergences(old, new)
    np.testing.assert_allclose(
        found['policy'], choice[0].kl(choice[1]) + pair[0].kl(pair[1]), rtol=1e-6
    )
    alone = updates.divergences(OLD, NEW)
    np.testing.assert_array_equal(found['mean'], np.concatenate([alone['mean']] * 2, axis=-1))


def test_gradients_reach_the_new_policy_alone():
    def total(old, new):
        return sum(jnp.sum(part) for part in updates.divergences(old, new).values())

    of_old, of_new = jax.grad(total, argnums=(0, 1))(OLD, NEW)
    assert all((leaf == 0).all() for leaf in of_old)
    assert all((leaf != 0).all() for leaf in of_new)


def test_bounds_are_by_dimension_where_the_multiplier_is():
    parts = updates.divergences(OLD, NEW)
    epsilons = {'mean': 0.1, 'scale': 0.2}

    def bounds(per_dimension):
        duals = updates.initial_duals(
            registry.continuous_spec(2).action, {}, {'mean': 2.0, 'scale': 3.0}, per_dimension
        )
        return updates.kl_constraints(parts, duals, epsilons)

    for (divergence, penalty), name, value in zip(bounds(True), parts, (2.0, 3.0)):
        np.testing.assert_array_equal(divergence, parts[name])
        assert penalty.per_dimension
        assert penalty.epsilon == epsilons[name]
        np.testing.assert_allclose(updates.positive(penalty.alpha), value, rtol=1e-5)
    for (divergence, penalty), name in zip(bounds(False), parts):
        np.testing.assert_allclose(divergence, np.sum(parts[name], axis=-1), rtol=1e-6)
        assert not penalty.per_dimension
    # They are what the losses take.
    cost, _ = losses.compute_parametric_kl_penalty_and_dual_loss(bounds(True), updates.positive)
    expected = 2 * np.sum(parts['mean']) + 3 * np.sum(parts['scale'])
    np.testing.assert_allclose(cost, [expected], rtol=1e-5)


def test_a_policy_is_taken_apart():
    choice = Categorical(jnp.zeros((1, 2))), Categorical(jnp.ones((1, 2)))
    for old, new, part in (
        (OLD, NEW, lambda policy: policy),
        (Product((OLD, choice[0])), Product((NEW, choice[1])), lambda policy: policy.parts[0]),
    ):
        of_means, of_scales = updates.decoupled(old, new)
        assert (part(of_means).mean == NEW.mean).all()
        assert (part(of_means).log_scale == OLD.log_scale).all()
        assert (part(of_scales).mean == OLD.mean).all()
        assert (part(of_scales).log_scale == NEW.log_scale).all()
    assert (of_means.parts[1].logits == 1).all()
    assert (of_scales.parts[1].logits == 0).all()
    grads = jax.grad(lambda old: jnp.sum(updates.decoupled(old, NEW)[0].log_scale))(OLD)
    assert (grads.log_scale == 0).all()


class State(NamedTuple):
    policy_params: jax.Array
    policy_optimizer_state: optax.OptState
    dual_params: dict[str, jax.Array]
    dual_optimizer_state: optax.OptState


def test_a_network_and_the_duals_descend_on_one_loss_each_by_its_own_optimiser():
    of_network, of_duals = optax.sgd(0.1), optax.sgd(1.0)
    params, duals = jnp.float32(2.0), {'temperature': jnp.float32(-17.5), 'mean': jnp.ones(2)}
    state = State(params, of_network.init(params), duals, of_duals.init(duals))

    def loss(params, duals, factor):
        return factor * params**2 + duals['temperature'] + 3 * jnp.sum(duals['mean']), 'aux'

    state, (value, aux) = updates.train_with_duals(
        state, loss, of_network, of_duals, 3.0, name='policy'
    )
    assert (value, aux) == (12.0 - 17.5 + 6.0, 'aux')
    assert state.policy_params == pytest.approx(2.0 - 0.1 * 12.0)
    np.testing.assert_allclose(state.dual_params['mean'], [-2.0, -2.0])
    assert state.dual_params['temperature'] == -18.0  # no further
