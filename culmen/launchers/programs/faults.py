"""Which failures a program survives: settings and records, as data. `keeper` acts on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from typing import NamedTuple

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields

BACK_OFF_SECONDS = (
    1.0,
    30.0,
)  # before a node's first restart, doubled with each further one; at most


@dataclass(frozen=True)
class Faults:
    """What a program does when a node fails.

    Without restarts a failure ends the program, which is the default: what fails in a new run is mostly its
    own code, and to try it again would hide that. A run that has to survive its machines says so.

    Raises: SettingError, SettingTypeError that name a field.
    """

    # Failures in any `restart_window` seconds after which nodes are started again; one more ends the program.
    restarts: Annotated[int, Range(0)] = 0
    restart_window: Annotated[float, POSITIVE] = 600.0
    # Seconds without progress after which a node has failed; None: it may take any time.
    hang_after: Annotated[float | None, Range(1)] = None
    grace: Annotated[float, POSITIVE] = 9.0  # seconds from a signal to the end, for the checkpoint

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def survives(self) -> bool:
        """Whether nodes are started again."""
        return self.restarts > 0


class Restart(NamedTuple):
    """A restart of a node."""

    at: float  # of time.time(), when it failed or was ended
    node: str
    life: int  # how often the node has been started again, this restart included
    reason: str
    caused_by: str | None = None  # the node whose failure this follows from; it does not count then


def delay(failures: int) -> float:
    """Seconds before a restart. Args: failures: of the node in the window, this one included."""
    first, most = BACK_OFF_SECONDS
    return float(min(first * 2 ** min(failures - 1, 16), most))


def as_json(restart: Restart) -> Mapping[str, object]:
    """A line of the log of restarts."""
    return restart._asdict()
