"""Networks that draw: noisy layers and dropout, with one key for a batch, one a row, and none."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import networks
from culmen.components import policies
from culmen.components.networks import Keyed
from culmen.components.networks import NoisyLinear
from culmen.components.networks.keyed import split_keyed
from culmen.core.types import MID
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import TimeStep
from tests.agents import registry

INPUTS, OUTPUTS, BATCH = 4, 3, 5


def layer(noise='factorised', **options):
    """(init, apply) of one noisy layer."""
    transformed = hk.transform(lambda x: NoisyLinear(OUTPUTS, noise, **options)(x))
    return transformed.init, jax.jit(networks.drawing(transformed.apply))


def inputs(batch=BATCH):
    return jnp.asarray(np.random.default_rng(0).normal(size=(batch, INPUTS)), jnp.float32)


@pytest.mark.parametrize(
    ('noise', 'bound', 'sigma'),
    [('factorised', 1 / 2, 0.5 / 2), ('independent', (3 / 4) ** 0.5, 0.017)],
)
def test_a_noisy_layer_begins_as_the_paper_says_and_is_linear_without_a_key(noise, bound, sigma):
    init, apply = layer(noise)
    (weights,) = init(jax.random.key(0), inputs()).values()
    assert {name: leaf.shape for name, leaf in weights.items()} == {
        'mu_w': (INPUTS, OUTPUTS), 'mu_b': (OUTPUTS,), 'sigma_w': (INPUTS, OUTPUTS),
        'sigma_b': (OUTPUTS,),
    }  # fmt: skip
    np.testing.assert_allclose(weights['sigma_w'], sigma)
    np.testing.assert_allclose(weights['sigma_b'], sigma)
    largest = np.abs(weights['mu_w']).max()
    assert 0.7 * bound < largest <= bound
    expected = np.asarray(inputs()) @ np.asarray(weights['mu_w']) + np.asarray(weights['mu_b'])
    np.testing.assert_allclose(apply({'noisy_linear': weights}, inputs()), expected, rtol=1e-5)
    other = layer(noise, sigma_0=0.1)[0](jax.random.key(0), inputs())['noisy_linear']
    np.testing.assert_allclose(other['sigma_w'], 0.05 if noise == 'factorised' else 0.1)


def sampled_weights(noise, num):
    """What a layer with mu 0 and sigma 1 drew, [num, INPUTS + 1, OUTPUTS]: the bias's in the last row."""
    _, apply = layer(noise)
    params = {'noisy_linear': {
        'mu_w': jnp.zeros((INPUTS, OUTPUTS)), 'mu_b': jnp.zeros(OUTPUTS),
        'sigma_w': jnp.ones((INPUTS, OUTPUTS)), 'sigma_b': jnp.ones(OUTPUTS),
    }}  # fmt: skip
    units = jnp.concatenate([jnp.eye(INPUTS), jnp.zeros((1, INPUTS))])
    draw = jax.vmap(lambda key: apply(Keyed(params, key), units))
    outputs = np.asarray(draw(jax.random.split(jax.random.key(1), num)), np.float64)
    bias = outputs[:, -1:]
    return np.concatenate([outputs[:, :-1] - bias, bias], axis=1)


def test_independent_noise_is_normal_for_each_weight():
    drawn = sampled_weights('independent', 4_000).reshape(4_000, -1)
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.08)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(drawn.shape[1]), atol=0.12)


def test_factorised_noise_is_a_product_of_signed_roots():
    drawn = sampled_weights('factorised', 4_000)
    weights, bias = drawn[:, :-1], drawn[:, -1]
    # The bias's noise is that of the outputs, f(e); a weight's is f(e_in) f(e_out).
    of_inputs = weights[:, :, :1] / bias[:, None, :1]
    np.testing.assert_allclose(weights, of_inputs * bias[:, None], rtol=1e-2, atol=1e-3)
    # E f(e)^2 = E |e| = sqrt(2 / pi), and E f(e)^4 = 1.
    np.testing.assert_allclose((bias**2).mean(0), (2 / np.pi) ** 0.5, rtol=0.06)
    np.testing.assert_allclose((bias**4).mean(0), 1.0, rtol=0.12)
    np.testing.assert_allclose((weights**2).mean(0), 2 / np.pi, rtol=0.12)
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.06)


def test_another_kind_of_noise_is_refused():
    with pytest.raises(ValueError, match="noise must be 'factorised' or 'independent', got 'both'"):
        layer('both')[0](jax.random.key(0), inputs())


@pytest.mark.parametrize('noise', ['factorised', 'independent'])
def test_a_batch_has_one_draw_with_one_key_and_a_draw_a_row_with_a_key_a_row(noise):
    init, apply = layer(noise, sigma_0=1.0)
    params = init(jax.random.key(0), inputs())
    alike = jnp.ones((BATCH, INPUTS))
    together = np.asarray(apply(Keyed(params, jax.random.key(3)), alike))
    assert len(np.unique(together[:, 0])) == 1
    assert not np.allclose(together, apply(Keyed(params, jax.random.key(4)), alike))
    keys = jax.random.split(jax.random.key(3), BATCH)
    apart = np.asarray(apply(Keyed(params, keys), alike))
    assert len(np.unique(apart[:, 0])) == BATCH
    # A row is what its own key gives, in whichever batch.
    for row in range(BATCH):
        alone = apply(Keyed(params, keys[row]), alike[:1])
        np.testing.assert_allclose(apart[row : row + 1], alone, rtol=1e-5, atol=1e-6)


def test_dropout_keeps_the_mean_and_nothing_is_dropped_without_a_key():
    transformed = hk.transform(lambda x: networks.dropout(0.25, x))
    apply = networks.drawing(transformed.apply)
    values = jnp.ones((40, 100))
    np.testing.assert_array_equal(apply({}, values), values)
    dropped = np.asarray(apply(Keyed({}, jax.random.key(0)), values))
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    assert dropped.mean() == pytest.approx(1.0, abs=0.03)


def test_initial_parameters_do_not_depend_on_draws():
    with_draw, without = (
        hk.transform(
            lambda x, rate=rate: hk.Linear(2)(x if rate is None else networks.dropout(rate, x))
        )
        for rate in (0.5, None)
    )
    a, b = (each.init(jax.random.key(0), inputs())['linear']['w'] for each in (with_draw, without))
    np.testing.assert_array_equal(a, b)


SPEC = registry.discrete_spec()


def of_rows(make):
    """A network of the library as (params, observation [B, 4], step types [B, 2]) -> outputs [B, ...]."""
    network, run = make()
    return network.init(jax.random.key(0)), run


def action_values():
    network = networks.make_action_value_network(SPEC, 3, (8,), dueling=True)
    return network, lambda params, x: network.apply(params, x)


def memory():
    network = networks.make_recurrent_action_value_network(SPEC, 3, (8,), core_size=4)

    def run(params, x):
        length = x.shape[0], 2
        inputs = networks.RecurrentInputs(
            jnp.ones(length, jnp.int32),
            jnp.stack([x, -x], axis=1),
            jnp.zeros(length, jnp.int32),
            jnp.ones(length),
        )
        return network.unroll(params, inputs, network.initial_state(x.shape[0]))

    return network, run


def actor_critic():
    network = networks.make_actor_critic_network('Test', SPEC, (8,), core='gru', core_size=4)
    return network, lambda params, x: network.step(params, x, network.initial_state(x.shape[0]))


@pytest.mark.parametrize('make', [action_values, memory, actor_critic])
def test_networks_that_never_draw_ignore_keys(make):
    params, run = of_rows(make)
    x = inputs(3)
    plain = run(params, x)
    for key in (jax.random.key(0), jax.random.split(jax.random.key(0), 3)):
        keyed = run(Keyed(params, key), x)
        for a, b in zip(*map(jax.tree_util.tree_leaves, (plain, keyed)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_critics_and_policies_of_continuous_agents_draw():
    spec = registry.continuous_spec()

    class Head(hk.Module):
        def __call__(self, features):
            return NoisyLinear(2)(features)

    box = networks.action_box('Test', spec)
    nets = networks.make_continuous_networks(spec, Head, box, (8,), num_critics=3)
    policy, critic = nets.init(jax.random.key(0))
    x = inputs(2)
    acting = (critic.encoder, policy)
    still = nets.act(acting, x)
    keys = jax.random.split(jax.random.key(1), 2)
    moved = nets.act(Keyed(acting, keys), x)
    assert still.shape == moved.shape == (2, 2)
    assert not np.isclose(still, moved).any()
    # Critics without draws give what they gave, each with a key of its own.
    features = nets.encode(critic.encoder, x)
    plain = nets.critics(critic.ensemble, features, jnp.zeros((2, 2)))
    keyed = nets.critics(Keyed(critic.ensemble, jax.random.key(2)), features, jnp.zeros((2, 2)))
    np.testing.assert_allclose(plain, keyed, rtol=1e-5)
    first, second = split_keyed(Keyed(acting, keys), 2)
    assert first.params is critic.encoder
    assert not (jax.random.key_data(first.key) == jax.random.key_data(second.key)).all()


def test_a_lane_draws_the_same_however_lanes_are_batched():
    init, apply = layer(sigma_0=2.0)
    params = init(jax.random.key(0), inputs())
    core = policies.keyed(policies.epsilon_greedy(apply, 0.2))
    x = inputs(6)

    def act(index, number):
        lanes = Lanes(jnp.asarray(index, jnp.int32), 6)
        zeros = jnp.zeros(len(index))
        timestep = TimeStep(jnp.full(len(index), MID), zeros, zeros + 1, x[jnp.asarray(index)])
        context = Context(jax.random.key(number), jnp.int32(0), jnp.int32(0), jnp.int32(0))
        return core.select_action(params, timestep, core.init(jax.random.key(9), lanes), context)[0]

    together = np.stack([act(range(6), number) for number in range(20)])
    apart = np.stack(
        [np.concatenate([act([0, 1, 2], number), act([3, 4, 5], number)]) for number in range(20)]
    )
    np.testing.assert_array_equal(together, apart)
    # With noise of this size an action changes from call to call.
    assert all(len(np.unique(lane)) > 1 for lane in together.T)
