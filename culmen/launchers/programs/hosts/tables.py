"""Tables on another host than the learner: their files travel in pieces over calls.

Checkpoints are whole on the learner's host. A replay elsewhere writes its tables to a temporary folder, from
which the learner's node reads them; the tables that it restores come to its agent from the learner's host.
"""

import functools
from pathlib import Path

from culmen.launchers.programs.topology import LEARNER
from culmen.launchers.programs.topology import REPLAY
from culmen.launchers.programs.topology import NodePlan


def restored_tables(plan: NodePlan) -> Path | None:
    """The folder that a plan of a replay restores its tables from."""
    if plan.label != REPLAY:
        return None
    (make,) = plan.makes
    assert isinstance(make, functools.partial)
    restore: Path | None = make.keywords['restore']
    return restore


def with_tables(plan: NodePlan, restore: Path | None) -> NodePlan:
    """The plan of a replay that restores its tables from another folder."""
    return plan._replace(
        makes=tuple(functools.partial(make, restore=restore) for make in plan.makes)
    )


def with_far_tables(plan: NodePlan) -> NodePlan:
    """The plan of a learner that reads the tables for its checkpoints from another host."""
    assert plan.label == LEARNER
    return plan._replace(
        makes=tuple(functools.partial(make, far_tables=True) for make in plan.makes)
    )
