"""Residual torsos: of IMPALA, for images; of SimBa, for vectors."""

from collections.abc import Sequence

import haiku as hk
import jax

from culmen.components.networks.initializers import Orthogonal
from culmen.components.networks.linear import Linear
from culmen.components.networks.torsos import MLPTorso
from culmen.components.networks.torsos import as_float
from culmen.core.types import Array
from culmen.core.types import Nest


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


class SimBaTorso(hk.Module):
    """A linear layer, residual blocks of two dense layers, and layer norms before each block and at the end.

    Lee et al. 2024 (2410.09754), section 4: x + W2 relu(W1 norm(x)) for each block, with four times as many
    units within.
    """

    def __init__(self, hidden_sizes: Sequence[int], name: str | None = None) -> None:
        """Args: hidden_sizes: units of each block, all the same."""
        super().__init__(name=name)
        self._hidden_sizes = tuple(hidden_sizes)

    def __call__(self, observation: Nest) -> jax.Array:
        """Observation, leaves [B, ...] -> float32[B, hidden_sizes[-1]]."""
        he_normal = hk.initializers.VarianceScaling(2.0, 'fan_in', 'truncated_normal')
        features = MLPTorso(())(observation)
        features = Linear(self._hidden_sizes[0], w_init=Orthogonal(1.0))(features)
        for size in self._hidden_sizes:
            inner = jax.nn.relu(Linear(4 * size, w_init=he_normal)(_normed(features)))
            features = features + Linear(size, w_init=he_normal)(inner)
        return _normed(features)


def _normed(features: jax.Array) -> jax.Array:
    return hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)(features)
