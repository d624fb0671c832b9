"""How runs in other processes ended, as the process that started them tells it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from culmen.launchers.results import Result

if TYPE_CHECKING:
    from culmen.core.experiment import Experiment


class Outcome(NamedTuple):
    """How a run ended."""

    summary: Mapping[str, Any] | None  # None: it failed, or had not begun
    signal: int | None = None  # that stopped it
    error: str = ''
    refused: bool = False  # before anything was computed

    @property
    def state(self) -> str:
        """The outcome in words."""
        if self.error:
            return f'failed: {self.error}'
        if self.summary is None:
            return 'not begun'
        return 'finished' if self.signal is None else 'stopped, and goes on with the same command'

    def result(self, experiment: 'Experiment', folder: Path, signal: int | None = None) -> Result:
        """The Result of a run with a summary, without parameters. Args: signal: that stopped all runs."""
        assert self.summary is not None
        stopped = self.signal is not None
        return Result(
            experiment=experiment,
            workdir=str(folder),
            summary=self.summary,
            interrupted=stopped,
            signal=(signal or self.signal) if stopped else None,
        )
