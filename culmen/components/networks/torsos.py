"""Torsos: observation [B, ...] -> features [B, D].

`make_torso` picks one by the observation's shape. Networks compute in float32 for every dtype; bytes are
scaled to [0, 1]. A nest of observations is flattened, and its leaves joined, before an MLP.
"""

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import TypeAlias

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.networks.linear import Linear
from culmen.core.types import Array
from culmen.core.types import Nest

Dense: TypeAlias = Callable[[int], Callable[[jax.Array], jax.Array]]  # units -> a dense layer


class MLPTorso(hk.Module):
    """Dense layers with an activation after each, on the flattened and joined observation."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        name: str | None = None,
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        w_init: hk.initializers.Initializer | None = None,
        dense: Dense | None = None,
    ) -> None:
        """Makes a torso.

        Args:
            hidden_sizes: units of each layer.
            w_init: of their weights; None: Haiku's.
            dense: makes each layer, what follows before the activation included; None: `Linear`.
        """
        super().__init__(name=name)
        self._hidden_sizes = tuple(hidden_sizes)
        self._activation = activation
        self._dense = dense or functools.partial(Linear, w_init=w_init)

    def __call__(self, observation: Nest) -> jax.Array:
        """Observation, leaves [B, ...] -> float32[B, hidden_sizes[-1]]."""
        leaves = jax.tree_util.tree_leaves(observation)
        flat = [jnp.reshape(as_float(leaf), (leaf.shape[0], -1)) for leaf in leaves]
        features = flat[0] if len(flat) == 1 else jnp.concatenate(flat, axis=-1)
        for size in self._hidden_sizes:
            features = self._activation(self._dense(size)(features))
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

    def __init__(
        self,
        hidden_size: int | None = 512,
        name: str | None = None,
        *,
        dense: Dense = Linear,
        layer_norm: bool = False,
    ) -> None:
        """Makes a torso.

        Args:
            hidden_size: units of the dense layer; None: without it.
            dense: makes that layer.
            layer_norm: whether the channels of each convolution are normalised.
        """
        super().__init__(name=name)
        self._layer = None if hidden_size is None else functools.partial(dense, hidden_size)
        self._layer_norm = layer_norm

    def __call__(self, observation: Array) -> jax.Array:
        """Images [B, H, W, C] -> float32[B, hidden_size]."""
        features = as_float(observation)
        for channels, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            features = hk.Conv2D(channels, kernel, stride, padding='VALID')(features)
            features = jax.nn.relu(_normed(features) if self._layer_norm else features)
        features = hk.Flatten()(features)
        return features if self._layer is None else jax.nn.relu(self._layer()(features))


class MinAtarTorso(hk.Module):
    """One 3x3 convolution and a dense layer: Young and Tian 2019 (1903.03176), section 4."""

    def __init__(
        self,
        hidden_size: int | None = 128,
        name: str | None = None,
        *,
        dense: Dense = Linear,
        layer_norm: bool = False,
    ) -> None:
        """Args: as for `NatureTorso`."""
        super().__init__(name=name)
        self._layer = None if hidden_size is None else functools.partial(dense, hidden_size)
        self._layer_norm = layer_norm

    def __call__(self, observation: Array) -> jax.Array:
        """Images [B, H, W, C] -> float32[B, hidden_size]."""
        features = hk.Conv2D(16, 3, 1, padding='VALID')(as_float(observation))
        features = jax.nn.relu(_normed(features) if self._layer_norm else features)
        features = hk.Flatten()(features)
        return features if self._layer is None else jax.nn.relu(self._layer()(features))


def make_torso(
    observation_spec: Any,
    hidden_sizes: Sequence[int],
    *,
    dense: Dense | None = None,
    layer_norm: bool = False,
    **options: Any,
) -> Callable[[Nest], jax.Array]:
    """The torso that fits an observation: Nature for images of 36x36 and more, MinAtar's for 8x8
    and more, an MLP of `hidden_sizes`, and of the `options` of MLPTorso, otherwise. To be called
    inside a Haiku transform.

    Args:
        dense: makes its dense layers; None: `Linear`.
        layer_norm: whether each layer is normalised before its activation, Ba et al. 2016 (1607.06450).
    """
    if layer_norm:
        dense = _with_layer_norm(dense or Linear)
    for_images = _of_image(observation_spec)
    if for_images is not None:
        return for_images(dense=dense or Linear, layer_norm=layer_norm)
    return MLPTorso(hidden_sizes, dense=dense, **options)


def make_divided_torso(
    observation_spec: Any, hidden_sizes: Sequence[int], dense: Dense | None = None
) -> tuple[Callable[[Nest], jax.Array], int]:
    """`make_torso` without its last dense layer, for networks that join something before it.

    An MLP of one layer keeps it, since what is joined has to be features.

    Returns: (the torso, units of the layer that is left out).
    """
    for_images = _of_image(observation_spec)
    if for_images is not None:
        return for_images(hidden_size=None), 512 if for_images is NatureTorso else 128
    return MLPTorso(hidden_sizes[:-1] or hidden_sizes, dense=dense), hidden_sizes[-1]


def _of_image(observation_spec: Any) -> type[NatureTorso] | type[MinAtarTorso] | None:
    leaves = jax.tree_util.tree_leaves(observation_spec)
    if len(leaves) == 1 and len(leaves[0].shape) == 3:
        side = min(leaves[0].shape[:2])
        if side >= 36:
            return NatureTorso
        if side >= 8:
            return MinAtarTorso
    return None


def _with_layer_norm(dense: Dense) -> Dense:
    return lambda size: hk.Sequential([dense(size), _normed])


def _normed(features: jax.Array) -> jax.Array:
    """Features [..., C] of mean 0 and deviation 1 over C, scaled and moved."""
    return hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)(features)


def as_float(observation: Array) -> jax.Array:
    """An observation as float32: bytes scaled to [0, 1], all else cast."""
    if observation.dtype == np.uint8:
        return jnp.asarray(observation, jnp.float32) / 255.0
    return jnp.asarray(observation, jnp.float32)
