"""How several devices share the compiled loop: the lanes and batches of one run, or the runs side by side."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


class Shards:
    """The devices of a compiled loop, and how arrays are divided among them."""

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        """Args: devices: at least one."""
        self.devices = list(devices)
        self._mesh = jax.sharding.Mesh(np.asarray(self.devices), ('devices',))
        self.whole = self.along(None)

    def along(self, axis: int | None) -> jax.sharding.NamedSharding:
        """Each device has its share of an axis; None: every device has the whole."""
        names = [] if axis is None else [None] * axis + ['devices']
        return jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec(*names))

    def share(self, batch: Any) -> Any:
        """Divides the leaves of a traced batch along their first axis, where its size allows."""
        return jax.tree_util.tree_map(
            lambda leaf: (
                jax.lax.with_sharding_constraint(leaf, self.along(0))
                if leaf.ndim and leaf.shape[0] % len(self.devices) == 0
                else leaf
            ),
            batch,
        )
