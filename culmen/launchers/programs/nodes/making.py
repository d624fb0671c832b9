"""Makes the learner of a program, for the node that holds it."""

from collections.abc import Mapping

from culmen.components.learners import Learner
from culmen.core.agent import Parts
from culmen.core.experiment import Experiment
from culmen.core.pretraining import pretraining
from culmen.core.rules import mirrored
from culmen.core.staleness import effective_lag
from culmen.core.workers import Reader
from culmen.launchers.devices import find_devices


def make_learner(
    experiment: Experiment,
    parts: Parts,
    readers: Mapping[str, Reader],
    stop_on_non_finite: bool,
    device: str | None,
) -> Learner:
    """Makes the learner.

    Args: readers: of each rule; device: its devices by name; None: where JAX puts it; others: as of the
        node.
    Raises: ValueError that names a device which is not here.
    """
    updates = experiment.updates_per_call
    return Learner(
        parts.learner,
        mirrored(parts.learner, readers),
        experiment.seed,
        updates_per_call=updates,
        lag=effective_lag(parts.experience, experiment.lag, updates, bounded=True),
        devices=None if device is None else find_devices('device', device),
        stop_on_non_finite=stop_on_non_finite,
        max_updates=experiment.max_learner_steps,
        updates_before=pretraining(parts.experience),
    )
