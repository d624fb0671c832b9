"""With what a program begins: checks of its initial training state and of its checkpoint, before any node."""

from culmen.launchers.building import build_agent
from culmen.launchers.building import with_functions
from culmen.launchers.initial import read_initial
from culmen.launchers.programs.program import Program
from culmen.launchers.restoring import fitting
from culmen.launchers.restoring import refusing_checkpoints
from culmen.launchers.workdir import Restored
from culmen.launchers.workdir import Workdir


def check_initial(program: Program, home: Workdir) -> None:
    """Refuses an initial training state that does not fit. Raises: ValueError, as `read_initial`."""
    experiment, spec = program.experiment, program.spec
    if experiment.initial is not None:
        spec = with_functions(experiment, spec) if program.has_functions else spec
        learner = build_agent(experiment.agent, spec).learner
        read_initial(experiment, learner, resumed=home.has_checkpoint)


def stored_items(restored: Restored) -> int:
    """How many items the saved tables hold. Raises: Refused for a checkpoint that is not of a program."""
    workers = restored.state.workers
    with refusing_checkpoints(), fitting(restored.path):
        for name in ('table', 'actors'):
            if not isinstance(getattr(workers, name), dict):
                raise ValueError(f'{name} must be a mapping')
        return sum(int(each.get('stored', 0)) for each in workers.table.values())
