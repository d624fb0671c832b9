"""The interfaces of the workers: classes that run a core or keep a table, and hold handles to each other.

A handle is the object itself in one process and a thin client in a program; a worker can't tell.
"""

from typing import Any
from typing import NamedTuple
from typing import Protocol

from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Samples
from culmen.core.types import TimeStep


class PackedTree(Protocol):
    """A tree in a form that costs less to pass to a compiled call, which opens it."""

    def unpack(self) -> Nest:
        """The tree itself."""
        ...


class Draw(NamedTuple):
    """A batch as a table gives it."""

    keys: Any  # of the drawn items; mirrors the experience; stays with the worker
    samples: Samples | PackedTree  # of a dict of tables a dict of either


class Writer(Protocol):
    """What an actor sees of a table: one stream of steps per lane."""

    def observe(self, timestep: TimeStep) -> None:
        """Opens a row in every lane; windows that end here become items."""
        ...

    def act(self, action: Nest, extras: Nest, version: int) -> None:
        """Closes the rows; windows that LAST cuts short become items."""
        ...


class Reader(Protocol):
    """What a learner sees of a table."""

    def due(self, updates: int = 1) -> bool:
        """Whether this many further updates are due, by the rate formula."""
        ...

    def draw(self) -> Draw:
        """Draws a batch for one update. To be called only when due: nobody waits inside a table."""
        ...

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        """Writes the priorities of drawn items; None where a table has none. Items gone are passed over."""
        ...


class VariableSource(Protocol):
    """Where an actor reads its parameters."""

    def get_variables(self, have: int | None) -> tuple[int, Params | PackedTree] | None:
        """(version, params), or None where the caller already has that version."""
        ...
