"""Shapes and dtypes of a table's samples, which are known before a step is taken."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.row_spec import is_of_decision
from culmen.components.replay.stream.starts import Starts
from culmen.components.replay.stream.windows import kept_paths
from culmen.components.replay.stream.windows import kept_times
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Table
from culmen.core.experience import mirror
from culmen.core.experience import tables
from culmen.core.types import Sample
from culmen.core.types import Steps


def sample_spec(
    experience: Experience,
    row_spec: RowSpec,
    num_lanes: int,
    sizes: Mapping[str, int] = MappingProxyType({}),
) -> Sample | dict[str, Sample]:
    """The sample of one draw, as `jax.ShapeDtypeStruct`s; mirrors the experience.

    Args:
        experience: an agent's.
        row_spec: of the stream.
        num_lanes: of the table.
        sizes: how many windows each Dataset has, by name of the table; needed where it is drawn whole.
    """
    return mirror(
        experience,
        {
            name: _of_table(table, row_spec, batch_size(table, num_lanes, sizes.get(name)))
            for name, table in tables(experience).items()
        },
    )


def batch_size(table: Table, num_lanes: int, size: int | None = None) -> int:
    """The number of windows of one draw. Args: size: of a Dataset, in windows."""
    if isinstance(table, Queue):
        return num_lanes if table.batch_size is None else table.batch_size
    if isinstance(table, Replay) and table.draw == 'all':
        return table.capacity
    if isinstance(table, Dataset) and table.draw == 'all':
        if size is None:
            raise ValueError("a Dataset with draw='all' must be read before its batch is known.")
        return size
    return table.batch_size


def _of_table(table: Table, row_spec: RowSpec, batch: int) -> Sample:
    window, paths = table.window, list(row_spec.leaves)
    if window.start is not None:
        Starts(row_spec, window.start)  # refuses a path that is none
    ends, first = kept_times(window, paths)
    array: Any = jax.ShapeDtypeStruct

    def leaf_spec(path: str) -> Any:
        leaf = row_spec.leaves[path]
        time = window.length + 1 - is_of_decision(path)
        time = 2 if path in ends else 1 if path in first else time
        return array((batch, time, *leaf.shape), leaf.dtype)

    nests = row_spec.unflatten({path: leaf_spec(path) for path in kept_paths(window, paths)})
    reward, discount, observation, action, extras = nests
    return Sample(
        steps=Steps(
            step_type=array((batch, window.length + 1), np.int32),
            reward=reward,
            discount=discount,
            observation=observation,
            action=action,
            extras=extras,
            mask=array((batch, window.length), np.bool_),
        ),
        probability=array((batch,), np.float32),
        size=array((), np.int32),
        version=array((batch,), np.int32),
        lane=array((batch,), np.int32),
    )
