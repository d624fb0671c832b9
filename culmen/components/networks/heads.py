"""Heads: features [B, D] -> outputs: action values, distributions over actions."""

from collections.abc import Callable
from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.networks.distributions import Bernoulli
from culmen.components.networks.distributions import Categorical
from culmen.components.networks.distributions import Categoricals
from culmen.components.networks.distributions import DiagonalGaussian
from culmen.components.networks.initializers import Orthogonal
from culmen.components.networks.linear import Linear
from culmen.components.networks.torsos import Dense
from culmen.core.types import Array


class ValueHead(hk.Module):
    """One linear layer: features [B, D] -> action values [B, num_actions]."""

    def __init__(
        self,
        num_actions: int,
        name: str | None = None,
        *,
        num_outputs: int | None = None,
        dense: Dense = Linear,
    ) -> None:
        """Makes the head.

        Args:
            num_actions: of the discrete action.
            num_outputs: of each action, as the atoms of a distribution; None: one, its value.
            dense: makes the layer.
        """
        super().__init__(name=name)
        self._num_actions = num_actions
        self._num_outputs = num_outputs
        self._dense = dense

    def __call__(self, features: jax.Array) -> jax.Array:
        """float32[B, D] -> float32[B, num_actions], or float32[B, num_actions, num_outputs]."""
        outputs = self._dense(self._num_actions * (self._num_outputs or 1))(features)
        return _by_action(outputs, self._num_actions, self._num_outputs)


class DuelingHead(hk.Module):
    """State value and advantages, Wang et al. 2016 (1511.06581), equation 9.

    Of several outputs each is divided by itself, Hessel et al. 2018 (1710.02298), "The Integrated Agent".
    """

    def __init__(
        self,
        num_actions: int,
        hidden_size: int,
        name: str | None = None,
        *,
        num_outputs: int | None = None,
        dense: Dense | None = None,
    ) -> None:
        """Makes the head.

        Args:
            num_actions: of the discrete action.
            hidden_size: units of each stream's layer.
            num_outputs: of each action, as the atoms of a distribution; None: one, its value.
            dense: makes the layers; None: Haiku's linear ones.
        """
        super().__init__(name=name)
        self._num_actions = num_actions
        self._hidden_size = hidden_size
        self._num_outputs = num_outputs
        self._dense = dense

    def __call__(self, features: jax.Array) -> jax.Array:
        """float32[B, D] -> float32[B, num_actions], or float32[B, num_actions, num_outputs]."""
        size, num_outputs = self._num_actions, self._num_outputs or 1
        value = self._stream(num_outputs, 'value')(features)
        advantage = self._stream(size * num_outputs, 'advantage')(features)
        if self._num_outputs is None:
            return value + advantage - jnp.mean(advantage, axis=-1, keepdims=True)
        advantage = _by_action(advantage, size, num_outputs)
        return value[:, None] + advantage - jnp.mean(advantage, axis=1, keepdims=True)

    @hk.transparent
    def _stream(self, num_outputs: int, name: str) -> Callable[[jax.Array], jax.Array]:
        if self._dense is None:
            return hk.nets.MLP([self._hidden_size, num_outputs], name=name)
        return _Stream((self._hidden_size, num_outputs), self._dense, name)


class _Stream(hk.Module):
    """Dense layers with a ReLU between them."""

    def __init__(self, sizes: Sequence[int], dense: Dense, name: str) -> None:
        super().__init__(name=name)
        self._sizes = tuple(sizes)
        self._dense = dense

    def __call__(self, features: jax.Array) -> jax.Array:
        for size in self._sizes[:-1]:
            features = jax.nn.relu(self._dense(size)(features))
        return self._dense(self._sizes[-1])(features)


class BranchingHead(hk.Module):
    """Action values of each of D choices, Tavakoli et al. 2018 (1711.08946)."""

    def __init__(
        self, num_values: Sequence[int], hidden_size: int | None = None, name: str | None = None
    ) -> None:
        """Makes the head.

        Args:
            num_values: of each choice.
            hidden_size: units of the layer before the state value, which the choices share, and of the layer
                before the advantages of each; None: one linear layer, without a state value.
        """
        super().__init__(name=name)
        self._num_values = np.asarray(num_values)
        self._hidden_size = hidden_size

    def __call__(self, features: jax.Array) -> jax.Array:
        """float32[B, F] -> float32[B, D, V]: the least float where a choice has fewer than V values."""
        num_choices, largest = len(self._num_values), int(self._num_values.max())
        exist = (np.arange(largest) < self._num_values[:, None])[None]
        if self._hidden_size is None:
            flat = Linear(num_choices * largest)(features)
            values = jnp.reshape(flat, (-1, num_choices, largest))
        else:
            value = hk.nets.MLP([self._hidden_size, 1], name='value')(features)
            advantage = self._advantages(features, num_choices, largest, self._hidden_size)
            mean = jnp.mean(advantage, axis=-1, keepdims=True, where=exist)
            values = value[:, :, None] + advantage - mean
        return jnp.where(exist, values, jnp.finfo(values.dtype).min)

    @hk.transparent
    def _advantages(
        self, features: jax.Array, num_choices: int, largest: int, size: int
    ) -> jax.Array:
        """A hidden layer and a linear one for each choice: float32[B, D, V]."""
        flat = jax.nn.relu(Linear(num_choices * size, name='hidden')(features))
        hidden = jnp.reshape(flat, (-1, num_choices, size))
        init = hk.initializers.TruncatedNormal(size**-0.5)
        weights = hk.get_parameter('w', (num_choices, size, largest), init=init)
        bias = hk.get_parameter('b', (1, num_choices, largest), init=jnp.zeros)
        return jnp.einsum('bdh,dhv->bdv', hidden, weights) + bias


class CategoricalHead(hk.Module):
    """One linear layer, small initial weights: features [B, D] -> a distribution over num_actions actions."""

    def __init__(self, num_actions: int, name: str | None = None) -> None:
        """Args: num_actions: of the discrete action."""
        super().__init__(name=name)
        self._num_actions = num_actions

    def __call__(self, features: jax.Array) -> Categorical:
        """float32[B, D] -> Categorical with logits float32[B, num_actions]."""
        small = Orthogonal(0.01)
        return Categorical(Linear(self._num_actions, w_init=small)(features))


class CategoricalsHead(hk.Module):
    """One linear layer, small initial weights: features [B, D] -> a distribution over N choices."""

    def __init__(self, num_values: Sequence[int], name: str | None = None) -> None:
        """Args: num_values: of each of the N choices."""
        super().__init__(name=name)
        self._num_values = np.asarray(num_values)

    def __call__(self, features: jax.Array) -> Categoricals:
        """float32[B, D] -> Categoricals with logits float32[B, N, V], V the largest number of values."""
        num_choices, largest = len(self._num_values), int(self._num_values.max())
        flat = Linear(num_choices * largest, w_init=Orthogonal(0.01))(features)
        logits = Categoricals(jnp.reshape(flat, (-1, num_choices, largest)))
        exist = np.arange(largest) < self._num_values[:, None]
        return logits if exist.all() else logits.only(exist[None])


class BernoulliHead(hk.Module):
    """One linear layer, small initial weights: features [B, D] -> a distribution over pairs of values."""

    def __init__(self, size: int, name: str | None = None) -> None:
        """Args: size: the number of choices."""
        super().__init__(name=name)
        self._size = size

    def __call__(self, features: jax.Array) -> Bernoulli:
        """float32[B, D] -> Bernoulli with logits float32[B, size]."""
        return Bernoulli(Linear(self._size, w_init=Orthogonal(0.01))(features))


class GaussianHead(hk.Module):
    """A linear layer for the means, with small initial weights; the scales do not depend on the input."""

    def __init__(self, size: int, initial_log_scale: float = 0.0, name: str | None = None) -> None:
        """Args: size: of the action; initial_log_scale: of each dimension's standard deviation."""
        super().__init__(name=name)
        self._size = size
        self._initial_log_scale = initial_log_scale

    def __call__(self, features: jax.Array) -> DiagonalGaussian:
        """float32[B, D] -> DiagonalGaussian with leaves float32[B, size]."""
        mean = Linear(self._size, w_init=Orthogonal(0.01))(features)
        constant = hk.initializers.Constant(self._initial_log_scale)
        log_scale = hk.get_parameter('log_scale', (self._size,), init=constant)
        return DiagonalGaussian(mean, jnp.broadcast_to(log_scale, mean.shape))


class SoftplusGaussianHead(hk.Module):
    """Linear layers for means and deviations: features [B, D] -> a normal distribution.

    Both depend on the input. A deviation is a softplus, with a floor; the first means are near 0.
    Abdolmaleki et al. 2018 (1812.02256), appendix B.
    """

    def __init__(
        self, size: int, initial_scale: float | Array = 0.5, name: str | None = None
    ) -> None:
        """Args: size: of the action; initial_scale: of the first standard deviations, about."""
        super().__init__(name=name)
        self._size = size
        self._initial_scale = initial_scale

    def __call__(self, features: jax.Array) -> DiagonalGaussian:
        """float32[B, D] -> DiagonalGaussian with leaves float32[B, size]."""
        small = hk.initializers.VarianceScaling(1e-4)
        mean = Linear(self._size, w_init=small, name='mean')(features)
        raw = Linear(self._size, w_init=small, name='scale')(features)
        scale = jax.nn.softplus(raw) * (self._initial_scale / jnp.log(2.0)) + 1e-6
        return DiagonalGaussian(mean, jnp.log(scale))


def _by_action(outputs: jax.Array, num_actions: int, num_outputs: int | None) -> jax.Array:
    """float32[B, A * N] -> float32[B, A, N]; as it is where `num_outputs` is None."""
    if num_outputs is None:
        return outputs
    return jnp.reshape(outputs, (-1, num_actions, num_outputs))
