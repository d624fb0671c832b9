"""Linear layers with learned noise on their weights, which explore: Fortunato et al. 2017 (1706.10295)."""

import functools
from typing import Literal
from typing import TypeAlias

import haiku as hk
import jax
import jax.numpy as jnp

from culmen.components.networks.keyed import next_draw
from culmen.components.networks.torsos import Dense

Noise: TypeAlias = Literal['none', 'factorised', 'independent']


class NoisyLinear(hk.Module):
    """y = (mu_w + sigma_w * e_w) x + mu_b + sigma_b * e_b, equation 9.

    The noise e is drawn anew at each call, with the key of a `Keyed`. Without one the layer is mu_w x + mu_b,
    as in evaluations.
    """

    def __init__(
        self,
        size: int,
        noise: Literal['factorised', 'independent'] = 'factorised',
        sigma_0: float | None = None,
        name: str | None = None,
    ) -> None:
        """Makes a layer.

        Args:
            size: q, the number of outputs.
            noise: 'factorised': a product of inputs' and outputs' noise, equations 10 and 11, p + q draws;
                'independent': of each weight, p q + q draws.
            sigma_0: deviations begin at sigma_0 / sqrt(p) for p inputs if factorised, at sigma_0 if
                independent; None: 0.5 and 0.017 (section 3.2).
        """
        super().__init__(name=name)
        if noise not in ('factorised', 'independent'):
            raise ValueError(f"noise must be 'factorised' or 'independent', got {noise!r}.")
        self._size = size
        self._factorised = noise == 'factorised'
        default = 0.5 if self._factorised else 0.017
        self._sigma_0 = default if sigma_0 is None else sigma_0

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """float32[B, p] -> float32[B, q]."""
        num_inputs = inputs.shape[-1]
        sigma, bound = self._sigma_0, (3.0 / num_inputs) ** 0.5
        if self._factorised:
            sigma, bound = sigma / num_inputs**0.5, num_inputs**-0.5
        uniform = hk.initializers.RandomUniform(-bound, bound)
        constant = hk.initializers.Constant(sigma)
        shape = num_inputs, self._size
        mu_w = hk.get_parameter('mu_w', shape, init=uniform)
        mu_b = hk.get_parameter('mu_b', shape[1:], init=uniform)
        sigma_w = hk.get_parameter('sigma_w', shape, init=constant)
        sigma_b = hk.get_parameter('sigma_b', shape[1:], init=constant)
        outputs = inputs @ mu_w + mu_b[None]
        key = next_draw()
        if key is None:
            return outputs
        # One draw for the whole layer: each takes XLA a good part of a second to compile.
        if self._factorised:
            e = _signed_root(jax.random.normal(key, (1, sum(shape)), jnp.float32))
            e_in, e_out = e[:, :num_inputs], e[:, num_inputs:]
            # e_w = e_in e_out: no weight has to be drawn, nor held for each row.
            return outputs + ((inputs * e_in) @ sigma_w + sigma_b[None]) * e_out
        e = jax.random.normal(key, (num_inputs + 1, self._size), jnp.float32)
        return outputs + inputs @ (sigma_w * e[1:]) + sigma_b[None] * e[:1]


def noisy_dense(noise: Noise, sigma_0: float | None = None) -> Dense | None:
    """What makes the dense layers of a network with this noise; None: the network's own, for 'none'.

    Args: sigma_0: of `NoisyLinear`.
    """
    if noise == 'none':
        return None
    return functools.partial(NoisyLinear, noise=noise, sigma_0=sigma_0)


def _signed_root(x: jax.Array) -> jax.Array:
    """sgn(x) sqrt(|x|), section 3 (b)."""
    return jnp.sign(x) * jnp.sqrt(jnp.abs(x))
