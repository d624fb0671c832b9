"""What a critic says of a return: its mean, or its distribution; and the loss that teaches it.

A head is pure functions of a critic's outputs [..., num_outputs]. Bootstraps are of S candidate actions,
each with the log-probability that it is taken, float32[S, ...].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components.networks import DiagonalGaussian


class CriticHead(NamedTuple):
    """A kind of critic."""

    num_outputs: int
    mean: Callable[[jax.Array], jax.Array]  # outputs [..., num_outputs] -> mean returns [...]
    # (outputs [num_outputs], reward [], discount [], outputs where it leads [S, num_outputs],
    # log-probabilities [S], key) -> the loss of the outputs to reward + discount * (the returns there),
    # without gradient there
    loss: Callable[..., jax.Array]


def expected() -> CriticHead:
    """The mean return alone; the loss is half the squared temporal-difference error."""

    def mean(outputs: jax.Array) -> jax.Array:
        return outputs[..., 0]

    def loss(
        outputs: jax.Array,
        r_t: jax.Array,
        discount_t: jax.Array,
        outputs_t: jax.Array,
        log_prior: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        del key
        v_t = jnp.sum(jnp.exp(log_prior) * mean(outputs_t))
        return losses.l2_loss(losses.td_learning(mean(outputs), r_t, discount_t, v_t))

    return CriticHead(1, mean, loss)


def categorical(num_atoms: int, v_min: float | jax.Array, v_max: float | jax.Array) -> CriticHead:
    """Probabilities of fixed returns, Bellemare et al. 2017 (1707.06887), equation 7.

    Args: num_atoms: evenly from v_min to v_max.
    """

    def support() -> jax.Array:
        return jnp.linspace(v_min, v_max, num_atoms, dtype=jnp.float32)

    def mean(outputs: jax.Array) -> jax.Array:
        return jax.nn.softmax(outputs) @ support()

    def loss(
        outputs: jax.Array,
        r_t: jax.Array,
        discount_t: jax.Array,
        outputs_t: jax.Array,
        log_prior: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        del key
        # The return there is a mixture of the candidates'.
        logits_t = jax.nn.logsumexp(jax.nn.log_softmax(outputs_t) + log_prior[:, None], axis=0)
        atoms = support()
        return losses.categorical_td_learning(atoms, outputs, r_t, discount_t, atoms, logits_t)

    return CriticHead(num_atoms, mean, loss)


def gaussians(num_components: int, num_returns: int, initial_scale: float = 1.0) -> CriticHead:
    """A mixture of normal distributions, Barth-Maron et al. 2018 (1804.08617), appendix A.

    Args:
        num_components: of the mixture.
        num_returns: drawn where a transition leads; the loss is the mean of minus their log-densities.
        initial_scale: of each component's deviation, about.
    """

    def parts(outputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        logits, means, raw = jnp.split(outputs, 3, axis=-1)
        scales = jax.nn.softplus(raw) * (initial_scale / jnp.log(2.0)) + 1e-4
        return jax.nn.log_softmax(logits), means, scales

    def mean(outputs: jax.Array) -> jax.Array:
        logits, means, _ = parts(outputs)
        return jnp.sum(jnp.exp(logits) * means, axis=-1)

    def loss(
        outputs: jax.Array,
        r_t: jax.Array,
        discount_t: jax.Array,
        outputs_t: jax.Array,
        log_prior: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        choice_key, noise_key = jax.random.split(key)
        logits_t, means_t, scales_t = parts(outputs_t)  # [S, num_components]
        joint = (log_prior[:, None] + logits_t).ravel()
        chosen = jax.random.categorical(choice_key, joint, shape=(num_returns,))
        noise = jax.random.normal(noise_key, (num_returns,), jnp.float32)
        drawn = means_t.ravel()[chosen] + scales_t.ravel()[chosen] * noise
        targets = jax.lax.stop_gradient(r_t + discount_t * drawn)
        logits, means, scales = parts(outputs)
        components = DiagonalGaussian(means[:, None], jnp.log(scales)[:, None])
        of_components = jax.vmap(
            lambda y: logits + components.log_prob(jnp.full_like(means, y)[:, None])
        )
        return -jnp.mean(jax.nn.logsumexp(of_components(targets), axis=-1))

    return CriticHead(3 * num_components, mean, loss)
