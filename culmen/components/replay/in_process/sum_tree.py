"""A sum tree in NumPy: draws in proportion to priorities, and updates of them, in O(log n).

Each prioritised table has one. Every inner node is the sum of its 64 children, recomputed from them and
never adjusted by differences. So the tree depends only on its leaves: rounding errors do not accumulate, and
a tree restored from its leaves draws the same bits. A batch of draws descends together.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Wide and shallow, since at these sizes a NumPy call costs more than its arithmetic.
_FAN_OUT = 64
_ROOT = 2048
_BELOW_ONE = 1.0 - 2.0**-52


class SumTree:
    """Weights of a fixed number of leaves; all 0 at first.

    Example:
        >>> tree = SumTree(3)
        >>> tree.set_range(0, np.array([1., 0., 3.]))
        >>> leaves, probability = tree.find(np.array([0., .2, .25, .99]))
        >>> leaves.tolist(), probability.tolist()
        ([0, 0, 2, 2], [0.25, 0.25, 0.75, 0.75])
    """

    def __init__(self, num_leaves: int) -> None:
        """Args: num_leaves: at least 1."""
        self._num_leaves = num_leaves
        self._levels: list[NDArray[Any]] = []  # float64[blocks, 64], leaves first
        size = num_leaves
        while size > _ROOT or not self._levels:
            size = -(-size // _FAN_OUT)
            self._levels.append(np.zeros((size, _FAN_OUT)))
        self._root = np.zeros(size)  # sums of the blocks of the last level
        self._flat = [level.reshape(-1) for level in self._levels] + [self._root]
        # Leaves are often set one by one between two draws; their ancestors are summed once.
        self._stale: tuple[int, int] | None = None  # first and last leaf whose ancestors are old

    @property
    def leaves(self) -> NDArray[Any]:
        """float64[num_leaves]: the weights."""
        return self._flat[0][: self._num_leaves]

    def set_range(self, start: int, weights: NDArray[Any] | float) -> None:
        """Sets neighbouring leaves.

        Args:
            start: the first.
            weights: float[N], or one number for one leaf; finite, at least 0.
        """
        num = len(weights) if isinstance(weights, np.ndarray) else 1
        if self._stale is not None and start != self._stale[1] + 1:
            self._refresh()
        self._flat[0][start : start + num] = weights
        first = start if self._stale is None else self._stale[0]
        self._stale = (first, start + num - 1)

    def set(self, leaves: NDArray[Any], weights: NDArray[Any]) -> None:
        """Sets leaves; of one that is named twice the last weight stays.

        Args:
            leaves: int[N].
            weights: float[N], finite, at least 0.
        """
        self._flat[0][leaves] = weights
        blocks = leaves
        for level, above in zip(self._levels, self._flat[1:]):
            blocks = blocks // _FAN_OUT
            above[blocks] = level.take(blocks, axis=0).sum(axis=1)

    def find(self, fractions: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """The leaves at fractions of the sum of all weights: uniform fractions draw by weight.

        A leaf of weight 0 is never found.

        Args:
            fractions: float64[N] in [0, 1).
        Returns: (leaves int64[N], their weights over the sum of all float64[N]); None where all
            weights are 0.
        """
        self._refresh()
        sums = self._root.cumsum()
        total = float(sums[-1])
        if total <= 0.0:
            return None
        target = fractions * total
        found = sums.searchsorted(target, side='right')
        target -= (sums - self._root).take(found)  # what lies before the node that was found
        for level in reversed(self._levels):
            weights = level.take(found, axis=0)
            sums = weights.cumsum(axis=1)
            # Rounding must lead neither past the end nor before the beginning of a block.
            np.minimum(target, sums[:, -1] * _BELOW_ONE, out=target)
            np.maximum(target, 0.0, out=target)
            child = (sums > target[:, None]).argmax(axis=1)
            if level is not self._levels[0]:
                row = np.arange(len(child))
                target -= sums[row, child] - weights[row, child]
            found = found * _FAN_OUT + child
        return found, self._flat[0].take(found) / total

    def restore(self, leaves: NDArray[Any]) -> None:
        """Takes all weights from `leaves` of another tree of this size, or from its first ones."""
        self._flat[0][:] = 0.0
        self._flat[0][: len(leaves)] = leaves
        self._stale = (0, self._num_leaves - 1)

    def _refresh(self) -> None:
        if self._stale is None:
            return
        first, last = self._stale
        self._stale = None
        for level, above in zip(self._levels, self._flat[1:]):
            first, last = first // _FAN_OUT, last // _FAN_OUT
            above[first : last + 1] = level[first : last + 1].sum(axis=1)
