"""Learning continuous control from images: an encoder, and images shifted at random.

Yarats et al. 2021 (2004.13649): DrQ. Both are parts of an update or of a network; neither knows an agent.
"""

from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from culmen.components.networks.linear import Linear
from culmen.components.networks.torsos import as_float
from culmen.core.types import Array
from culmen.core.types import Nest


class PixelTorso(hk.Module):
    """3x3 convolutions (the first of stride 2) and a dense layer with layer norm and tanh: section B.1."""

    def __init__(
        self, channels: Sequence[int] = (32, 32, 32, 32), size: int = 50, name: str | None = None
    ) -> None:
        """Args: channels: of each convolution; size: units of the dense layer."""
        super().__init__(name=name)
        self._channels = tuple(channels)
        self._size = size

    def __call__(self, observation: Array) -> jax.Array:
        """Images [B, H, W, C] -> float32[B, size] in (-1, 1)."""
        features = as_float(observation)
        for i, channels in enumerate(self._channels):
            stride = 1 if i else 2
            features = jax.nn.relu(hk.Conv2D(channels, 3, stride, padding='VALID')(features))
        features = Linear(self._size)(hk.Flatten()(features))
        return jnp.tanh(hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)(features))


def is_image(leaf: Any) -> bool:
    """Whether a spec, or an array without its batch axis, is an image [H, W, C] of 8x8 at least."""
    return len(leaf.shape) == 3 and min(leaf.shape[:2]) >= 8


def random_shift(key: jax.Array, observation: Nest, pad: int) -> Nest:
    """Shifts each image by up to `pad` pixels in each direction, independently.

    Pixels that leave the image are lost, and the border is repeated. Other leaves stay as they are.

    Args:
        key: a random key.
        observation: leaves [B, ...]; images [B, H, W, C] of any dtype.
        pad: at least 1.
    Raises: ValueError where no leaf is an image.
    """
    leaves, structure = jax.tree_util.tree_flatten(observation)
    if not any(is_image(leaf[0]) for leaf in leaves):
        shapes = [leaf.shape[1:] for leaf in leaves]
        raise ValueError(
            f'augmentation_pad must be 0 where no image is observed, got shapes {shapes}.'
        )

    def shift(key: jax.Array, image: jax.Array) -> jax.Array:
        row, column = jax.random.randint(key, (2,), 0, 2 * pad + 1)
        padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode='edge')
        return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)

    shifted = [
        jax.vmap(shift)(jax.random.split(leaf_key, leaf.shape[0]), jnp.asarray(leaf))
        if is_image(leaf[0])
        else leaf
        for leaf_key, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    return structure.unflatten(shifted)
