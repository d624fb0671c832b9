"""Places a learner's arrays on devices."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from culmen.core.specs import leaf_paths


class Placement:
    """Divides every batch among devices and keeps a copy of the training state on each."""

    def __init__(self, devices: Sequence[jax.Device] | None) -> None:
        """Args: devices: to use; None: JAX's default device."""
        self._mesh = None if devices is None else Mesh(np.asarray(list(devices)), ('batch',))

    @property
    def is_chosen(self) -> bool:
        """Whether devices were named."""
        return self._mesh is not None

    def jit_options(self) -> dict[str, Any]:
        """Options of `jax.jit` for a call with results that are copied to every device."""
        if self._mesh is None:
            return {}
        return {'out_shardings': NamedSharding(self._mesh, PartitionSpec())}

    def replicate(self, tree: Any) -> Any:
        """Copies a tree to every device."""
        if self._mesh is None:
            return tree
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    def shard(self, samples: Any, updates: int) -> Any:
        """Divides the batch axis of every leaf that has one; the size of a table is copied to every device.

        Args: samples: of `updates` updates; several updates have an axis in front.
        Raises: as `check_batch`.
        """
        mesh = self._mesh
        if mesh is None:
            return samples
        axes = 1 if updates > 1 else 0
        self.check_batch(samples, axes)

        def put(leaf: Any) -> jax.Array:
            spec = [None] * axes + ['batch'] if np.ndim(leaf) > axes else []
            return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*spec)))

        return jax.tree_util.tree_map(put, samples)

    def check_batch(self, samples: Any, axes: int = 0) -> None:
        """Refuses batches that the devices can't share evenly.

        Args:
            samples: of an update; arrays, or their shapes and dtypes.
            axes: number of axes in front of the batch axis.
        Raises: ValueError that names the batch, its size and the number of devices.
        """
        devices = 1 if self._mesh is None else self._mesh.size
        for path, leaf in leaf_paths(samples):
            if np.ndim(leaf) > axes and np.shape(leaf)[axes] % devices:
                raise ValueError(
                    f'batch_size must be a multiple of the {devices} devices, '
                    f'got {np.shape(leaf)[axes]} ({path} of a sample).'
                )
