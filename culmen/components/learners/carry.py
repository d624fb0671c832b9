"""What passes from call to call of a learner: the training state, and whether a loss was not finite.

It is a tuple of arrays, since JAX takes as long to make an object of a call's results as to pass two of them.
The last array is int32[], the first update whose loss was not finite, 0 for none; of several rules
int32[rules]. The others hold the training state, packed.
"""

from typing import Any
from typing import TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.dispatch import Layout
from culmen.components.dispatch import Packed
from culmen.components.dispatch import distinct
from culmen.components.dispatch import pack
from culmen.core.types import LearnerCore

Arrays: TypeAlias = tuple[jax.Array, ...]
Carry: TypeAlias = Arrays


def init_state(core: LearnerCore, key: jax.Array) -> tuple[Packed, Packed]:
    """The initial training state and variables; called inside `jit`."""
    state = core.init(key)
    return pack_state(state), pack(core.variables(state))


def pack_state(training_state: Any) -> Packed:
    """Packs a training state as it passes from call to call."""
    return pack(training_state, by_child=True)


def save_state(layout: Layout, carry: Carry) -> dict[str, NDArray[Any]]:
    """The leaves of the training state by path. Args: layout: of the training state."""
    return save(Packed(carry[:-1], layout))


def save(packed: Packed) -> dict[str, NDArray[Any]]:
    """The leaves of a packed tree by path."""
    return to_paths(packed.layout.unpack([np.asarray(array) for array in packed.arrays]))


def restore_state(
    layout: Layout, carry: Carry, leaves: dict[str, NDArray[Any]]
) -> tuple[Any, Arrays]:
    """Makes a training state of saved leaves.

    Args:
        layout, carry: of the same shapes and dtypes.
        leaves: by path.
    Returns: (the training state, its arrays in a carry).
    Raises: ValueError that names a leaf that does not fit.
    """
    state = from_paths('training_state', jax.eval_shape(layout.unpack, carry[:-1]), leaves)
    return state, distinct(pack_state(state).arrays)
