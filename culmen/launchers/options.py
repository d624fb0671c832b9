"""How runs are watched and stopped: options of every launcher, and the signals that end a run."""

import contextlib
import signal
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Literal

from culmen.components.files import OnLostRows
from culmen.components.loggers import Sink

_CHOICES: Mapping[str, tuple[str, ...]] = {
    'on_non_finite': ('stop', 'log'),
    'on_lost_rows': ('drop', 'refuse'),
}


@dataclass(frozen=True)
class RunOptions:
    """How a run is watched and stopped; none of its numbers depend on it.

    Raises: ValueError that names an option, for a value that is none of the accepted.
    """

    loggers: Sequence[Sink] = ()  # take every row of the logs too
    progress: bool | None = None  # whether to show it; None: by what standard error is
    on_non_finite: Literal['stop', 'log'] = 'stop'  # what a loss that is not finite does
    until_return: float | None = None  # an evaluation with this mean return ends the run
    on_lost_rows: OnLostRows = 'drop'  # what damaged files of rows do
    trust: bool = False  # whether pickles are opened that somebody else may have written

    def __post_init__(self) -> None:
        for name, accepted in _CHOICES.items():
            check_choice(name, getattr(self, name), accepted)

    @property
    def stop_on_non_finite(self) -> bool:
        """Whether a loss that is not finite ends the run."""
        return self.on_non_finite == 'stop'


def check_choice(name: str, value: Any, accepted: Sequence[Any]) -> None:
    """Raises: ValueError that names the option, for a value that is none of the accepted."""
    if value not in accepted:
        raise ValueError(f'{name} must be one of {list(accepted)}, got {value!r}.')


class Interruption:
    """The signal that asks runs to end after a checkpoint."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def is_asked(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def ask(self, number: int) -> None:
        """Asks for the end, for the signal of this number."""
        self.signal = number

    @contextlib.contextmanager
    def by_signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM asks, a second SIGINT interrupts at once."""

        def handle(number: int) -> None:
            if self.is_asked() and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.ask(number)

        with signals_to(handle):
            yield


@contextlib.contextmanager
def signals_to(handle: Callable[[int], None]) -> Iterator[None]:
    """Hands SIGINT and SIGTERM on, where this is the main thread, which alone can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = {each: signal.signal(each, lambda number, frame: handle(number)) for each in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
