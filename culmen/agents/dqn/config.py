"""The settings of DQN."""

from dataclasses import dataclass
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.core.checks import check_range
from culmen.core.checks import check_types


@dataclass(frozen=True)
class DQNConfig:
    """Settings of DQN. The defaults are for small tasks; `presets` holds the papers'."""

    # Network.
    hidden_sizes: tuple[int, ...] = (64, 64)  # units a layer of the MLP, where no image is observed
    dueling: bool = False  # whether the head splits value and advantages

    # Acting.
    epsilon: float = 0.1  # final probability of a random action, in [0, 1]
    epsilon_initial: float = 1.0  # the same at the first step
    epsilon_decay_steps: int = 5_000  # actor steps from initial to final, at least 0
    epsilon_lane_alpha: float = 0.0  # above 0: lanes explore unequally (Ape-X's alpha, 7 there)
    evaluation_epsilon: float = 0.0  # of the evaluator, in [0, 1]

    # Learning.
    discount: float = 0.99  # a step, in [0, 1]
    n_step: int = 10  # rewards before the bootstrap, at least 1
    double: bool = True  # whether the online network selects the bootstrap's action
    learning_rate: float = 1e-3  # above 0
    optimizer: Literal['adam', 'rmsprop'] = 'adam'  # rmsprop: centred, as in the Nature paper
    optimizer_epsilon: float = 1e-8  # beside adam's root, rmsprop's second moment; above 0
    max_gradient_norm: float | None = None  # global norm; None: not clipped
    huber_delta: float | None = 1.0  # error at which the loss turns linear; None: squared error
    reward_clip: float | None = None  # rewards to [-clip, clip]; None: as they are
    target_update_period: int = 200  # updates between copies to the target network, at least 1

    # Experience.
    batch_size: int = 128  # windows an update
    replay_capacity: int = 100_000  # windows
    min_replay_size: int = 1_000  # windows before the first update
    samples_per_insert: float = 64.0  # draws a window on average: here an update every other step
    priority_exponent: float = 0.0  # 0: uniform replay, 1: proportional to the error
    importance_exponent: float = 0.4  # correction of prioritised draws, in [0, 1]

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Mnih et al. 2015, extended data table 1, in steps of four frames.
        'atari': {
            'n_step': 1, 'double': False, 'discount': 0.99, 'epsilon_initial': 1.0, 'epsilon': 0.1,
            'huber_delta': 1.0, 'max_gradient_norm': None, 'priority_exponent': 0.0,
            'epsilon_decay_steps': 250_000, 'evaluation_epsilon': 0.05, 'learning_rate': 2.5e-4,
            'optimizer': 'rmsprop', 'optimizer_epsilon': 0.01, 'reward_clip': 1.0,
            'target_update_period': 10_000, 'batch_size': 32, 'replay_capacity': 1_000_000,
            'min_replay_size': 50_000, 'samples_per_insert': 8.0,
        },
        # Young and Tian 2019 (1903.03176), section 4: an update a frame.
        'minatar': {
            'n_step': 1, 'double': False, 'discount': 0.99, 'epsilon_initial': 1.0, 'epsilon': 0.1,
            'huber_delta': 1.0, 'max_gradient_norm': None, 'priority_exponent': 0.0,
            'epsilon_decay_steps': 100_000,
            'learning_rate': 2.5e-4, 'optimizer': 'rmsprop', 'optimizer_epsilon': 0.01,
            'target_update_period': 1_000, 'batch_size': 32, 'replay_capacity': 100_000,
            'min_replay_size': 5_000, 'samples_per_insert': 32.0,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_types(self)
        for size in self.hidden_sizes:
            check_range('hidden_sizes', size, 1)
        for name in (
            'epsilon',
            'epsilon_initial',
            'evaluation_epsilon',
            'discount',
            'importance_exponent',
        ):
            check_range(name, getattr(self, name), 0, 1)
        for name in (
            'epsilon_decay_steps',
            'epsilon_lane_alpha',
            'priority_exponent',
            'min_replay_size',
        ):
            check_range(name, getattr(self, name), 0)
        for name in ('n_step', 'target_update_period', 'batch_size', 'replay_capacity'):
            check_range(name, getattr(self, name), 1)
        for name in ('learning_rate', 'optimizer_epsilon', 'max_gradient_norm', 'huber_delta', 'reward_clip',
                     'samples_per_insert'):  # fmt: skip
            check_range(name, getattr(self, name), 0, open_low=True)
        check_range('min_replay_size', self.min_replay_size, 0, self.replay_capacity)
