"""A linear layer whose products of matrices are fast on a CPU; its values are those of Haiku's."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

NARROW = 4  # columns from which XLA's products on a CPU are not scalar loops


class Linear(hk.Linear):
    """Haiku's linear layer, with its names, initial weights and outputs, and gradients equal to rounding.

    On a CPU XLA computes two kinds of operation one number at a time: products over two or three columns, and
    sums over rows, which are the gradient of a bias. So here narrow weights get columns and rows of zeros,
    and the bias's gradient is a product with ones. That saves 15% of an update of SAC (benchmarks/native.py).
    """

    def __call__(
        self, inputs: jax.Array, *, precision: jax.lax.Precision | None = None
    ) -> jax.Array:
        """float32[..., D] -> float32[..., output_size]. Args: precision: of the products, as in JAX."""
        size = self.input_size = inputs.shape[-1]
        w_init = self.w_init or hk.initializers.TruncatedNormal(1.0 / np.sqrt(size))
        w = hk.get_parameter('w', [size, self.output_size], inputs.dtype, init=w_init)
        outputs = jnp.dot(*_widened(inputs, w), precision=precision)[..., : self.output_size]
        if not self.with_bias:
            return outputs
        b = hk.get_parameter('b', [self.output_size], inputs.dtype, init=self.b_init)
        return _add_bias(outputs, b)


def _widened(inputs: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both with zeros up to NARROW where they have two or three columns or rows."""
    more_rows, more_columns = (NARROW - n if n in (2, 3) else 0 for n in w.shape)
    if more_rows:
        inputs = jnp.pad(inputs, [(0, 0)] * (inputs.ndim - 1) + [(0, more_rows)])
    return inputs, jnp.pad(w, [(0, more_rows), (0, more_columns)])


@jax.custom_jvp
def _add_bias(outputs: jax.Array, b: jax.Array) -> jax.Array:
    return outputs + jnp.broadcast_to(b, outputs.shape)


@_add_bias.defjvp
def _add_bias_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    outputs, b = primals
    change, change_of_b = tangents
    ones = jnp.ones_like(outputs[..., :1])
    # Both branches are ones. Under `vmap` over parameters they have its axis, as the product's other side
    # has; if only one side has it, XLA transposes the other.
    ones = jax.lax.select(outputs[..., :1] > 0, ones, ones)
    return _add_bias(outputs, b), change + jnp.dot(ones, change_of_b[None])
