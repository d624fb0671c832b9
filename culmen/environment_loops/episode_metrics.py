"""The named numbers of lanes, summed up by episode (culmen.core.metrics). Both loops of the host have one."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from culmen.core.metrics import Metric
from culmen.core.metrics import is_number


class MissingMetric(ValueError):
    """An environment did not give a number in a whole episode."""


class EpisodeMetrics:
    """The numbers of the running episode of each lane."""

    def __init__(self, metrics: Sequence[Sequence[Metric]]) -> None:
        """Args: metrics: of each lane; lanes may have different ones."""
        self._metrics = metrics
        # By lane and column: the last number, or the sum of all, and how many there were.
        self._held: list[dict[str, tuple[float, int]]] = [{} for _ in metrics]

    def begin(self, lane: int) -> None:
        """An episode begins in a lane."""
        self._held[lane] = {}

    def add(self, lane: int, numbers: Mapping[str, Any]) -> None:
        """Adds the numbers of a step, by name. One that is left out does not count."""
        held = self._held[lane]
        for metric in self._metrics[lane]:
            value = numbers.get(metric.name)
            if not is_number(value):
                continue
            before, count = held.get(metric.column, (0.0, 0))
            kept = 0.0 if metric.reduction == 'last' else before
            held[metric.column] = kept + float(value), count + 1  # type: ignore[arg-type]

    def end(self, lane: int, numbers: Mapping[str, Any]) -> dict[str, float]:
        """The numbers of an episode that ends, by column.

        Args: numbers: of the last step, to say which there are.
        Raises: MissingMetric that names one of which there was none in the episode.
        """
        ended = {}
        for metric in self._metrics[lane]:
            if metric.column not in self._held[lane]:
                raise MissingMetric(
                    f'it gave no number {metric.name} in an episode (metrics), only '
                    f'{sorted(name for name, value in numbers.items() if is_number(value))}.'
                )
            value, count = self._held[lane][metric.column]
            ended[metric.column] = value if metric.reduction == 'last' else value / count
        return ended

    def get_state(self) -> list[dict[str, list[float]]]:
        """The numbers so far, of plain data."""
        return [{name: list(held) for name, held in lane.items()} for lane in self._held]

    def set_state(self, state: Sequence[Mapping[str, Sequence[float]]]) -> None:
        """Restores the result of `get_state`."""
        self._held = [
            {name: (float(held[0]), int(held[1])) for name, held in lane.items()} for lane in state
        ]


def columns_of_lanes(metrics: Sequence[Sequence[Metric]]) -> tuple[str, ...]:
    """The columns of all lanes, each once."""
    return tuple(dict.fromkeys(metric.column for lane in metrics for metric in lane))
