"""One rule of a learner: where its batches come from, its compiled update, and how far it is."""

from typing import Any

from culmen.components.learners.compiled_update import CompiledUpdate
from culmen.core.workers import Reader


class RuleWorker:
    """What a learner keeps of each rule of its core."""

    def __init__(self, table: Reader, update: CompiledUpdate, place: int) -> None:
        """Args: table: gives the batches. update: makes calls of them. place: among the core's rules."""
        self.table = table
        self.update = update
        self.place = place
        self.steps = 0  # updates so far
        self.metrics: Any = {}  # of the last update, on the device

    def fetch_metrics(self) -> dict[str, float]:
        """The metrics of the last update, fetched from the device."""
        return self.update.fetch_metrics(self.metrics)
