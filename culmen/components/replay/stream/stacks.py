"""Checks that observations with stacked frames (`StackedArray`) follow their spec."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.stream.row_spec import Leaf


class StackCheck:
    """Checks the stacks of all lanes: at FIRST all frames are equal, then each step shifts them by one.

    Each tick it compares one line of pixels, in turn, with the stack before. So it finds a wrong stack within
    as many ticks as the stack has lines.
    """

    def __init__(self) -> None:
        self._expected: dict[
            str, NDArray[Any]
        ] = {}  # the expected start of the next stacks, by path

    def __call__(self, leaf: Leaf, tick: int, first: NDArray[Any], stack: NDArray[Any]) -> None:
        """Compares a stack with that of the tick before.

        Args:
            leaf: of the stack.
            tick: counted from 0.
            first: bool[B], whether a lane begins an episode.
            stack: [B, ..., channels of all frames].
        Raises: ValueError that names the leaf and the tick.
        """
        channels = leaf.frame_shape[-1]
        line: Any = (slice(None), tick % stack.shape[1]) if stack.ndim > 2 else ...
        older = stack[line][..., :-channels]
        expected = self._expected.get(leaf.path)
        if expected is None or first.any():
            newer = stack[line][..., channels:]
            same = first.reshape(-1, *[1] * (newer.ndim - 1))
            # After a restart the stack before is unknown, so lanes within an episode pass.
            expected = np.where(same, newer, older if expected is None else expected)
        if not np.array_equal(older, expected):
            raise ValueError(
                f'{leaf.path} must be a stack of {leaf.num_frames} frames, as its StackedArray '
                f'spec says: all equal at FIRST, then moved by one each step; at tick '
                f'{tick} it is not.'
            )
        line = (slice(None), (tick + 1) % stack.shape[1]) if stack.ndim > 2 else ...
        self._expected[leaf.path] = stack[line][..., channels:].copy()

    def forget(self) -> None:
        """Continues at another tick, for which the stacks before are unknown."""
        self._expected = {}
