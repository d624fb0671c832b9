"""The interfaces of the workers. A worker runs a core or keeps a table, and holds handles to other workers.

In one process a handle is the object itself, in a program a thin client. A worker treats both alike.
"""

from typing import Any
from typing import NamedTuple
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Samples
from culmen.core.types import TimeStep
from culmen.core.types import Version


class PackedTree(Protocol):
    """A tree in a form that is cheaper to pass to a compiled call; the call unpacks it."""

    def unpack(self) -> Nest:
        """The tree itself."""
        ...


class Draw(NamedTuple):
    """A batch that a table has drawn."""

    keys: Any  # of the drawn items; mirrors the experience; stays with the worker
    samples: Samples | PackedTree  # for a dict of tables, a dict of either


class TableCounts(NamedTuple):
    """How full a table is, and what has gone through it since the run began."""

    items: int  # that it holds now; of a Queue: that wait
    inserted: int  # items ever
    sampled: int  # items ever; of updates that are given all items at once, batch_size for each


class Writer(Protocol):
    """The side of a table that an actor writes to: one stream of steps per lane."""

    @property
    def held(self) -> NDArray[np.bool_] | None:
        """bool[B], after `act`: lanes at FIRST that wait, whose environments are not stepped; None: none.

        Their next time step is FIRST again, the same one.
        """
        ...

    def observe(self, timestep: TimeStep) -> None:
        """Opens a row in every lane; windows that end here become items."""
        ...

    def act(self, action: Nest, extras: Nest, version: Version) -> None:
        """Closes the rows; windows that LAST cuts short become items."""
        ...


class Reader(Protocol):
    """The side of a table that a learner reads from; of several rules, each has a reader of its own."""

    def due(self, updates: int = 1) -> bool:
        """Whether this many further updates are due, by the rate formula."""
        ...

    def draw(self) -> Draw:
        """Draws a batch for one update. Call it only when an update is due: a table never waits."""
        ...

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        """Sets the priorities of drawn items; None for a table without. Skips items that are gone."""
        ...


class Readable(Protocol):
    """A table that a learner may read from, rule by rule."""

    def reader(self, rule: str) -> Reader:
        """The side from which a rule's updates read; a lone rule has the name ''."""
        ...


class VariableSource(Protocol):
    """Where an actor reads its parameters."""

    def get_variables(self, have: Version | None) -> tuple[Version, Params | PackedTree] | None:
        """(version, params), or None if the caller already has that version."""
        ...
