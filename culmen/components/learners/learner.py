"""The learner worker. A loop calls it to make the updates that are due; actors read its variables.

One compiled call makes `updates_per_call` updates (compiled_update.py). Its results reach the table and the
actors `lag` calls later (hand_offs.py). The learner does not wait for the device before that.
"""

import collections
import functools
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.checkpointing import from_paths
from culmen.components.counts import fold_seed
from culmen.components.dispatch import Contexts
from culmen.components.dispatch import Packed
from culmen.components.dispatch import PackedContext
from culmen.components.dispatch import distinct
from culmen.components.dispatch import is_fast
from culmen.components.dispatch import pack
from culmen.components.dispatch import unpacked
from culmen.components.learners.carry import Arrays
from culmen.components.learners.carry import Carry
from culmen.components.learners.carry import init_state
from culmen.components.learners.carry import restore_state
from culmen.components.learners.carry import save
from culmen.components.learners.carry import save_state
from culmen.components.learners.checks import NonFiniteLossError
from culmen.components.learners.checks import first_non_finite
from culmen.components.learners.checks import metric_names
from culmen.components.learners.checks import named_metrics
from culmen.components.learners.checks import own_metrics
from culmen.components.learners.compiled_update import Begun
from culmen.components.learners.compiled_update import CompiledUpdate
from culmen.components.learners.compiled_update import Results
from culmen.components.learners.hand_offs import HandOffs
from culmen.components.learners.hand_offs import InFlight
from culmen.components.learners.placement import Placement
from culmen.components.learners.rule_worker import RuleWorker
from culmen.core.experience import LONE
from culmen.core.rules import by_rule
from culmen.core.rules import updates as updates_of
from culmen.core.types import LearnerCore
from culmen.core.types import Params
from culmen.core.types import Priorities
from culmen.core.types import Version
from culmen.core.workers import Draw
from culmen.core.workers import Reader

CHECK_PERIOD = 100  # calls between checks of the device's flag for a loss that is not finite


class Learner:
    """Runs a LearnerCore on batches from a table; of several rules, each has a reader of its own."""

    def __init__(
        self,
        core: LearnerCore,
        table: Reader | Mapping[str, Reader],
        seed: int,
        *,
        updates_per_call: int = 1,
        lag: int = 0,
        devices: Sequence[jax.Device] | None = None,
        stop_on_non_finite: bool = True,
        max_updates: int | None = None,
        updates_before: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Makes the worker and its initial training state.

        Args:
            core: what to run.
            table: gives the batches; mirrors `core.update`: a reader, or one for each rule.
            seed: of the experiment.
            updates_per_call: batches drawn together and scanned in one compiled call.
            lag: calls between a draw and the hand-off of its results.
            devices: share the batch, and each holds the training state; None: JAX's default device.
            stop_on_non_finite: whether `check_finite` raises.
            max_updates: the budget of learner steps.
            updates_before: by rule, how many updates `pretrain` makes.
        """
        self._core = core
        self._contexts = Contexts(seed, 'learner')
        self._updates_per_call = updates_per_call
        self._lag = lag
        self._stop_on_non_finite = stop_on_non_finite
        self._placement = Placement(devices)
        self._readers: dict[str, Reader] = by_rule(core, table)
        self._names = list(updates_of(core))
        self._several = len(self._names) > 1
        key = jax.random.key(fold_seed(seed, 'init', 0))
        training_state, variables = jax.jit(functools.partial(init_state, core))(key)
        self._layout, self._variables_layout = training_state.layout, variables.layout
        self._set_carry(distinct(training_state.arrays))
        self._newest: Packed = self._placement.replicate(distinct(variables))
        self._rules = {
            name: RuleWorker(
                self._readers[name],
                CompiledUpdate(core, update, place, self._layout, self._placement, lag),
                place,
            )
            for place, (name, update) in enumerate(updates_of(core).items())
        }
        self._calls = 0
        self._updates = 0
        self._turn = 0  # the place of the rule that was called last
        self._hand_offs = HandOffs(self._readers, self._version, self._newest)
        self._begun: collections.deque[Begun] = collections.deque()
        self._unpack = jax.jit(lambda packed: packed.unpack())
        self._updates_before = updates_before
        self.max_updates = math.inf if max_updates is None else max_updates

    # The loop's side.

    def run_due(self, actor_steps: int) -> None:
        """Makes every call whose updates are all due, rule by rule in the order of declaration.

        Args: actor_steps: so far; 0 without actors.
        """
        updates, last = self._updates_per_call, self.max_updates - self._updates_per_call
        for name, rule in self._rules.items():
            while rule.table.due(updates) and self._updates <= last:
                self.step(actor_steps, updates=updates, rule=name)
        # The budget may leave less than a whole call.
        if self._updates > last:
            self.run_rest(actor_steps)

    def pretrain(self, is_time: Callable[[], bool]) -> bool:
        """Makes the updates before the first action, rule by rule in the order of declaration.

        Args: is_time: asked before each call; if it returns True, the rest is left for a later call.
        Returns: whether there is nothing left, in `updates_before` or in the budget.
        """
        for name, most in self._updates_before.items():
            rule = self._rules[name]
            while rule.steps < most and self._updates < self.max_updates:
                if is_time():
                    return False
                left = int(min(most - rule.steps, self.max_updates - self._updates))
                updates = self._updates_per_call if left >= self._updates_per_call else 1
                self.step(0, updates=updates, rule=name)
        return True

    def run_rest(self, actor_steps: int) -> None:
        """Makes the updates that are due one by one, at the end of a run. Args: as for `run_due`."""
        for name, rule in self._rules.items():
            while rule.table.due(1) and self._updates < self.max_updates:
                self.step(actor_steps, rule=name)

    def next_due(self, updates: int) -> str | None:
        """The rule that is next where no tick says so: that of the last call, then the others in turn.

        Args: updates: of a call, which must all be due.
        Returns: its name, '' for a lone one; None if none is due.
        """
        for i in range(len(self._names)):
            name = self._names[(self._turn + i) % len(self._names)]
            if self._rules[name].table.due(updates):
                return name
        return None

    def step_in_turn(self, updates: int = 1) -> None:
        """Makes one call of the rule whose turn it is, where all are due at any time: one call each."""
        self.step(0, updates=updates, rule=self._names[self._calls % len(self._names)])

    def step(self, actor_steps: int, *, updates: int = 1, rule: str = LONE) -> None:
        """Makes one call.

        Args:
            actor_steps: as for `run_due`.
            updates: number of updates, which must be due.
            rule: whose updates they are; '' for a lone one.
        """
        own = self._rules[rule]
        self._settle(self._calls - self._lag - 1)
        if updates == 1:
            draw = own.table.draw()
            keys, samples = [draw.keys], self._sample(draw)
            contexts = self._context(actor_steps, own, 0)
        else:
            draws = [own.table.draw() for _ in range(updates)]
            keys = [draw.keys for draw in draws]
            samples = _stacked([self._sample(draw) for draw in draws])
            contexts = _stacked([self._context(actor_steps, own, i) for i in range(updates)])
        if self._placement.is_chosen:
            samples = self._placement.shard(samples, updates)
        wait = own.update.begin(updates, self._carry_of_last(), self._last_carry, samples, contexts)
        self._updates += updates
        own.steps += updates
        self._turn = own.place
        self._begun.append(Begun(self._calls, rule, keys, self._version, wait))
        self._calls += 1
        if self._calls % CHECK_PERIOD == 0:
            self.check_finite()

    @property
    def _version(self) -> Version:
        """What names the parameters of the last update."""
        if not self._several:
            return self._updates
        return tuple(rule.steps for rule in self._rules.values())

    def _set_carry(self, training_state: Arrays) -> None:
        """Begins with a training state, none of whose losses was not finite."""
        none = jnp.zeros((len(self._names),) if self._several else (), jnp.int32)
        self._last_carry: Carry = self._placement.replicate((*training_state, none))

    def _sample(self, draw: Draw) -> Any:
        return draw.samples if is_fast() else unpacked(draw.samples)

    def _context(self, actor_steps: int, rule: RuleWorker, i: int) -> PackedContext:
        """The context of a call's update number i."""
        count = self._updates + i
        rule_steps = rule.steps + i if self._several else None
        return self._contexts.pack(count, actor_steps, count, rule_steps)

    def _carry_of_last(self) -> Callable[[], Carry]:
        """A function that waits for the last call and gives its carry, for the next call."""
        if not self._begun:
            carry = self._last_carry
            return lambda: carry
        wait = self._begun[-1].wait
        return lambda: wait()[0]

    def _take(self, rule: str, wait: Callable[[], Results]) -> Priorities:
        """Takes the results of a call; waits if it is in threads. Returns: its priorities."""
        self._last_carry, variables, self._rules[rule].metrics, priorities = wait()
        self._newest = Packed(variables, self._variables_layout)
        return priorities

    def _join(self) -> None:
        """Takes the results of all calls. Waits for calls in threads."""
        begun = self._begun
        while begun:
            call, rule, keys, version, wait = begun[0]
            priorities = self._take(rule, wait)
            self._hand_offs.add(InFlight(call, rule, keys, priorities, version, self._newest))
            begun.popleft()

    def _settle(self, last_call: int) -> None:
        """Hands on the results of calls up to this one."""
        hand_offs, begun = self._hand_offs, self._begun
        hand_offs.settle(last_call)
        while begun and begun[0].call <= last_call:
            _, rule, keys, version, wait = begun[0]
            priorities = self._take(rule, wait)
            begun.popleft()
            hand_offs.hand_on(rule, keys, priorities, version, self._newest)

    # The actors' side.

    def get_variables(self, have: Version | None) -> tuple[Version, Packed] | None:
        """(version, packed variables) for a training actor, or None if it has this version."""
        if self._lag == 0:
            self._settle(self._calls)
        held = self._hand_offs.held
        return None if have == held[0] else held

    @property
    def newest_variables(self) -> Params:
        """The variables of the last update: for evaluators, checkpoints and results."""
        self._join()
        return self._unpack(self._newest)

    # Reports.

    def metric_names(self, sample_spec: Any) -> tuple[str, ...]:
        """The names of the metrics, from one trace of the update; 'loss' comes first.

        Raises: ValueError that names what is wrong with the update, or with the size of a batch.
        """
        self.check_batch(sample_spec)
        return metric_names(self._core, sample_spec)

    def check_batch(self, samples: Any) -> None:
        """Refuses batches that the devices can't share evenly.

        Args: samples: of one update; arrays, or their shapes and dtypes.
        Raises: ValueError that names the batch, its size and the number of devices.
        """
        self._placement.check_batch(samples)

    @property
    def learner_steps(self) -> int:
        """The number of updates so far, of all rules."""
        return self._updates

    @property
    def rule_steps(self) -> dict[str, int]:
        """The number of updates so far of each rule; a lone one has the name ''."""
        return {name: rule.steps for name, rule in self._rules.items()}

    @property
    def metrics(self) -> dict[str, float]:
        """Each rule's last metrics, named as by `metric_names`; a rule has none before its first update."""
        self._join()
        found: dict[str, float] = {}
        for name, rule in self._rules.items():
            found |= named_metrics(name, rule.fetch_metrics(), rule.steps)
        return found

    @property
    def num_compilations(self) -> int:
        """How often updates were compiled."""
        return sum(rule.update.num_compilations for rule in self._rules.values())

    @property
    def threads(self) -> dict[int, int]:
        """How many threads of its own a call has, by its number of updates; of rules, the most of any.

        0 for a short call, which runs in the caller's thread. On one core those of a long call take turns.
        """
        of_rules = [rule.update.threads for rule in self._rules.values()]
        numbers = set().union(*of_rules)
        return {number: max(each.get(number, 0) for each in of_rules) for number in sorted(numbers)}

    def check_finite(self) -> None:
        """Checks for a loss that was not finite.

        Raises: NonFiniteLossError that names the first such update, if `stop_on_non_finite`.
        """
        self._join()
        update, of = first_non_finite(self._names, np.asarray(self._last_carry[-1]))
        if update and self._stop_on_non_finite:
            raise NonFiniteLossError(
                f'the loss of update {update}{of} was not finite (metrics: {self.metrics}).'
            )

    # Checkpoints.

    def get_state(self) -> dict[str, Any]:
        """The training state, the counts and the results in flight, as arrays and plain values."""
        self._join()
        return {
            'training_state': save_state(self._layout, self._last_carry),
            'updates': self._updates,
            'rule_steps': self.rule_steps,
            'calls': self._calls,
            'newest': save(self._newest),
            'metrics': self.metrics,
            **self._hand_offs.get_state(save),
        }

    def begin_with(self, leaves: Mapping[str, NDArray[Any]]) -> None:
        """Begins with other leaves of the training state, before the first update.

        Args: leaves: by path of the training state; the others stay as the core's `init` made them.
        Raises: ValueError that names a leaf that does not fit.
        """
        self._join()
        leaves = {**save_state(self._layout, self._last_carry), **leaves}
        state, arrays = restore_state(self._layout, self._last_carry, leaves)
        self._set_carry(arrays)
        variables = jax.jit(lambda state: pack(self._core.variables(state)))(state)
        self._newest = self._placement.replicate(distinct(variables))
        self._hand_offs = HandOffs(self._readers, self._version, self._newest)

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the result of `get_state`.

        Raises: ValueError that names a leaf of the training state that does not fit, or the rules.
        """
        self._join()
        # A checkpoint of an earlier version has one rule, without a name.
        steps = state.get('rule_steps', {LONE: state['updates']})
        if list(steps) != self._names:
            raise ValueError(
                f"checkpoint field 'rule_steps' must have {self._names}, got {list(steps)}."
            )
        _, arrays = restore_state(self._layout, self._last_carry, state['training_state'])
        self._set_carry(arrays)
        variables_template = jax.eval_shape(Packed.unpack, self._newest)

        def restore(arrays: dict[str, NDArray[Any]]) -> Packed:
            tree = from_paths('variables', variables_template, arrays)
            packed: Packed = self._placement.replicate(distinct(pack(tree)))
            return packed

        self._updates = int(state['updates'])
        self._calls = int(state['calls'])
        for name, rule in self._rules.items():
            rule.steps = int(steps[name])
            rule.metrics = own_metrics(name, state['metrics'])
        self._hand_offs.set_state(state, restore)
        self._newest = restore(state['newest'])


def _stacked(trees: Sequence[Any]) -> Any:
    """Trees of NumPy arrays, stacked leaf by leaf along an axis in front."""
    return jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *trees)
