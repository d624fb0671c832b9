"""Small numbers about a running program, for those who watch it: `culmen status`.

The counter holds them (`Facts`): it notes them at calls that nodes make anyway. Only the learner tells it of
its batches and tables, once a second (`LearnerFacts`). Nothing depends on these numbers.
"""

import contextlib
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from culmen.components.dispatch import unpacked
from culmen.core.experience import Experience
from culmen.core.experience import Replay
from culmen.core.experience import live
from culmen.core.experience import tables
from culmen.core.experience import within
from culmen.core.workers import Draw
from culmen.core.workers import Reader
from culmen.core.workers import TableCounts

_TELL_SECONDS = 1.0  # between what a learner tells


class Facts:
    """What the counter knows of the other nodes. Its callers hold the counter's lock."""

    def __init__(self) -> None:
        """Begins with nothing known."""
        self._steps: dict[int, int] = {}  # of each actor, since this counter began
        self._doing: dict[str, str] = {}
        self._heard: dict[str, float] = {}
        self._told: Mapping[str, Any] = {}

    def acted(self, actor: int, steps: int, doing: str) -> None:
        """An actor has reported. Args: steps: taken since its last report; doing: as for `heard`."""
        self._steps[actor] = self._steps.get(actor, 0) + steps
        self.heard(f'actor-{actor}', doing)

    def heard(self, name: str, doing: str) -> None:
        """A node has called. Args: doing: what it does, in a word or two; '' if its state says it."""
        self._heard[name], self._doing[name] = time.monotonic(), doing

    def told(self, tables: Mapping[str, Any]) -> None:
        """The learner has told of its tables. Args: tables: the result of `LearnerFacts.get`."""
        self._told = tables

    def get(self) -> dict[str, Any]:
        """As plain data: `tables` by name, and `nodes` by name, an actor's with its steps."""
        now = time.monotonic()
        nodes: dict[str, dict[str, Any]] = {
            name: {'silent': now - heard, 'doing': self._doing[name] or None}
            for name, heard in self._heard.items()
        }
        for actor, steps in self._steps.items():
            nodes[f'actor-{actor}']['actor_steps'] = steps
        return {'tables': dict(self._told), 'nodes': nodes}


class _Noted(NamedTuple):
    """The last batch of a rule."""

    samples: Any
    updates: int  # of the rule, before the one that it was drawn for


class NotedReader:
    """A reader that keeps its last batch, so that its staleness can be told without a cost for each draw."""

    def __init__(self, reader: Reader) -> None:
        """Args: reader: draws."""
        self._reader = reader
        self.updates = 0  # of the rule so far, as drawn for
        self.last: _Noted | None = None

    def due(self, updates: int = 1) -> bool:
        """As of a Reader."""
        return self._reader.due(updates)

    def draw(self) -> Draw:
        """As of a Reader."""
        drawn = self._reader.draw()
        self.last = _Noted(drawn.samples, self.updates)
        self.updates += 1
        return drawn

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        """As of a Reader."""
        self._reader.update_priorities(keys, priorities)


class LearnerFacts:
    """What a learner tells of its batches and of its tables."""

    def __init__(
        self,
        experience: Experience,
        readers: Mapping[str, Reader],
        counts: Callable[[], Mapping[str, TableCounts]],
    ) -> None:
        """Args: experience: of the agent; readers: of each rule; counts: of the tables."""
        self.readers = {rule: NotedReader(reader) for rule, reader in readers.items()}
        self._experience = experience
        self._counts = counts
        self._next = 0.0

    def begin(self, updates: Mapping[str, int]) -> None:
        """Begins, or goes on from a checkpoint. Args: updates: of each rule so far."""
        for rule, reader in self.readers.items():
            reader.updates, reader.last = updates[rule], None

    def tell(self, told: Callable[[dict[str, Any]], object]) -> None:
        """Tells, if a second has passed since the last time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _TELL_SECONDS
            with contextlib.suppress(ConnectionError):  # the learner's own calls say who is gone
                told(self.get())

    def get(self) -> dict[str, Any]:
        """The numbers of each table that actors write to, by its name; None: not known, or it has none.

        items, inserted, sampled: as of `TableCounts`. capacity: in items. samples_per_insert: so far, of the
        inserts after the first min_size; wanted: the setting. staleness, most_stale: mean and largest of the
        last batch, in updates of the rule that drew it.
        """
        written = live(self._experience)
        counts, stale = self._counts(), self._staleness()
        found = {}
        for name, table in (tables(written) if written is not None else {}).items():
            own = counts[name]
            capacity = measured = wanted = None
            if isinstance(table, Replay):
                capacity = table.capacity
                inserted = own.inserted - table.min_size
                if not table.by_tick:
                    wanted = float(table.samples_per_insert)
                    measured = own.sampled / inserted if inserted > 0 else None
            found[name] = {
                **own._asdict(),
                'samples_per_insert': measured,
                'wanted': wanted,
                'capacity': capacity,
                'staleness': stale[name][0] if name in stale else None,
                'most_stale': stale[name][1] if name in stale else None,
            }
        return found

    def _staleness(self) -> dict[str, tuple[float, int]]:
        """Mean and largest staleness of the last batch, by table. Recorded windows have none."""
        found = {}
        for rule, reader in self.readers.items():
            if reader.last is None:
                continue
            samples = unpacked(reader.last.samples)
            for name, sample in samples.items() if isinstance(samples, dict) else [('', samples)]:
                version = np.asarray(sample.version)
                stale = reader.last.updates - version[version >= 0]
                if len(stale):
                    found[within(rule, name)] = float(stale.mean()), int(stale.max())
        return found
