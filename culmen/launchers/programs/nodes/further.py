"""How many evaluations of a run its evaluators have played, each in its own time."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

EVALUATOR = 'evaluator'  # of the experiment; further ones are 'evaluator-NAME'
_PLAYED = 'evaluations/'  # in a checkpoint's counter: before the label of a further evaluator


class Further:
    """The further evaluators of a program, as its counter knows them. Callers hold the counter's lock."""

    def __init__(
        self, columns: Mapping[str, Sequence[str]], counter: Mapping[str, int] | None = None
    ) -> None:
        """Args: columns: of their logs, by label; counter: of a checkpoint. One that is new there begins with
        the first evaluation that is kept.
        """
        self.columns = columns
        self.summaries: dict[str, Mapping[str, Any]] = {}  # of the last evaluation of each
        first = 0 if counter is None else played_by_all(counter)
        self._played = {
            label: int((counter or {}).get(_PLAYED + label, first)) for label in columns
        }

    def played(self, label: str, counts: Mapping[str, int]) -> int:
        """How many evaluations of the run an evaluator has played. Args: counts: of the run."""
        return counts['evaluations'] if label == EVALUATOR else self._played[label]

    def add(self, label: str, summary: Mapping[str, Any]) -> None:
        """One has played an evaluation."""
        self._played[label] += 1
        self.summaries[label] = dict(summary)

    def go_on_from(self, number: int) -> None:
        """All go on with the evaluation of this number: the learner begins anew with it."""
        self._played = dict.fromkeys(self._played, number)

    def counts(self) -> dict[str, int]:
        """What each has played, for the counter of a checkpoint."""
        return {_PLAYED + label: number for label, number in self._played.items()}


def played_by_all(counter: Mapping[str, int]) -> int:
    """How many evaluations every evaluator of a run has played. Args: counter: of a checkpoint."""
    further = [int(number) for name, number in counter.items() if name.startswith(_PLAYED)]
    return min([int(counter['evaluations']), *further])
