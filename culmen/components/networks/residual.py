"""The residual torso of IMPALA, for images."""

from collections.abc import Sequence

import haiku as hk
import jax

from culmen.components.networks.linear import Linear
from culmen.components.networks.torsos import as_float
from culmen.core.types import Array


class ResNetTorso(hk.Module):
    """Sections of a convolution, a pool and residual blocks; then a dense layer.

    Espeholt et al. 2018 (1802.01561), figure 3, right: 15 convolutions with the default channels.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 32),
        num_blocks: int = 2,
        hidden_size: int = 256,
        name: str | None = None,
    ) -> None:
        """Args: channels: of each section; num_blocks: in each; hidden_size: units of the dense layer."""
        super().__init__(name=name)
        self._channels = tuple(channels)
        self._num_blocks = num_blocks
        self._hidden_size = hidden_size

    def __call__(self, observation: Array) -> jax.Array:
        """Images [B, H, W, C] -> float32[B, hidden_size]."""
        features = as_float(observation)
        for channels in self._channels:
            features = hk.Conv2D(channels, 3)(features)
            features = hk.max_pool(features, (1, 3, 3, 1), (1, 2, 2, 1), padding='SAME')
            for _ in range(self._num_blocks):
                shortcut = features
                for _ in range(2):
                    features = hk.Conv2D(channels, 3)(jax.nn.relu(features))
                features = features + shortcut
        features = jax.nn.relu(hk.Flatten()(features))
        return jax.nn.relu(Linear(self._hidden_size)(features))
