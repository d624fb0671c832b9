"""The Context of a call, packed in one small array. Like all keys it depends on (seed, role, index, count).

The host draws the random words of keys in blocks, with one generator for each block, seeded by its
place. They go to the compiled call together with the counts. Folding keys inside the call would cost
more than a small policy.
"""

from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.counts import keys
from culmen.components.dispatch.switch import is_fast
from culmen.core.types import MAX_COUNT
from culmen.core.types import Context

_BLOCK = 1024


class PlainContext(NamedTuple):
    """The parts of a Context, when the fast path is off."""

    words: NDArray[Any]  # int32[2]: of the key
    actor_steps: NDArray[Any]  # int32[]
    learner_steps: NDArray[Any]  # int32[]
    rule_steps: NDArray[Any]  # int32[]


# On the fast path int32[4], or int32[5] where rule_steps are not learner_steps.
PackedContext: TypeAlias = NDArray[Any] | PlainContext


class Contexts:
    """Makes the contexts for the calls of one core, packed for compiled calls."""

    def __init__(self, seed: int, role: keys.Role, *index: int) -> None:
        """Args: seed: of the experiment; role, index: of the worker that makes the calls."""
        self._place = (seed, keys.number(role), *index)
        self._block_number = -1
        self._width = 0
        # For each call of the block its words and room for the counts; None once it is given away.
        self._block: list[NDArray[Any] | None] = []

    def pack(
        self, count: int, actor_steps: int, learner_steps: int, rule_steps: int | None = None
    ) -> PackedContext:
        """The context of call number `count`. Args: rule_steps: None: they are the learner_steps."""
        width = 4 if rule_steps is None else 5
        block_number, offset = divmod(count, _BLOCK)
        if block_number != self._block_number or width != self._width:
            self._begin_block(block_number, width)
        packed = self._block[offset]
        if packed is None:
            self._begin_block(block_number, width)
            packed = self._block[offset]
            assert packed is not None
        self._block[offset] = None
        packed[2] = actor_steps if actor_steps < MAX_COUNT else MAX_COUNT
        packed[3] = learner_steps if learner_steps < MAX_COUNT else MAX_COUNT
        if rule_steps is not None:
            packed[4] = rule_steps if rule_steps < MAX_COUNT else MAX_COUNT
        if not is_fast():
            return PlainContext(packed[:2], packed[2], packed[3], packed[-1])
        return packed

    def _begin_block(self, number: int, width: int) -> None:
        generator = np.random.Generator(
            np.random.Philox(np.random.SeedSequence((*self._place, number)))
        )
        rows = np.zeros((_BLOCK, width), np.int32)
        rows[:, :2] = generator.integers(0, 2**32, (_BLOCK, 2), np.uint32).view(np.int32)
        self._block = list(rows)
        self._block_number, self._width = number, width


def unpack_context(packed: Any) -> Context:
    """The Context, inside a compiled call. Args: packed: the result of `Contexts.pack`."""
    if not isinstance(packed, PlainContext):
        packed = PlainContext(packed[:2], packed[2], packed[3], packed[-1])
    words = jax.lax.bitcast_convert_type(packed.words, jnp.uint32)
    key = jax.random.wrap_key_data(words, impl='threefry2x32')
    return Context(key, packed.actor_steps, packed.learner_steps, packed.rule_steps)
