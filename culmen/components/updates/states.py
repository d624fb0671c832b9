"""Training states, which an update reads and writes. Checkpoints store their fields by name."""

from typing import NamedTuple

import optax

from culmen.core.types import Params


class TrainingState(NamedTuple):
    """The training state of one network."""

    params: Params
    optimizer_state: optax.OptState


class TargetTrainingState(NamedTuple):
    """The training state of one network and its target network."""

    params: Params
    target_params: Params
    optimizer_state: optax.OptState
