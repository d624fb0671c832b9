"""Shapes and dtypes of a table's samples, which are known before a step is taken."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.windows import kept_times
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Table
from culmen.core.experience import mirror
from culmen.core.experience import tables
from culmen.core.specs import leaf_paths
from culmen.core.specs import shape_dtypes
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
    window, spec = table.window, row_spec.environment
    ends, first = kept_times(window, list(row_spec.leaves))

    def steps(name: str, nest: Any, length: int) -> Any:
        def leaf_spec(path: str, leaf: Any) -> jax.ShapeDtypeStruct:
            time = 2 if path in ends else 1 if path in first else length
            return jax.ShapeDtypeStruct((batch, time, *leaf.shape), leaf.dtype)

        leaves = [leaf_spec(path, leaf) for path, leaf in leaf_paths(nest, name)]
        return jax.tree_util.tree_structure(nest).unflatten(leaves)

    array: Any = jax.ShapeDtypeStruct
    scalar = array((), np.int32)
    return Sample(
        steps=Steps(
            step_type=steps('step_type', scalar, window.length + 1),
            reward=steps('reward', shape_dtypes(spec.reward), window.length + 1),
            discount=steps('discount', shape_dtypes(spec.discount), window.length + 1),
            observation=steps('observation', shape_dtypes(spec.observation), window.length + 1),
            action=steps('action', row_spec.action, window.length),
            extras=steps('extras', row_spec.extras, window.length),
            mask=array((batch, window.length), np.bool_),
        ),
        probability=array((batch,), np.float32),
        size=scalar,
        version=array((batch,), np.int32),
        lane=array((batch,), np.int32),
    )
