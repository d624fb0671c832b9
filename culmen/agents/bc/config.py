"""The settings of behaviour cloning."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from typing import Literal

from culmen.core.checks import check_range
from culmen.core.checks import check_types


@dataclass(frozen=True)
class BCConfig:
    """Settings of behaviour cloning."""

    source: str | Callable[[], Any]  # a folder that a run recorded, or () -> an iterator of Streams

    # Network.
    hidden_sizes: tuple[int, ...] = (64, 64)  # units a layer of the MLP, where no image is observed

    # Acting; evaluation takes the likeliest action.
    epsilon: float = 0.05  # probability of a random discrete action, in [0, 1]
    exploration_noise: float = 0.1  # deviation of continuous actions, canonical units, at least 0

    # Learning.
    loss: Literal['log_likelihood', 'mse'] = 'log_likelihood'  # mse: of continuous actions alone
    learning_rate: float = 1e-3  # above 0
    max_gradient_norm: float | None = None  # global norm; None: not clipped
    batch_size: int = 128  # transitions an update

    def __post_init__(self) -> None:
        check_types(self)
        for size in self.hidden_sizes:
            check_range('hidden_sizes', size, 1)
        check_range('epsilon', self.epsilon, 0, 1)
        check_range('exploration_noise', self.exploration_noise, 0)
        check_range('learning_rate', self.learning_rate, 0, open_low=True)
        check_range('max_gradient_norm', self.max_gradient_norm, 0, open_low=True)
        check_range('batch_size', self.batch_size, 1)
