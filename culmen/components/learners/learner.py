"""The learner worker. A loop asks it to make the updates that are due; actors read its variables.

One compiled call makes `updates_per_call` updates: the training state is donated to it, and what the
actors read is an output of its own, so it outlives the donation. What a call gives is handed on at
counted places: priorities and variables of call c are written and read just before the draw of call
c + lag + 1, never when they happen to be ready. The device is not waited for before that; a long call
on a CPU runs in threads of its own (culmen.components.dispatch.programs).
"""

import collections
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.counts import fold_seed
from culmen.components.dispatch import Contexts
from culmen.components.dispatch import Packed
from culmen.components.dispatch import distinct
from culmen.components.dispatch import pack
from culmen.components.dispatch import unpack_context
from culmen.components.dispatch import unpacked
from culmen.components.dispatch.programs import InThreads
from culmen.components.dispatch.programs import OneProgram
from culmen.components.dispatch.programs import in_threads
from culmen.core.specs import is_real
from culmen.core.specs import leaf_paths
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.workers import Reader

CHECK_PERIOD = 100  # calls between looks at the device's mark of a loss that is not finite


class NonFiniteLossError(RuntimeError):
    """The loss of an update was not finite."""

    checkpoint: str | None = None  # where the run's state was kept apart

    def __str__(self) -> str:
        kept = '' if self.checkpoint is None else f' The state was saved in {self.checkpoint}.'
        return super().__str__() + kept


class InFlight(NamedTuple):
    """What one call gave and nobody has been handed yet."""

    call: int
    keys: Any  # of the drawn items, a list over the updates of the call
    priorities: Any  # [updates, B], or None where no table has any; on the device
    version: int
    variables: Packed


class _Begun(NamedTuple):
    """A call whose results nobody has asked for yet."""

    call: int
    keys: Any
    version: int
    wait: Callable[[], Any]


class _Carry(NamedTuple):
    training_state: Packed
    non_finite: jax.Array  # int32[]: the first update whose loss was not finite, 0 for none


class Learner:
    """Runs a LearnerCore on batches of a table."""

    def __init__(
        self,
        core: LearnerCore,
        table: Reader,
        seed: int,
        *,
        updates_per_call: int = 1,
        lag: int = 0,
        devices: Sequence[jax.Device] | None = None,
        stop_on_non_finite: bool = True,
        max_updates: int | None = None,
    ) -> None:
        """Makes the worker and its initial training state.

        Args:
            core: what to run.
            table: where batches are drawn.
            seed: of the experiment.
            updates_per_call: batches drawn together and scanned in one compiled call.
            lag: calls between a draw and the hand-off of its results.
            devices: the batch is sharded over them, the training state is on each; None: where JAX puts it.
            stop_on_non_finite: whether `check_finite` raises.
            max_updates: the budget of learner steps.
        """
        self._core = core
        self._table = table
        self._contexts = Contexts(seed, 'learner')
        self._updates_per_call = updates_per_call
        self._lag = lag
        self._stop_on_non_finite = stop_on_non_finite
        self._mesh = (
            None if devices is None else jax.sharding.Mesh(np.asarray(list(devices)), ('batch',))
        )

        training_state, variables = jax.jit(self._init)(jax.random.key(fold_seed(seed, 'init', 0)))
        self._last_carry = self._replicate(
            _Carry(distinct(training_state), jnp.zeros((), jnp.int32))
        )
        self._programs: dict[int, OneProgram | InThreads] = {}  # by updates of a call
        self._begun: collections.deque[_Begun] = collections.deque()
        self._calls = 0
        self._updates = 0
        self._in_flight: collections.deque[InFlight] = collections.deque()
        self._newest: Packed = self._replicate(distinct(variables))
        self._held = (0, self._newest)
        self._metrics: Any = {}
        self._unpack = jax.jit(lambda packed: packed.unpack())
        self.actor_steps = 0
        self.max_updates = math.inf if max_updates is None else max_updates

    # The compiled call.

    def _init(self, key: jax.Array) -> tuple[Packed, Packed]:
        state = self._core.init(key)
        return pack(state, by_child=True), pack(self._core.variables(state))

    def _call(
        self, carry: _Carry, samples: Any, packed: jax.Array
    ) -> tuple[_Carry, Packed, Metrics, Any]:
        """One compiled call: samples and contexts [updates, ...] -> carry, variables, metrics, priorities."""

        def one(carry: _Carry, inputs: tuple[Any, jax.Array]) -> tuple[_Carry, Any]:
            sample, packed = inputs
            context = unpack_context(packed)
            old = carry.training_state.unpack()
            state, metrics, priorities = self._core.update(old, unpacked(sample), context)
            check_metrics(metrics)
            state = pack(keep_like('training_state', old, state), by_child=True)
            bad = (carry.non_finite == 0) & ~jnp.all(jnp.isfinite(metrics['loss']))
            non_finite = jnp.where(bad, context.learner_steps + 1, carry.non_finite)
            return _Carry(state, non_finite), (metrics, priorities)

        if packed.ndim == 1:
            carry, (metrics, priorities) = one(carry, (samples, packed))
            priorities = jax.tree_util.tree_map(lambda leaf: leaf[None], priorities)
        else:
            carry, (metrics, priorities) = jax.lax.scan(one, carry, (samples, packed))
            metrics = jax.tree_util.tree_map(lambda leaf: leaf[-1], metrics)
        variables = self._core.variables(carry.training_state.unpack())
        return carry, pack(variables), metrics, priorities

    def _packed_call(self, *inputs: Any) -> tuple[_Carry, Packed, Packed, Any]:
        carry, variables, metrics, priorities = self._call(*inputs)
        return carry, variables, pack(metrics), priorities

    def _make_program(self, samples: Any, contexts: Any) -> OneProgram | InThreads:
        if self._mesh is None:
            # Its arrays may be in use by the call before.
            carry = jax.tree_util.tree_map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._last_carry
            )
            long = in_threads(self._call, carry, samples, contexts)
            # What is waited for at once gains from two threads alone.
            if long is not None and (self._lag or len(long.halves) > 1):
                return long
        return OneProgram(self._packed_call, donate_argnums=0, **self._outputs())

    # The loop's side.

    def run_due(self) -> None:
        """Makes every call whose updates are all due."""
        updates = self._updates_per_call
        while self._table.due(updates) and self._updates + updates <= self.max_updates:
            self.step(updates)
        if (
            self.max_updates - self._updates < updates
        ):  # less than a whole call is left of the budget
            self.run_rest()

    def run_rest(self) -> None:
        """Makes the updates that are due one by one: at the end of a run."""
        while self._table.due(1) and self._updates < self.max_updates:
            self.step(1)

    def step(self, updates: int = 1) -> None:
        """Makes one call of this many updates, which must be due."""
        self._settle(self._calls - self._lag - 1)
        draws = [self._table.draw() for _ in range(updates)]
        contexts = [
            self._contexts.pack(self._updates + i, self.actor_steps, self._updates + i)
            for i in range(updates)
        ]
        samples: Any = draws[0].samples
        packed = contexts[0]
        if updates > 1:
            samples = jax.tree_util.tree_map(
                lambda *leaves: np.stack(leaves), *[draw.samples for draw in draws]
            )
            packed = np.stack(contexts)
        if self._mesh is not None:
            samples = self._shard(samples, updates)
        if updates not in self._programs:
            self._programs[updates] = self._make_program(samples, packed)
        wait = self._programs[updates](self._carry_of_last(), samples, packed)
        self._updates += updates
        keys = [draw.keys for draw in draws]
        self._begun.append(_Begun(self._calls, keys, self._updates, wait))
        self._calls += 1
        if self._calls % CHECK_PERIOD == 0:
            self.check_finite()

    @property
    def _carry(self) -> _Carry:
        self._join()
        return self._last_carry

    def _carry_of_last(self) -> Callable[[], _Carry]:
        """Gives what the next call goes on from, once the call before it is done."""
        if not self._begun:
            carry = self._last_carry
            return lambda: carry
        wait = self._begun[-1].wait
        return lambda: wait()[0]

    def _join(self, last_call: float = math.inf) -> None:
        """Takes the results of the calls up to this one; those in threads are waited for."""
        while self._begun and self._begun[0].call <= last_call:
            call, keys, version, wait = self._begun[0]
            self._last_carry, self._newest, self._metrics, priorities = wait()
            self._in_flight.append(InFlight(call, keys, priorities, version, self._newest))
            self._begun.popleft()

    def _settle(self, last_call: int) -> None:
        """Hands on what calls up to this one gave."""
        self._join(last_call)
        while self._in_flight and self._in_flight[0].call <= last_call:
            flight = self._in_flight.popleft()
            if flight.priorities is not None and jax.tree_util.tree_leaves(flight.priorities):
                fetched = jax.tree_util.tree_map(np.asarray, flight.priorities)
                for i, keys in enumerate(flight.keys):
                    of_update = jax.tree_util.tree_map(lambda leaf, i=i: leaf[i], fetched)
                    self._table.update_priorities(keys, of_update)
            self._held = (flight.version, flight.variables)

    # The actors' side.

    def get_variables(self, have: int | None) -> tuple[int, Packed] | None:
        """The variables that a training actor may read now, packed, or None where it has them."""
        if self._lag == 0:
            self._settle(self._calls)
        return None if have == self._held[0] else self._held

    @property
    def newest_variables(self) -> Params:
        """The variables of the last update: for evaluators, checkpoints and results."""
        self._join()
        return self._unpack(self._newest)

    # Reports.

    def metric_names(self, sample_spec: Any) -> tuple[str, ...]:
        """The names of the metrics, from one tracing of the update; 'loss' first.

        Raises: ValueError that names what is wrong with the update, or with the size of a batch.
        """
        self.check_batch(sample_spec)
        return metric_names(self._core, sample_spec)

    @property
    def learner_steps(self) -> int:
        """Updates made."""
        return self._updates

    @property
    def metrics(self) -> dict[str, float]:
        """The last update's metrics, fetched from the device; empty before the first."""
        self._join()
        fetched = unpacked(jax.tree_util.tree_map(np.asarray, self._metrics))
        return {name: float(value) for name, value in fetched.items()}

    @property
    def num_compilations(self) -> int:
        """How often the update was compiled."""
        return sum(program.num_compilations for program in self._programs.values())

    @property
    def programs_in_threads(self) -> dict[int, int]:
        """By the updates of a call: as how many programs in threads of their own it runs.

        0 where the call is short, and one program of the caller's thread. Where the process may use one
        core alone, programs that could have threads run in turn.
        """
        return {
            updates: len(program.halves) if isinstance(program, InThreads) else 0
            for updates, program in self._programs.items()
        }

    def check_finite(self) -> None:
        """Looks for a loss that was not finite.

        Raises: NonFiniteLossError that names the first such update, unless told to go on.
        """
        update = int(np.asarray(self._carry.non_finite))
        if update and self._stop_on_non_finite:
            raise NonFiniteLossError(
                f'the loss of update {update} was not finite (metrics: {self.metrics}).'
            )

    # Checkpoints.

    def get_state(self) -> dict[str, Any]:
        """The training state, the counts, and what is in flight: arrays and plain values."""
        self._join()
        return {
            'training_state': _saved(self._carry.training_state),
            'updates': self._updates,
            'calls': self._calls,
            'newest': _saved(self._newest),
            'held_version': self._held[0],
            'held': _saved(self._held[1]),
            'metrics': self.metrics,
            'in_flight': [
                {
                    'call': flight.call,
                    'keys': flight.keys,
                    'priorities': jax.tree_util.tree_map(np.array, flight.priorities),
                    'version': flight.version,
                    'variables': _saved(flight.variables),
                }
                for flight in self._in_flight
            ],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`.

        Raises: ValueError that names a leaf of the training state that does not fit.
        """

        template = jax.eval_shape(Packed.unpack, self._carry.training_state)
        training_state = from_paths('training_state', template, state['training_state'])
        packed = distinct(pack(training_state, by_child=True))
        self._last_carry = self._replicate(_Carry(packed, jnp.zeros((), jnp.int32)))
        variables_template = jax.eval_shape(Packed.unpack, self._newest)

        def variables(arrays: dict[str, NDArray[Any]]) -> Packed:
            tree = from_paths('variables', variables_template, arrays)
            packed: Packed = self._replicate(distinct(pack(tree)))
            return packed

        self._updates = int(state['updates'])
        self._calls = int(state['calls'])
        self._held = (int(state['held_version']), variables(state['held']))
        self._metrics = state['metrics']
        self._in_flight = collections.deque(
            InFlight(**{**flight, 'variables': variables(flight['variables'])})
            for flight in state['in_flight']
        )
        self._newest = variables(state['newest'])

    # Placement.

    def _outputs(self) -> dict[str, Any]:
        if self._mesh is None:
            return {}
        return {
            'out_shardings': jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec())
        }

    def _replicate(self, tree: Any) -> Any:
        if self._mesh is None:
            return tree
        return jax.device_put(
            tree, jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec())
        )

    def check_batch(self, samples: Any, axes: int = 0) -> None:
        """Refuses batches that the devices can't share evenly.

        Args:
            samples: of an update: arrays, or their shapes and dtypes.
            axes: in front of the batch axis.
        Raises: ValueError that names the batch, its size and the number of devices.
        """
        devices = 1 if self._mesh is None else self._mesh.size
        for path, leaf in leaf_paths(samples):
            if np.ndim(leaf) > axes and np.shape(leaf)[axes] % devices:
                raise ValueError(
                    f'batch_size must be a multiple of the {devices} devices, '
                    f'got {np.shape(leaf)[axes]} ({path} of a sample).'
                )

    def _shard(self, samples: Any, updates: int) -> Any:
        """Shards the batch axis of every leaf that has one; the size of a table is on every device."""
        mesh = self._mesh
        assert mesh is not None
        axes = 1 if updates > 1 else 0
        self.check_batch(samples, axes)

        def put(leaf: Any) -> jax.Array:
            spec = [None] * axes + ['batch'] if np.ndim(leaf) > axes else []
            return jax.device_put(
                leaf, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
            )

        return jax.tree_util.tree_map(put, samples)


def _saved(packed: Packed) -> dict[str, NDArray[Any]]:
    return to_paths(unpacked(jax.tree_util.tree_map(np.asarray, packed)))


def metric_names(core: LearnerCore, sample_spec: Any) -> tuple[str, ...]:
    """The names of the metrics of an update, from tracing it once; 'loss' first.

    Args:
        core: an agent's.
        sample_spec: shapes and dtypes of what it learns from.
    Raises: ValueError that names a metric which is no scalar, or the leaf of the training state that
        the update does not keep.
    """

    def update(samples: Any, packed: jax.Array) -> Any:
        state = core.init(jax.random.key(0))
        return state, *core.update(state, samples, unpack_context(packed))

    context = jax.ShapeDtypeStruct((4,), np.int32)
    old, new, metrics, _ = jax.eval_shape(update, sample_spec, context)
    check_metrics(metrics)
    check_like('training_state', old, new)
    return ('loss', *sorted(set(metrics) - {'loss'}))


def check_metrics(metrics: Any) -> None:
    """Holds the metrics of an update, arrays or their shapes and dtypes, to what a log takes.

    Raises: ValueError where 'loss' is missing; that names a metric which is no real scalar.
    """
    if not isinstance(metrics, Mapping) or 'loss' not in metrics:
        got = sorted(metrics) if isinstance(metrics, Mapping) else repr(metrics)
        raise ValueError(f"an update's metrics must hold 'loss', got {got}.")
    for name, metric in metrics.items():
        for path, leaf in leaf_paths(metric, f'metrics[{name!r}]') or [(name, metric)]:
            shape, dtype = np.shape(leaf), jnp.result_type(leaf)
            if leaf is not metric or shape or not is_real(dtype):
                raise ValueError(
                    f"an update's metrics must be real scalars, got {path} of {dtype}{list(shape)}."
                )


def check_like(what: str, old: Any, new: Any) -> None:
    """Holds what a core gave for `what` that it carries to the structure, shapes and dtypes of the old.

    Raises: ValueError that names the leaf that differs.
    """
    if jax.tree_util.tree_structure(old) != jax.tree_util.tree_structure(new):
        raise ValueError(
            f'an update must keep the structure of the {what.replace("_", " ")} '
            f'{jax.tree_util.tree_structure(old)}, got {jax.tree_util.tree_structure(new)}.'
        )
    for (path, a), (_, b) in zip(leaf_paths(old, what), leaf_paths(new), strict=True):
        if a.shape != np.shape(b) or a.dtype != jnp.result_type(b):
            raise ValueError(
                f'an update must keep {path} as {a.dtype}{list(a.shape)}, '
                f'got {jnp.result_type(b)}{list(np.shape(b))}.'
            )


def keep_like(what: str, old: Any, new: Any) -> Any:
    """What a core gave for `what`, in the dtypes of the old. Raises: as `check_like`."""
    check_like(what, old, new)
    return jax.tree_util.tree_map(lambda a, b: jax.lax.convert_element_type(b, a.dtype), old, new)
