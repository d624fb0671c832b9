"""Recorded streams as a table, for `Dataset`. No actor writes to it; a learner draws from it.

A source is a folder that a `Recorder` wrote, or a callable that returns an iterator of Streams. All its rows
are kept in memory, and stored, gathered and cut into windows as in the in-process table. Windows are drawn
with replacement, uniformly or by priority, by random numbers that depend only on (seed, count of draws). So a
checkpoint needs only the learner's count for a Dataset, and its priorities if it has any.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.dispatch import Packed
from culmen.components.files import OnLostRows
from culmen.components.replay.in_process.gather import Gather
from culmen.components.replay.in_process.items import saved_array
from culmen.components.replay.in_process.sum_tree import SumTree
from culmen.components.replay.recording.recorded import Draws
from culmen.components.replay.recording.recorded import Recorded
from culmen.components.replay.stream.joining import join_draws
from culmen.components.replay.stream.priorities import RawPriorities
from culmen.components.replay.stream.priorities import none_taken
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.experience import LONE
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import RuleExperience
from culmen.core.experience import live
from culmen.core.experience import recorded
from culmen.core.experience import rules_of
from culmen.core.experience import table_label
from culmen.core.experience import unmirror
from culmen.core.experience import within
from culmen.core.workers import Draw
from culmen.core.workers import Readable
from culmen.core.workers import Reader


class DatasetReader:
    """Draws from the Datasets of a rule's experience, together with its tables that actors write to.

    With a dict of tables, each gives a batch at every draw. Datasets are always due.
    """

    def __init__(
        self,
        experience: RuleExperience,
        row_spec: RowSpec,
        seed: int,
        table: Reader | None = None,
        on_lost_rows: OnLostRows = 'drop',
        rule: str = LONE,
    ) -> None:
        """Reads all sources into memory.

        Args:
            experience: of a rule.
            row_spec: of the experiment's stream. A source may have more extras.
            seed: of the draws; each Dataset of a dict has its own random numbers.
            table: of `live(experience)`, if that is not None.
            on_lost_rows: whether a recording with damaged files of rows is read without them, with a
                warning ('drop'), or refused.
            rule: whose experience it is; '' for a lone one.
        Raises: DamagedError that names a file; ValueError that names a source and what is wrong: it is
            missing, a leaf differs or has a value that no loop accepts (NaN, a discount out of [0, 1], an
            action out of range), or it has no window.
        """
        self._experience = experience
        self._table = table
        self._datasets = {
            name: _OneDataset(within(rule, name), dataset, row_spec, seed, on_lost_rows)
            for name, dataset in recorded(experience).items()
        }
        self._draws = 0

    def due(self, updates: int = 1) -> bool:
        """Whether this many further updates are due in the table that actors write to.

        Updates before the first action are never due here: `Learner.pretrain` makes them.
        """
        if self._table is None:
            return not any(each.updates_before for each in self._datasets.values())
        return self._table.due(updates)

    def draw(self) -> Draw:
        """Draws a batch for one update from every table.

        Returns: the items' numbers and a Packed Sample; dicts of them for a dict of tables.
        """
        drawn = {name: each.draw(self._draws) for name, each in self._datasets.items()}
        self._draws += 1
        if self._table is not None:
            keys, samples = self._table.draw()
            assert isinstance(samples, dict)
            drawn |= {name: (keys[name], sample) for name, sample in samples.items()}
        return join_draws(self._experience, drawn)

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        """Sets raw priorities of drawn items, in Datasets and in the table that actors write to.

        Raises: ValueError that names a table that has none, or priorities out of range.
        """
        if priorities is None:
            return
        of_tables = unmirror(self._experience, priorities)
        numbers = unmirror(self._experience, keys)
        for name, dataset in self._datasets.items():
            raw = of_tables.pop(name, None)
            if raw is not None:
                dataset.update_priorities(numbers[name], raw)
        if self._table is not None:
            self._table.update_priorities(
                {name: numbers[name] for name in of_tables if name in numbers}, of_tables
            )

    @property
    def sizes(self) -> dict[str, int]:
        """How many windows each Dataset has, by name of the table."""
        return {name: len(each.windows) for name, each in self._datasets.items()}

    def seek(self, draws: int) -> None:
        """Continues after this many draws, which is the number of the rule's updates."""
        self._draws = draws

    def get_state(self) -> dict[str, Any]:
        """The priorities of those Datasets that have any, by name of the table."""
        states = {name: each.get_state() for name, each in self._datasets.items()}
        return {name: state for name, state in states.items() if state}

    def set_state(self, state: Mapping[str, Any] | None, draws: int) -> None:
        """Continues from a checkpoint.

        Args: state: the result of `get_state`; None: nothing was saved. draws: as for `seek`.
        Raises: ValueError that names the table, if the Dataset has another number of windows.
        """
        self.seek(draws)
        for name, each in self._datasets.items():
            each.set_state((state or {}).get(name, {}))


class Readers(dict[str, Reader]):
    """What each rule of an agent reads from, by the rule's name: its tables and its Datasets."""

    @classmethod
    def of(
        cls,
        experience: Experience,
        row_spec: RowSpec,
        seed: int,
        table: Readable | None = None,
        on_lost_rows: OnLostRows = 'drop',
    ) -> 'Readers':
        """Reads all Datasets into memory.

        Args:
            experience: an agent's.
            table: that its actors write to, if it has any.
            row_spec, seed, on_lost_rows: as for `DatasetReader`.
        Raises: as `DatasetReader`.
        """
        readers = cls()
        for rule, of_rule in rules_of(experience).items():
            written = None if table is None or live(of_rule) is None else table.reader(rule)
            if written is None or recorded(of_rule):
                written = DatasetReader(of_rule, row_spec, seed, written, on_lost_rows, rule)
            readers[rule] = written
        return readers

    def _recorded(self) -> dict[str, DatasetReader]:
        return {rule: each for rule, each in self.items() if isinstance(each, DatasetReader)}

    @property
    def sizes(self) -> dict[str, int]:
        """How many windows each Dataset has, by name of the table."""
        return {
            within(rule, name): size
            for rule, reader in self._recorded().items()
            for name, size in reader.sizes.items()
        }

    def get_state(self) -> dict[str, Any]:
        """The priorities of those Datasets that have any, by name of the table."""
        return {
            within(rule, name): state
            for rule, reader in self._recorded().items()
            for name, state in reader.get_state().items()
        }

    def set_state(self, state: Mapping[str, Any] | None, updates: Mapping[str, int]) -> None:
        """Continues from a checkpoint.

        Args: state: the result of `get_state`; None: nothing was saved. updates: so far, by rule.
        Raises: ValueError that names the table, if a Dataset has another number of windows.
        """
        for rule, reader in self._recorded().items():
            own = {name: (state or {}).get(within(rule, name), {}) for name in reader.sizes}
            reader.set_state(own, updates[rule])


class _OneDataset:
    """The windows and the priorities of one Dataset."""

    def __init__(
        self,
        name: str,
        dataset: Dataset,
        row_spec: RowSpec,
        seed: int,
        on_lost_rows: OnLostRows,
    ) -> None:
        self._where = table_label(name)
        self._dataset = dataset
        self.updates_before = dataset.updates_before
        self.windows = Recorded(dataset, row_spec, on_lost_rows)
        self._draws = Draws(name, seed, dataset.batch_size)
        self._tree: SumTree | None = None
        if dataset.prioritised:
            self._priorities = RawPriorities(self._where, dataset)
            self._raw = np.ones(len(self.windows), np.float32)
            self._tree = SumTree(len(self.windows))
            self._tree.restore(self._priorities.weights(self._raw))
        self._gather = Gather(
            self.windows.rows,
            dataset.window,
            with_lengths=self.windows.lengths is not None,
            with_probability=dataset.prioritised,
            recorded=True,
        )
        self._whole: Packed | None = None  # all windows, where draw='all'

    def draw(self, count: int) -> tuple[NDArray[Any], Packed]:
        size, probability = len(self.windows), None
        if self._dataset.draw == 'all':
            numbers = np.arange(size)
            if self._whole is None:
                self._whole = self._gather(self.windows.starts, self.windows.lengths, None, size)
            return numbers, self._whole
        if self._tree is None:
            numbers = self._draws.integers(count, size)
        else:
            numbers, probability = self._draw_by_weight(self._tree, count)
        lengths = self.windows.lengths
        lengths = None if lengths is None else lengths[numbers]
        return numbers, self._gather(self.windows.starts[numbers], lengths, probability, size)

    def _draw_by_weight(self, tree: SumTree, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        size, fractions = len(self.windows), self._draws.fractions(count)
        found = tree.find(fractions)
        if found is None:  # all priorities are 0: uniform
            return (fractions * size).astype(np.int64), np.full(
                len(fractions), 1 / size, np.float32
            )
        return found[0], found[1].astype(np.float32)

    def update_priorities(self, numbers: NDArray[Any], priorities: Any) -> None:
        if self._tree is None:
            raise ValueError(none_taken(self._where, self._dataset))
        raw = self._priorities.check(priorities, len(numbers))
        self._raw[numbers] = raw
        self._tree.set(numbers, self._priorities.weights(raw))

    def get_state(self) -> dict[str, Any]:
        """What draws depend on beside their count: the priorities."""
        if self._tree is None:
            return {}
        return {'priorities': self._raw.copy(), 'weights': self._tree.leaves.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        if self._tree is None:
            return
        shape = (len(self.windows),)
        self._raw[:] = saved_array(self._where, state, 'priorities', shape)
        self._tree.restore(saved_array(self._where, state, 'weights', shape))
