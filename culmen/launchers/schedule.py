"""When events are due in a run: pure functions of its counts and of a small state.

The state is part of a checkpoint, so a resumed run has every event at the same step as an uninterrupted
run.
"""

from dataclasses import dataclass
from typing import Literal
from typing import NamedTuple

from culmen.core.experiment import Experiment

ROW_PERIOD = 1_000  # steps between rows of learner.csv
Clock = Literal['actor_steps', 'learner_steps']


class Counts(NamedTuple):
    """How far a run is."""

    actor_steps: int
    learner_steps: int


class RowState(NamedTuple):
    """When the next row of learner.csv is due."""

    next: int = ROW_PERIOD  # in steps of the clock
    logged_updates: int = 0  # learner steps at the last row

    def is_due(self, steps: int) -> bool:
        """Whether a row is due at this step."""
        return steps >= self.next

    def after(self, steps: int, learner_steps: int) -> 'RowState':
        """The state after a row with these counts is written."""
        return RowState(next_multiple(steps, ROW_PERIOD), learner_steps)


class ScheduleState(NamedTuple):
    """The steps at which events are next due, in steps of the clock."""

    evaluation: int | None
    checkpoint: int
    rows: RowState = RowState()
    evaluated_at: Counts | None = None  # counts of the last evaluation


@dataclass(frozen=True)
class Schedule:
    """The budget of a run and the periods of its events, measured in its clock."""

    clock: Clock  # the count that the periods are measured in
    max_actor_steps: int | None
    max_learner_steps: int | None
    evaluation_period: int | None  # None: only at the end
    checkpoint_period: int

    @classmethod
    def of(cls, experiment: Experiment, clock: Clock = 'actor_steps') -> 'Schedule':
        """The schedule of an experiment."""
        return cls(
            clock,
            experiment.max_actor_steps,
            experiment.max_learner_steps,
            experiment.evaluation.every,
            experiment.checkpoint.every,
        )

    def begin(self) -> ScheduleState:
        """The state of a new run."""
        return ScheduleState(self.evaluation_period, self.checkpoint_period)

    def resume(self, state: ScheduleState) -> ScheduleState:
        """The state of a resumed run, whose evaluation period may have changed."""
        every, stored = self.evaluation_period, state.evaluation
        if every is not None and (stored is None or stored % every):
            stored = every
        return state._replace(evaluation=None if every is None else stored)

    @property
    def budget(self) -> int | None:
        """Steps of the clock in the whole run; None: not bounded."""
        return self.max_actor_steps if self.clock == 'actor_steps' else self.max_learner_steps

    def steps(self, counts: Counts) -> int:
        """Steps of the clock so far."""
        return counts.actor_steps if self.clock == 'actor_steps' else counts.learner_steps

    def is_over(self, counts: Counts) -> bool:
        """Whether the budget is used up."""
        budgets = self.max_actor_steps, self.max_learner_steps
        pairs = zip(budgets, counts, strict=True)
        return any(budget is not None and count >= budget for budget, count in pairs)

    def is_evaluation_due(self, state: ScheduleState, counts: Counts) -> bool:
        """Whether an evaluation is due."""
        return state.evaluation is not None and self.steps(counts) >= state.evaluation

    def is_checkpoint_due(self, state: ScheduleState, counts: Counts) -> bool:
        """Whether a checkpoint is due."""
        return self.steps(counts) >= state.checkpoint

    def after_evaluation(self, state: ScheduleState, counts: Counts) -> ScheduleState:
        """The state after an evaluation."""
        due = state.evaluation
        if self.evaluation_period is not None:
            due = next_multiple(self.steps(counts), self.evaluation_period)
        return state._replace(evaluation=due, evaluated_at=counts)

    def after_checkpoint(self, state: ScheduleState, counts: Counts) -> ScheduleState:
        """The state after a checkpoint is taken. It is saved in that checkpoint."""
        due = next_multiple(self.steps(counts), self.checkpoint_period)
        return state._replace(checkpoint=due)

    def next_event(self, state: ScheduleState) -> Counts:
        """The counts at which the next event is due; only its budget bounds the count that is not the clock.

        Ignores rows of learner.csv. A large number means never.
        """
        own = [self.budget, state.evaluation, state.checkpoint]
        due = min(each for each in own if each is not None)
        other = self.max_learner_steps if self.clock == 'actor_steps' else self.max_actor_steps
        bound = NEVER if other is None else other
        return Counts(due, bound) if self.clock == 'actor_steps' else Counts(bound, due)


NEVER = 2**63 - 1


def next_multiple(steps: int, every: int) -> int:
    """The first multiple of `every` above `steps`."""
    return (steps // every + 1) * every
