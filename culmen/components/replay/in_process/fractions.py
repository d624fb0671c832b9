"""Random fractions for draws, made in blocks, since NumPy takes longer for a call than for its numbers.

The blocks change nothing: a checkpoint holds the state of a generator that has made the used fractions one
draw after another.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096  # fractions


class Fractions:
    """Random numbers in [0, 1), as many at a time as a batch has."""

    def __init__(self, sequence: np.random.SeedSequence, batch_size: int) -> None:
        """Args: sequence: the seed."""
        self._generator = np.random.Generator(np.random.PCG64(sequence))
        self._batch_size = batch_size
        self._draws = max(_BLOCK // batch_size, 1)  # of a block
        self._block: NDArray[Any] = np.empty((0, batch_size))
        self._begin: Any = None  # the generator's state before the block
        self._used = 0  # draws of the block

    def draw(self) -> NDArray[Any]:
        """The next fractions, float64[batch_size]. The caller must not write to them."""
        used = self._used
        if used == len(self._block):
            self._begin = self._generator.bit_generator.state
            self._block = self._generator.random((self._draws, self._batch_size))
            used = 0
        self._used = used + 1
        fractions: NDArray[Any] = self._block[used]
        return fractions

    def get_state(self) -> dict[str, Any]:
        """The state of the generator after the fractions that were drawn."""
        if self._begin is None:
            return dict(self._generator.bit_generator.state)
        generator = np.random.PCG64()
        generator.state = self._begin
        generator.advance(self._used * self._batch_size)  # a fraction takes one number of 64 bits
        return dict(generator.state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the result of `get_state`."""
        self._generator.bit_generator.state = state
        self._block = np.empty((0, self._batch_size))
        self._begin = None
        self._used = 0
