"""The compiled call of a learner, with one update or a scan of several.

The training state is donated to the call. The variables that actors read are a separate output, so they
outlive the donation. A long call on a CPU runs in its own threads (culmen.components.dispatch.threads).
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax

from culmen.components.dispatch import DirectCall
from culmen.components.dispatch import Packed
from culmen.components.dispatch import PackedContext
from culmen.components.dispatch import ThreadedCall
from culmen.components.dispatch import pack
from culmen.components.dispatch import threaded_call
from culmen.components.dispatch import unpack_context
from culmen.components.dispatch import unpacked
from culmen.components.learners.checks import check_metrics
from culmen.components.learners.checks import keep_like
from culmen.components.learners.checks import mark_non_finite
from culmen.components.learners.placement import Placement
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Priorities
from culmen.core.types import Samples
from culmen.core.types import Update
from culmen.core.types import Version


class Carry(NamedTuple):
    """What passes from call to call."""

    training_state: Packed
    # int32[]: the first update whose loss was not finite, 0 for none; of several rules int32[rules].
    non_finite: jax.Array


# (carry, variables, metrics of the last update, priorities [updates, ...])
Results: TypeAlias = tuple[Carry, Packed, Packed | Metrics, Priorities]


class Begun(NamedTuple):
    """A call that has begun, before its results are taken."""

    call: int
    rule: str
    keys: Any
    version: Version
    wait: Callable[[], Results]


class CompiledUpdate:
    """The compiled functions of one rule of a LearnerCore, with one call for each number of updates."""

    def __init__(
        self, core: LearnerCore, update: Update, place: int, placement: Placement, lag: int
    ) -> None:
        """Compiles nothing yet.

        Args:
            core: of an agent.
            update: of the rule.
            place: of the rule among those of the agent.
            placement: of its arrays.
            lag: calls between a call and the use of its results; with 0 a single thread gains nothing.
        """
        self._core = core
        self._update_one = update
        self._place = place
        self._placement = placement
        self._lag = lag
        self._calls: dict[int, DirectCall | ThreadedCall] = {}  # by number of updates

    def begin(
        self,
        updates: int,
        carry: Callable[[], Carry],
        template: Carry,
        samples: Samples | Packed,
        contexts: PackedContext,
    ) -> Callable[[], Results]:
        """Begins a call. Returns: a function that waits for the results.

        Args:
            updates: number of updates in the call.
            carry: gives the carry, perhaps after a wait; it is donated.
            template: a carry of the same shapes and dtypes.
            samples, contexts: of the updates; several updates have an axis in front.
        """
        call = self._calls.get(updates)
        if call is None:
            call = self._calls[updates] = self._make_call(updates, template, samples, contexts)
        return call(carry, samples, contexts)

    def _make_call(
        self, updates: int, template: Carry, samples: Any, contexts: Any
    ) -> DirectCall | ThreadedCall:
        def call(carry: Carry, samples: Any, contexts: Any) -> Results:
            return self._update(updates, carry, samples, contexts)

        def call_packed(*inputs: Any) -> Results:
            carry, variables, metrics, priorities = call(*inputs)
            return carry, variables, pack(metrics), priorities

        if not self._placement.is_chosen:
            # The call before may still use its arrays.
            carry = jax.tree_util.tree_map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), template
            )
            long = threaded_call(call, carry, samples, contexts)
            # Without lag the results are needed at once, so only a second thread helps.
            if long is not None and (self._lag or len(long.halves) > 1):
                return long
        return DirectCall(call_packed, donate_argnums=0, **self._placement.jit_options())

    def _update(self, updates: int, carry: Carry, samples: Any, contexts: Any) -> Results:
        """A whole call, inside a trace."""

        def one(carry: Carry, inputs: tuple[Any, Any]) -> tuple[Carry, Any]:
            sample, packed = inputs
            context = unpack_context(packed)
            old = carry.training_state.unpack()
            state, metrics, priorities = self._update_one(old, unpacked(sample), context)
            check_metrics(metrics)
            packed_state = pack_state(keep_like('training_state', old, state))
            step = context.learner_steps + 1
            non_finite = mark_non_finite(carry.non_finite, metrics['loss'], step, self._place)
            return Carry(packed_state, non_finite), (metrics, priorities)

        if updates == 1:
            carry, (metrics, priorities) = one(carry, (samples, contexts))
            priorities = jax.tree_util.tree_map(lambda leaf: leaf[None], priorities)
        else:
            carry, (metrics, priorities) = jax.lax.scan(one, carry, (samples, contexts))
            metrics = jax.tree_util.tree_map(lambda leaf: leaf[-1], metrics)
        variables = self._core.variables(carry.training_state.unpack())
        return carry, pack(variables), metrics, priorities

    @property
    def num_compilations(self) -> int:
        """How often an update was compiled."""
        return sum(call.num_compilations for call in self._calls.values())

    @property
    def threads(self) -> dict[int, int]:
        """How many threads of its own a call has, by its number of updates; 0: it runs in the caller's."""
        return {
            updates: len(call.halves) if isinstance(call, ThreadedCall) else 0
            for updates, call in self._calls.items()
        }


def init_state(core: LearnerCore, key: jax.Array) -> tuple[Packed, Packed]:
    """The initial training state and variables; called inside `jit`."""
    state = core.init(key)
    return pack_state(state), pack(core.variables(state))


def pack_state(training_state: Any) -> Packed:
    """Packs a training state as it passes from call to call."""
    return pack(training_state, by_child=True)
