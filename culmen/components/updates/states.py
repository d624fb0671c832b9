"""Training states: what an update reads and writes. Checkpoints name their fields."""

from typing import NamedTuple

import optax

from culmen.core.types import Params


class TrainingState(NamedTuple):
    """Of one network."""

    params: Params
    optimizer_state: optax.OptState


class TargetTrainingState(NamedTuple):
    """Of one network and its target network."""

    params: Params
    target_params: Params
    optimizer_state: optax.OptState
