"""Torsos: observation [B, ...] -> features [B, D].

`make_torso` picks one by the observation's shape. Networks compute in float32 for every dtype; bytes are
scaled to [0, 1]. A nest of observations is flattened, and its leaves joined, before an MLP.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.networks.linear import Linear
from culmen.core.types import Array
from culmen.core.types import Nest


class MLPTorso(hk.Module):
    """Dense layers with an activation after each, on the flattened and joined observation."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        name: str | None = None,
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        w_init: hk.initializers.Initializer | None = None,
    ) -> None:
        """Args: hidden_sizes: units of each layer; w_init: of their weights, None: Haiku's."""
        super().__init__(name=name)
        self._hidden_sizes = tuple(hidden_sizes)
        self._activation = activation
        self._w_init = w_init

    def __call__(self, observation: Nest) -> jax.Array:
        """Observation, leaves [B, ...] -> float32[B, hidden_sizes[-1]]."""
        leaves = jax.tree_util.tree_leaves(observation)
        flat = [jnp.reshape(as_float(leaf), (leaf.shape[0], -1)) for leaf in leaves]
        features = flat[0] if len(flat) == 1 else jnp.concatenate(flat, axis=-1)
        for size in self._hidden_sizes:
            features = self._activation(Linear(size, w_init=self._w_init)(features))
        return features


class LayerNormMLPTorso(hk.Module):
    """Dense layers; the first is normalised and bounded, so that no observation saturates it.

    Ba et al. 2016 (1607.06450). A tanh follows the norm; a ReLU follows each other layer.
    """

    def __init__(self, hidden_sizes: Sequence[int], name: str | None = None) -> None:
        """Args: hidden_sizes: units of each layer."""
        super().__init__(name=name)
        self._hidden_sizes = tuple(hidden_sizes)

    def __call__(self, observation: Nest) -> jax.Array:
        """Observation, leaves [B, ...] -> float32[B, hidden_sizes[-1]]."""
        features = Linear(self._hidden_sizes[0])(MLPTorso(())(observation))
        norm = hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)
        return MLPTorso(self._hidden_sizes[1:])(jnp.tanh(norm(features)))


class NatureTorso(hk.Module):
    """The convolutions and the dense layer of Mnih et al. 2015 (Nature 518), Methods."""

    def __init__(self, hidden_size: int = 512, name: str | None = None) -> None:
        """Args: hidden_size: units of the dense layer."""
        super().__init__(name=name)
        self._hidden_size = hidden_size

    def __call__(self, observation: Array) -> jax.Array:
        """Images [B, H, W, C] -> float32[B, hidden_size]."""
        features = as_float(observation)
        for channels, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            features = jax.nn.relu(hk.Conv2D(channels, kernel, stride, padding='VALID')(features))
        return jax.nn.relu(Linear(self._hidden_size)(hk.Flatten()(features)))


class MinAtarTorso(hk.Module):
    """One 3x3 convolution and a dense layer: Young and Tian 2019 (1903.03176), section 4."""

    def __init__(self, hidden_size: int = 128, name: str | None = None) -> None:
        """Args: hidden_size: units of the dense layer."""
        super().__init__(name=name)
        self._hidden_size = hidden_size

    def __call__(self, observation: Array) -> jax.Array:
        """Images [B, H, W, C] -> float32[B, hidden_size]."""
        features = jax.nn.relu(hk.Conv2D(16, 3, 1, padding='VALID')(as_float(observation)))
        return jax.nn.relu(Linear(self._hidden_size)(hk.Flatten()(features)))


def make_torso(
    observation_spec: Any, hidden_sizes: Sequence[int], **options: Any
) -> Callable[[Nest], jax.Array]:
    """The torso that fits an observation: Nature for images of 36x36 and more, MinAtar's for 8x8
    and more, an MLP of `hidden_sizes`, and of the `options` of MLPTorso, otherwise. To be called
    inside a Haiku transform."""
    leaves = jax.tree_util.tree_leaves(observation_spec)
    if len(leaves) == 1 and len(leaves[0].shape) == 3:
        side = min(leaves[0].shape[:2])
        if side >= 36:
            return NatureTorso()
        if side >= 8:
            return MinAtarTorso()
    return MLPTorso(hidden_sizes, **options)


def as_float(observation: Array) -> jax.Array:
    """An observation as float32: bytes scaled to [0, 1], all else cast."""
    if observation.dtype == np.uint8:
        return jnp.asarray(observation, jnp.float32) / 255.0
    return jnp.asarray(observation, jnp.float32)
