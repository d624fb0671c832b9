"""How many updates may be due without being made yet: an evaluation waits for them."""

import math

from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import rules_of
from culmen.core.experience import tables


def largest_backlog(experience: Experience, lead: float, num_lanes: int) -> int:
    """The most updates that may be due at a step of the actors without being made yet."""

    def of_table(table: Replay | Queue) -> int:
        if isinstance(table, Queue):
            return table.max_size
        # By tick, an actor waits after each tick in which episodes ended.
        return num_lanes if table.by_tick else math.ceil(lead / table.batch_size)

    return sum(
        max(
            (
                of_table(table)
                for table in tables(of_rule).values()
                if not isinstance(table, Dataset)
            ),
            default=0,  # of a rule of Datasets alone
        )
        for of_rule in rules_of(experience).values()
    )
