"""The options that all launchers share, and the signals that end a run."""

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
from typing import NamedTuple

from culmen.components.files import OnLostRows
from culmen.components.loggers import Sink
from culmen.environment_loops.observers import Observer

_CHOICES: Mapping[str, tuple[str, ...]] = {
    'on_non_finite': ('stop', 'log'),
    'on_lost_rows': ('drop', 'refuse'),
}


@dataclass(frozen=True)
class RunOptions:
    """How a run is watched and stopped; its numbers do not depend on these options.

    Raises: ValueError that names an option whose value is not accepted.
    """

    loggers: Sequence[Sink] = ()  # receive every row of the logs too
    progress: bool | None = None  # whether to show it; None: depends on standard error
    on_non_finite: Literal['stop', 'log'] = 'stop'  # on a loss that is not finite
    until_return: float | None = None  # a mean return of an evaluation that ends the run
    on_lost_rows: OnLostRows = 'drop'  # on damaged files of rows
    trust: bool = False  # whether to open pickles that another user may have written
    observers: Sequence[Observer] = ()  # hear of the events of the run

    def __post_init__(self) -> None:
        for name, accepted in _CHOICES.items():
            check_choice(name, getattr(self, name), accepted)

    @property
    def stop_on_non_finite(self) -> bool:
        """Whether a loss that is not finite ends the run."""
        return self.on_non_finite == 'stop'

    @property
    def ends(self) -> 'Ends':
        """What may have ended a run before its budget."""
        return Ends(self.until_return, tuple(map(repr, self.observers)))


class Ends(NamedTuple):
    """What may end a run before its budget is used up."""

    until_return: float | None = None  # a mean return of an evaluation
    observers: Sequence[str] = ()  # as `repr` shows them

    def have_ended(self, summary: Mapping[str, Any]) -> bool:
        """Whether the run with this summary was ended so, and has nothing left to do for this call."""
        evaluation, stopped = summary['evaluation'], summary.get('stopped')
        if stopped is not None and stopped['by'] in self.observers:
            return True
        if self.until_return is None or evaluation is None:
            return False
        return bool(evaluation['return_mean'] >= self.until_return)


NO_ENDS = Ends()


def check_choice(name: str, value: Any, accepted: Sequence[Any]) -> None:
    """Raises: ValueError that names the option, if its value is not accepted."""
    if value not in accepted:
        raise ValueError(f'{name} must be one of {list(accepted)}, got {value!r}.')


class Interruption:
    """A request that runs end after a checkpoint, made by a signal or by who holds the loop."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._asked = False

    def is_asked(self) -> bool:
        """Whether the request was made."""
        return self._asked

    def ask(self, number: int | None = None) -> None:
        """Makes the request. Args: number: of the signal; None: there was none."""
        self.signal = number
        self._asked = True

    @contextlib.contextmanager
    def by_signals(self) -> Iterator[None]:
        """Lets the first SIGINT or SIGTERM make the request; a second SIGINT interrupts at once."""

        def handle(number: int) -> None:
            if self.is_asked() and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.ask(number)

        with signals_to(handle):
            yield


@contextlib.contextmanager
def signals_to(handle: Callable[[int], None]) -> Iterator[None]:
    """Calls `handle` for SIGINT and SIGTERM. Only the main thread can; elsewhere this does nothing."""
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
