"""The tables of the compiled loop behind the methods of every other table, for the shared suite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.replay.device import DeviceTables
from culmen.core.experience import LONE
from culmen.core.experience import rules_of
from culmen.core.types import Version
from culmen.core.workers import Draw


class DeviceTable:
    """Keeps the state of `DeviceTables` between compiled calls."""

    def __init__(self, experience: Any, row_spec: Any, num_lanes: int, seed: int) -> None:
        self._tables = DeviceTables(experience, row_spec, num_lanes)
        self._rules = rules_of(experience)
        self._observe = jax.jit(self._tables.observe)
        self._act = jax.jit(self._tables.act)
        self._due = jax.jit(self._tables.due, static_argnames='rule')
        self._draw = jax.jit(self._tables.draw, static_argnames='rule')
        self._update = jax.jit(self._tables.update_priorities, static_argnames='rule')
        self.state = jax.jit(self._tables.init)()
        self._key = jax.random.key(seed)
        self.draws = 0  # the number of the next, which gives its key

    def observe(self, timestep: Any) -> None:
        self.state = self._observe(self.state, timestep)

    def act(self, action: Any, extras: Any, version: Version) -> None:
        self.state = self._act(self.state, action, extras, jnp.asarray(version, jnp.int32))

    @property
    def held(self) -> Any:
        """As of a Writer."""
        held = self._tables.held(self.state.items)
        return None if held is None or not held.any() else np.asarray(held)

    def reader(self, rule: str) -> 'Rule':
        """As of a Readable."""
        assert rule in self._rules
        return Rule(self, rule)

    def due(self, updates: int = 1, rule: str = LONE) -> bool:
        """Of several updates: whether the draws before leave one due."""
        items = self.state.items
        for _ in range(updates - 1):
            if not self._due(items, rule=rule):
                return False
            items = self._draw(self.state.rows, items, self._key, rule=rule)[0]
        return bool(self._due(items, rule=rule))

    def draw(self, rule: str = LONE) -> Draw:
        key = jax.random.fold_in(self._key, self.draws)
        self.draws += 1
        items, keys, samples = self._draw(self.state.rows, self.state.items, key, rule=rule)
        self.state = self.state._replace(items=items)
        return Draw(keys, jax.tree_util.tree_map(np.asarray, samples))

    def draw_shapes(self) -> Any:
        """Shapes and dtypes of what a draw gives, which nothing has to be compiled for."""
        return jax.eval_shape(self._draw, self.state.rows, self.state.items, self._key)[2]

    def sample(self, key: Any) -> Any:
        """What a draw with this key would give."""
        return self._draw(self.state.rows, self.state.items, key)[2]

    def update_priorities(self, keys: Any, priorities: Any, rule: str = LONE) -> None:
        items = self._update(self.state.items, keys, priorities, rule=rule)
        self.state = self.state._replace(items=items)

    def drop(self, state: Any, ticks: int, lost: Any) -> tuple[Any, int]:
        """A state without what needs lost rows."""
        return self._tables.drop(state, ticks, lost)

    def faults(self) -> list[str]:
        """What its tables complain of."""
        faults = np.asarray(self._tables.faults(self.state.items))
        return [text for text, fault in zip(self._tables.complaints, faults) if fault]


class Rule:
    """The tables of one rule, as of a Reader."""

    def __init__(self, table: DeviceTable, rule: str) -> None:
        self._table, self._rule = table, rule

    def due(self, updates: int = 1) -> bool:
        return self._table.due(updates, self._rule)

    def draw(self) -> Draw:
        return self._table.draw(self._rule)

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        self._table.update_priorities(keys, priorities, self._rule)
