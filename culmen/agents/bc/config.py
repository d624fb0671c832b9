"""The settings of behaviour cloning."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import Literal

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields


@dataclass(frozen=True)
class BCConfig:
    """Settings of behaviour cloning."""

    source: str | Callable[[], Any]  # a folder that a run recorded, or () -> an iterator of Streams

    # Network.
    # Units of each layer of the MLP; unused where an image is observed.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (64, 64)

    # Acting. Evaluations take the likeliest action.
    epsilon: Annotated[float, Range(0, 1)] = 0.05  # probability of a random discrete action
    # Standard deviation of the noise on continuous actions, which are in [-1, 1] here.
    exploration_noise: Annotated[float, Range(0)] = 0.1

    # Learning.
    loss: Literal['log_likelihood', 'mse'] = 'log_likelihood'  # mse: for continuous actions only
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # step size of the optimiser
    max_gradient_norm: Annotated[float | None, POSITIVE] = None  # global norm; None: not clipped
    batch_size: Annotated[int, Range(1)] = 128  # transitions per update

    def __post_init__(self) -> None:
        check_fields(self)
