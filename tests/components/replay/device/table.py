"""The tables of the compiled loop behind the methods of every other table, for the shared suite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.replay.device import DeviceTables
from culmen.core.workers import Draw


class DeviceTable:
    """Keeps the state of `DeviceTables` between compiled calls."""

    def __init__(self, experience: Any, row_spec: Any, num_lanes: int, seed: int) -> None:
        self._tables = DeviceTables(experience, row_spec, num_lanes)
        self._observe = jax.jit(self._tables.observe)
        self._act = jax.jit(self._tables.act)
        self._due = jax.jit(self._tables.due)
        self._draw = jax.jit(self._tables.draw)
        self._update = jax.jit(self._tables.update_priorities)
        self.state = jax.jit(self._tables.init)()
        self._key = jax.random.key(seed)
        self.draws = 0  # the number of the next, which gives its key

    def observe(self, timestep: Any) -> None:
        self.state = self._observe(self.state, timestep)

    def act(self, action: Any, extras: Any, version: int) -> None:
        self.state = self._act(self.state, action, extras, jnp.int32(version))

    @property
    def held(self) -> Any:
        """As of a Writer."""
        held = self._tables.held(self.state.items)
        return None if held is None or not held.any() else np.asarray(held)

    def due(self, updates: int = 1) -> bool:
        """Of several updates: whether the draws before leave one due."""
        items = self.state.items
        for _ in range(updates - 1):
            if not self._due(items):
                return False
            items = self._draw(self.state.rows, items, self._key)[0]
        return bool(self._due(items))

    def draw(self) -> Draw:
        key = jax.random.fold_in(self._key, self.draws)
        self.draws += 1
        items, keys, samples = self._draw(self.state.rows, self.state.items, key)
        self.state = self.state._replace(items=items)
        return Draw(keys, jax.tree_util.tree_map(np.asarray, samples))

    def draw_shapes(self) -> Any:
        """Shapes and dtypes of what a draw gives, which nothing has to be compiled for."""
        return jax.eval_shape(self._draw, self.state.rows, self.state.items, self._key)[2]

    def sample(self, key: Any) -> Any:
        """What a draw with this key would give."""
        return self._draw(self.state.rows, self.state.items, key)[2]

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        items = self._update(self.state.items, keys, priorities)
        self.state = self.state._replace(items=items)

    def drop(self, state: Any, ticks: int, lost: Any) -> tuple[Any, int]:
        """A state without what needs lost rows."""
        return self._tables.drop(state, ticks, lost)

    def faults(self) -> list[str]:
        """What its tables complain of."""
        faults = np.asarray(self._tables.faults(self.state.items))
        return [text for text, fault in zip(self._tables.complaints, faults) if fault]
