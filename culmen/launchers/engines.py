"""What a run asks of its engine: the workers that a launcher brings."""

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
    """Train until one of these, asked before each action; sooner is allowed."""

    counts: Counts  # either of them
    row_at: int  # steps of the clock at which a row of learner.csv is due
    seconds: float  # of time.monotonic()
    stop: Callable[[], bool]  # True: now


class Evaluate(NamedTuple):
    """Evaluate variables."""

    variables: Params
    number: int  # of the evaluation, which its draws depend on
    counts: Counts  # at these variables


class Evaluates(Protocol):
    """An evaluator of a run."""

    def evaluate(
        self, params: Params, number: int, actor_steps: int = 0, learner_steps: int = 0
    ) -> EvaluationResult:
        """Plays the episodes of an evaluation. Raises: Interrupted."""
        ...


class Engine(Protocol):
    """The workers of a run, which a launcher brings."""

    clock: Clock  # the count by which events fall due
    metric_names: tuple[str, ...]  # of an update, 'loss' first
    has_python: bool  # whether checkpoints hold what only pickle can

    @property
    def counts(self) -> Counts:
        """How far the run is."""
        ...

    @property
    def variables(self) -> Params:
        """The newest, which evaluators read."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """Of the last update."""
        ...

    def start(self, restored: Restored | None) -> int:
        """Begins, or goes on from a checkpoint.

        Returns: how many items are dropped, since their rows are lost.
        """
        ...

    def advance(self, request: Advance, journal: Journal) -> None:
        """Trains, and tells the journal of episodes."""
        ...

    def finish(self) -> None:
        """Makes the updates that are still due where the budget is used up."""
        ...

    def evaluator(self, stop: Callable[[], bool], tell: Callable[[str], None]) -> Evaluates:
        """What evaluates the run; `stop` is asked, True raises Interrupted; `tell` hears how far it is."""
        ...

    def check_finite(self) -> None:
        """Raises: NonFiniteLossError, where such a loss ends the run."""
        ...

    def get_state(self) -> WorkerState:
        """For a checkpoint."""
        ...

    def get_python(self) -> Any:
        """What only pickle can hold, for a checkpoint; None: nothing."""
        ...

    @property
    def table(self) -> Any:
        """The table whose rows a checkpoint takes; None: none."""
        ...

    def end(self) -> None:
        """Called after the last checkpoint of this call, where nothing failed."""
        ...

    def close(self) -> None:
        """Lets go of what the workers hold; called in any case."""
        ...
