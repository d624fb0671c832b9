"""The compiled call of a learner, with one update or a scan of several.

The training state is donated to the call. The variables that actors read are a separate output, so they
outlive the donation. A long call on a CPU runs in its own threads (culmen.components.dispatch.threads).
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import numpy as np

from culmen.components.dispatch import DirectCall
from culmen.components.dispatch import Layout
from culmen.components.dispatch import Packed
from culmen.components.dispatch import PackedContext
from culmen.components.dispatch import ThreadedCall
from culmen.components.dispatch import pack
from culmen.components.dispatch import threaded_call
from culmen.components.dispatch import unpack_context
from culmen.components.dispatch import unpacked
from culmen.components.learners.carry import Arrays
from culmen.components.learners.carry import Carry
from culmen.components.learners.carry import pack_state
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

# (carry, arrays of the variables, metrics of the last update, priorities [updates, ...])
Results: TypeAlias = tuple[Carry, Arrays, Arrays | Metrics, Priorities]


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
        self,
        core: LearnerCore,
        update: Update,
        place: int,
        layout: Layout,
        placement: Placement,
        lag: int,
    ) -> None:
        """Compiles nothing yet.

        Args:
            core: of an agent.
            update: of the rule.
            place: of the rule among those of the agent.
            layout: of the training state.
            placement: of its arrays.
            lag: calls between a call and the use of its results; with 0 a single thread gains nothing.
        """
        self._core = core
        self._update_one = update
        self._place = place
        self._layout = layout
        self._metrics_layout: Layout | None = None  # once a call is traced
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
            packed = pack(metrics)
            self._metrics_layout = packed.layout
            return carry, variables, tuple(packed.arrays), priorities

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
            *arrays, non_finite = carry
            old = self._layout.unpack(arrays)
            state, metrics, priorities = self._update_one(old, unpacked(sample), context)
            check_metrics(metrics)
            state = keep_like('training_state', old, state)
            step = context.learner_steps + 1
            non_finite = mark_non_finite(non_finite, metrics['loss'], step, self._place)
            return (*pack_state(state).arrays, non_finite), (metrics, priorities)

        if updates == 1:
            carry, (metrics, priorities) = one(carry, (samples, contexts))
            priorities = jax.tree_util.tree_map(lambda leaf: leaf[None], priorities)
        else:
            carry, (metrics, priorities) = jax.lax.scan(one, carry, (samples, contexts))
            metrics = jax.tree_util.tree_map(lambda leaf: leaf[-1], metrics)
        variables = self._core.variables(self._layout.unpack(carry[:-1]))
        return carry, tuple(pack(variables).arrays), metrics, priorities

    def fetch_metrics(self, metrics: Any) -> dict[str, float]:
        """Fetches the metrics of a call, or those of a checkpoint, as they are kept."""
        fetched = jax.tree_util.tree_map(np.asarray, metrics)
        if isinstance(fetched, tuple):
            assert self._metrics_layout is not None
            fetched = self._metrics_layout.unpack(fetched)
        return {name: float(value) for name, value in fetched.items()}

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
