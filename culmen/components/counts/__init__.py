"""How far a run is: counts on the host and on the device, and the seeds that follow from counts."""

from culmen.components.counts.keys import Role
from culmen.components.counts.keys import fold_seed
from culmen.components.counts.run_counts import RunCounts
from culmen.components.counts.step_counter import StepCounter

__all__ = ['Role', 'RunCounts', 'StepCounter', 'fold_seed']
