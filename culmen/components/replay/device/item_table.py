"""What tables on the device share, however they keep rows: draws, priorities and faults of their items."""

from typing import Any
from typing import TypeAlias

import jax
import jax.numpy as jnp

from culmen.components.replay.device.items import DeviceQueueItems
from culmen.components.replay.device.items import DeviceReplayItems
from culmen.components.replay.device.items import New
from culmen.components.replay.device.rows import RowGather
from culmen.components.replay.stream.priorities import none_taken
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.types import LAST
from culmen.core.types import Sample

Store: TypeAlias = DeviceReplayItems | DeviceQueueItems


def make_store(
    where: str, table: Replay | Queue, num_lanes: int, max_new: int, whole: int | None
) -> Store:
    """The items of a table. Args: where: names it in errors. Others: as for `DeviceQueueItems`."""
    if isinstance(table, Queue):
        return DeviceQueueItems(where, table, num_lanes, max_new, whole)
    return DeviceReplayItems(where, table, max_new, whole)


class ItemTable:
    """A Replay or a Queue. The state of its items is a named tuple; its field `items` is the store's."""

    def __init__(
        self, where: str, table: Replay | Queue, store: Store, gather: RowGather, may_be_short: bool
    ) -> None:
        """Args: where: names it in errors. may_be_short: whether windows may be cut short."""
        self._where, self._table = where, table
        self._items = store
        self._gather = gather
        self._all = draws_all(table)
        self._with_lengths = may_be_short or self._all
        prioritised = isinstance(table, Replay) and table.prioritised
        self._takes_priorities = prioritised
        self._priority = table.priority if isinstance(table, Replay) and prioritised else None
        self.complaint = store.complaint
        self.one_update_a_tick = store.one_update_a_tick
        self.most_updates = store.most_updates

    def _insert(self, rows: Any, store: Any, new: New) -> Any:
        priorities = None
        if self._priority is not None:
            lengths = jnp.where(new.real, new.lengths, 0)
            ones = jnp.ones(len(lengths), jnp.float32)
            sample = self._gather(rows, new.rows, lengths, ones, store.size)
            priorities = jnp.asarray(self._priority(sample.steps))
        return self._items.insert(store, new, priorities)

    def due(self, items: Any) -> jax.Array:
        """bool[]: whether an update is due."""
        return self._items.due(items.items)

    def draw(self, rows: Any, items: Any, key: jax.Array) -> tuple[Any, Any, Sample]:
        """Draws a batch for one update, which must be due. Returns: (items, keys, sample)."""
        store, drawn = self._items.draw(items.items, key)
        lengths = drawn.lengths if self._with_lengths else None
        sample = self._gather(rows, drawn.rows, lengths, drawn.probability, drawn.size)
        if self._all:
            sample = _without(sample, drawn.lengths == 0)
        return items._replace(items=store), drawn.keys, sample

    def update_priorities(self, items: Any, keys: Any, raw: Any) -> Any:
        """Sets raw priorities float[B] of drawn items. Skips items that are gone.

        Raises: ValueError during tracing that names the table, if it has none or the shape does not fit.
        """
        if not self._takes_priorities:
            raise ValueError(none_taken(self._where, self._table))
        raw = jnp.asarray(raw)
        if raw.shape != keys[0].shape:
            raise ValueError(
                f'priorities of {self._where} must have shape {keys[0].shape}, got {raw.shape}.'
            )
        return items._replace(items=self._items.update_priorities(items.items, keys, raw))

    def fault(self, items: Any) -> jax.Array:
        """bool[]: whether the table was given something that it refuses (`complaint`)."""
        return self._items.fault(items.items)


def draws_all(table: Replay | Queue) -> bool:
    """Whether every item is in every batch."""
    return isinstance(table, Replay) and table.draw == 'all'


def _without(sample: Sample, padding: jax.Array) -> Sample:
    """Sets a sample's padding, bool[B], to zeros, except for the step type, LAST."""

    def clear(leaf: jax.Array) -> jax.Array:
        if leaf.ndim == 0:
            return leaf
        return jnp.where(
            padding.reshape(-1, *[1] * (leaf.ndim - 1)), jnp.zeros((), leaf.dtype), leaf
        )

    cleared: Sample = jax.tree_util.tree_map(clear, sample)
    step_type = jnp.where(padding[:, None], LAST, cleared.steps.step_type)
    return cleared._replace(steps=cleared.steps._replace(step_type=step_type))
