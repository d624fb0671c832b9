"""The batch of windows that every table gives, and how it becomes a Sample.

All small leaves of a row are in one record of 32-bit words, so a batch of windows is one array of words and
one array for each large leaf. A compiled update gets these few arguments and unpacks them at no cost.
"""

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.dispatch import Packed
from culmen.components.replay.stream.row_spec import Leaf
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.row_spec import is_of_decision
from culmen.components.replay.stream.windows import kept_paths
from culmen.components.replay.stream.windows import kept_times
from culmen.core.experience import Window
from culmen.core.types import LAST
from culmen.core.types import Sample
from culmen.core.types import Steps

WORD = 4  # bytes
_RECORD_BYTES = 256  # Leaves up to this size share the record.


class Field(NamedTuple):
    """A leaf in a record."""

    begin: int  # in words
    dtype: np.dtype[Any]  # of 1, 2 or 4 bytes
    shape: tuple[int, ...]

    @property
    def num_words(self) -> int:
        """The number of words, rounded up."""
        return -(-math.prod(self.shape) * self.dtype.itemsize // WORD)


class LeafPlan(NamedTuple):
    """How a leaf of a window is read."""

    path: str
    field: Field | None  # in the record; None: the leaf has its own array
    kept: Literal['all', 'ends', 'first']  # which of its time steps
    times: Any  # their indices along the window's rows; None: all
    zero_padding: bool


def record_type(
    leaves: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
) -> tuple[np.dtype[Any], dict[str, Field]]:
    """The type of a record of leaves. Each leaf begins at a new word.

    Args: leaves: (dtype of 1, 2 or 4 bytes, shape) by name.
    Returns: (the structured dtype, the fields by name).
    """
    fields: dict[str, Field] = {}
    begin = 0
    for name, (dtype, shape) in leaves.items():
        fields[name] = Field(begin, dtype, shape)
        begin += fields[name].num_words
    dtype = np.dtype(
        {
            'names': list(fields),
            'formats': [(field.dtype, field.shape) for field in fields.values()],
            'offsets': [WORD * field.begin for field in fields.values()],
            'itemsize': WORD * begin,
        }
    )
    return dtype, fields


def is_small(leaf: Leaf) -> bool:
    """Whether a leaf is in the record."""
    return (
        leaf.num_frames == 1
        and leaf.nbytes <= _RECORD_BYTES
        and leaf.dtype.kind in 'biuf'
        and leaf.dtype.itemsize <= WORD
    )


def plan_leaves(
    paths: Sequence[str], fields: Mapping[str, Field], window: Window
) -> tuple[LeafPlan, ...]:
    """Plans how the leaves of a window are read.

    Args:
        paths: of the leaves of a row.
        fields: of the leaves in the record.
        window: its `fields`, `ends` and `first` are checked.
    Returns: a plan of each leaf that the window has.
    Raises: ValueError that names an unknown path, or a leaf that is in both `ends` and `first`.
    """
    ends, first = kept_times(window, paths)
    kept = kept_paths(window, paths)
    return tuple(_plan(path, fields.get(path), window.length, ends, first) for path in kept)


def _plan(
    path: str, field: Field | None, length: int, ends: Sequence[str], first: Sequence[str]
) -> LeafPlan:
    after = is_of_decision(path)
    if path in first:
        return LeafPlan(path, field, 'first', slice(0, 1), zero_padding=False)
    if path in ends:
        last = length - 1 if after else length
        times: Any = slice(0, last + 1, last) if last else np.zeros(2, int)
        return LeafPlan(path, field, 'ends', times, zero_padding=False)
    times = slice(0, length) if after else None
    return LeafPlan(path, field, 'all', times, zero_padding=path.split('/')[0] != 'observation')


class BatchLayout:
    """Makes a Sample of N windows from arrays: words, size, [lengths, probability,] large leaves.

    words: int32[N, length + 1, words of a record]; size: int32[]; lengths: int32[N], transitions of each
    window, 0 for padding; probability: float32[N].

    Of the versions only the first row's is read. `set_lanes` puts a window's lane in the second row's place,
    unless all windows are of one lane.
    """

    def __init__(
        self,
        row_spec: RowSpec,
        fields: Mapping[str, Field],
        window: Window,
        *,
        with_lengths: bool,
        with_probability: bool,
        rule: int = 0,
        lane: int | None = None,
    ) -> None:
        """Plans how the leaves are read.

        Args:
            row_spec: of the stream.
            fields: of the record: step_type, version, and the small leaves by path.
            window: the kind of window; its `fields`, `ends` and `first` are checked.
            with_lengths: whether windows may be short or padding.
            with_probability: whether draws have probabilities; otherwise each is 1 / size.
            rule: the place, in the versions of rows, of the rule that draws.
            lane: of all windows; None: `set_lanes` or `unpack` tells.
        Raises: ValueError that names an unknown path in `Window.fields`, `ends` or `first`, or a leaf that is
            in both.
        """
        self._row_spec = row_spec
        self._plans = plan_leaves(list(row_spec.leaves), fields, window)
        self.large = [plan for plan in self._plans if plan.field is None]
        self.step_type = fields['step_type']
        versions = fields['version']  # int32[], or of each rule
        self._version = Field(versions.begin + rule, versions.dtype, ())
        self._length = window.length
        self._cross = window.cross_episodes
        self._with_lengths = with_lengths
        self._with_probability = with_probability
        self._lane = lane

    def set_lanes(self, words: NDArray[Any], lanes: Any) -> None:
        """Writes the lanes of the windows, int[N] or one for all, into a batch's words."""
        words[:, 1, self._version.begin] = lanes

    def unpack(self, arrays: Sequence[Any], lane: Any = None) -> Sample:
        """The Sample, with NumPy leaves if the words are NumPy's.

        Args: lane: int32[N]; None: it is in the words, or one for all windows.
        """
        words, size, *rest = arrays
        xp: Any = np if isinstance(words, np.ndarray) else jnp
        lengths = rest.pop(0) if self._with_lengths else None
        if self._with_probability:
            probability = rest.pop(0)
        else:
            probability = xp.full(len(words), xp.float32(1) / size.astype(np.float32))
        steps = np.arange(self._length + 1)[None]
        padding = None if lengths is None else steps > lengths[:, None]
        leaves = {}
        for plan in self._plans:
            if plan.field is None:
                leaf = rest.pop(0)
            else:
                leaf = _read(words, plan.field)
                leaf = leaf if plan.times is None else leaf[:, plan.times]
            if plan.zero_padding and padding is not None:
                padded = padding[:, : leaf.shape[1]]
                padded = padded.reshape(padded.shape + (1,) * (leaf.ndim - 2))
                leaf = xp.where(padded, xp.zeros((), leaf.dtype), leaf)
            leaves[plan.path] = leaf
        step_type = _read(words, self.step_type)
        if lengths is not None and not self._cross:
            mask = steps[:, :-1] < lengths[:, None]
        elif self._cross:
            mask = step_type[:, :-1] != LAST
        else:
            mask = np.ones((len(words), self._length), bool)
        reward, discount, observation, action, extras = self._row_spec.unflatten(leaves)
        version = _read(words, self._version)
        if lane is None:
            lane = version[:, 1]
            if self._lane is not None:
                lane = xp.full(len(words), self._lane, np.int32)
        return Sample(
            Steps(step_type, reward, discount, observation, action, extras, mask),
            probability,
            size,
            version[:, 0],
            lane,
        )


def pad(batch: Packed, num: int) -> Packed:
    """Extends a batch to `num` windows by padding: zeros, except for the step type, LAST."""

    def fill(leaf: NDArray[Any]) -> NDArray[Any]:
        if leaf.ndim == 0:
            return leaf
        return np.concatenate([leaf, np.zeros((num - len(leaf), *leaf.shape[1:]), leaf.dtype)])

    words, *rest = (fill(leaf) for leaf in batch.arrays)
    layout = batch.layout
    assert isinstance(layout, BatchLayout)
    words[len(batch.arrays[0]) :, :, layout.step_type.begin] = LAST
    return Packed([words, *rest], layout)


def _read(words: Any, field: Field) -> Any:
    """A field as [N, T, ...], with the same bits for any dtype."""
    size = math.prod(field.shape)
    shape = (*words.shape[:-1], *field.shape)
    piece = words[..., field.begin : field.begin + field.num_words]
    if isinstance(words, np.ndarray):
        return np.ascontiguousarray(piece).view(field.dtype)[..., :size].reshape(shape)
    is_bool = field.dtype == np.bool_
    piece = jax.lax.bitcast_convert_type(piece, np.uint8 if is_bool else field.dtype)
    leaf = piece.reshape(*words.shape[:-1], -1)[..., :size].reshape(shape)
    return leaf.astype(bool) if is_bool else leaf
