"""Training states, which an update reads and writes. Checkpoints store their fields by name."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
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


def begin(
    network: Any, optimizer: optax.GradientTransformation
) -> Callable[[jax.Array], TrainingState]:
    """The `init` of a learner of one network. Args: network: has `init(key) -> params`."""

    def init(key: jax.Array) -> TrainingState:
        params = network.init(key)
        return TrainingState(params, optimizer.init(params))

    return init


def begin_with_target(
    network: Any, optimizer: optax.GradientTransformation
) -> Callable[[jax.Array], TargetTrainingState]:
    """The `init` of a learner of one network and its target network, which begins as a copy."""

    def init(key: jax.Array) -> TargetTrainingState:
        params = network.init(key)
        return TargetTrainingState(params, params, optimizer.init(params))

    return init
