"""The interface between a run and its engine, which holds the workers of a launcher."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple
from typing import Protocol

from culmen.core.types import Params
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.launchers.journal import Journal
from culmen.launchers.schedule import Clock
from culmen.launchers.schedule import Counts
from culmen.launchers.workdir import Restored
from culmen.launchers.workdir import WorkerState


class Advance(NamedTuple):
    """A request to train until one of these holds. They are checked before each action; sooner is allowed."""

    counts: Counts  # until either is reached
    row_at: int  # steps of the clock at which a row of learner.csv is due
    seconds: float  # of time.monotonic()
    stop: Callable[[], bool]  # if it returns True: stop now


class Evaluate(NamedTuple):
    """A request to evaluate variables."""

    variables: Params
    number: int  # of the evaluation; seeds its environments and keys
    counts: Counts  # when the variables were taken


class Evaluates(Protocol):
    """The interface of an evaluator."""

    def evaluate(
        self, params: Params, number: int, actor_steps: int, learner_steps: int
    ) -> EvaluationResult:
        """Plays the episodes of an evaluation. Raises: Interrupted."""
        ...


class Engine(Protocol):
    """The workers of a run; each launcher has an implementation."""

    clock: Clock  # the count that decides when events are due
    metric_names: tuple[str, ...]  # metrics of an update, 'loss' first
    has_python: bool  # whether checkpoints need a pickle

    @property
    def counts(self) -> Counts:
        """How far the run is."""
        ...

    @property
    def variables(self) -> Params:
        """The newest variables, which evaluators read."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the last update."""
        ...

    def start(self, restored: Restored | None) -> int:
        """Begins, or resumes from a checkpoint.

        Returns: how many items were dropped because their rows are lost.
        """
        ...

    def advance(self, request: Advance, journal: Journal) -> None:
        """Trains, and reports episodes to the journal."""
        ...

    def finish(self) -> None:
        """Makes the updates that are still due when the budget is used up."""
        ...

    def evaluator(self, stop: Callable[[], bool], tell: Callable[[str], None]) -> Evaluates:
        """Makes the evaluator. It raises Interrupted if `stop()` is True, and calls `tell` with progress."""
        ...

    def check_finite(self) -> None:
        """Raises: NonFiniteLossError, if a loss is not finite and the run should stop for it."""
        ...

    def get_state(self) -> WorkerState:
        """The state of the workers, for a checkpoint."""
        ...

    def get_python(self) -> Any:
        """What a checkpoint has to pickle; None: nothing."""
        ...

    @property
    def table(self) -> Any:
        """The table whose rows a checkpoint saves; None: no table."""
        ...

    def end(self) -> None:
        """Called after the last checkpoint, if nothing has failed."""
        ...

    def close(self) -> None:
        """Releases what the workers hold. Called in any case."""
        ...
