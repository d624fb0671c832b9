"""The settings of R2D2."""

from dataclasses import dataclass
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.core.checks import check_range
from culmen.core.checks import check_types


@dataclass(frozen=True)
class R2D2Config:
    """Settings of R2D2. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    hidden_sizes: tuple[int, ...] = (64,)  # units a layer of the MLP, where no image is observed
    core: Literal['lstm', 'gru'] = 'lstm'  # memory between torso and head
    core_size: int = 64  # units of the core
    dueling: bool = True  # whether the head splits value and advantages
    previous_action: bool = True  # whether the core sees the action before, one-hot
    previous_reward: bool = True  # whether it sees the reward that came with the observation

    # Acting.
    epsilon: float = 0.1  # final probability of a random action, in [0, 1]
    epsilon_initial: float = 1.0  # the same at the first step
    epsilon_decay_steps: int = 5_000  # actor steps from initial to final, at least 0
    epsilon_lane_alpha: float = 7.0  # lane i of N: epsilon ** (1 + alpha i / (N - 1)); 0: all alike
    evaluation_epsilon: float = 0.0  # of the evaluator, in [0, 1]

    # Learning.
    discount: float = 0.99  # a step, in [0, 1]
    n_step: int = 5  # rewards before the bootstrap, at least 1
    rescale: bool = True  # whether the network predicts h(value), the signed hyperbolic transform
    learning_rate: float = 5e-4  # above 0
    optimizer_epsilon: float = 1e-5  # beside the root of Adam's second moment; above 0
    max_gradient_norm: float | None = 10.0  # global norm; None: not clipped
    target_update_period: int = 200  # updates between copies to the target network, at least 1

    # Experience.
    burn_in_length: int = 10  # steps that only bring the state up to date, at least 0
    sequence_length: int = 10  # steps after them, which are learned from
    sequence_period: int = 5  # steps between starts, at most sequence_length
    batch_size: int = 32  # sequences an update
    replay_capacity: int = 10_000  # sequences
    min_replay_size: int = 100  # sequences before the first update
    samples_per_insert: float = 16.0  # draws a sequence on average
    priority_exponent: float = 0.9  # 0: uniform replay, 1: proportional to the priority
    priority_eta: float = 0.9  # a priority is eta max |error| + (1 - eta) mean |error|, in [0, 1]
    importance_exponent: float = 0.6  # correction of prioritised draws, in [0, 1]

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Kapturowski et al. 2019, section 2.3 and table 2, in steps of four frames; exploration is Ape-X's.
        'atari': {
            'core_size': 512, 'dueling': True, 'epsilon_initial': 0.4, 'epsilon': 0.4,
            'epsilon_decay_steps': 0, 'epsilon_lane_alpha': 7.0, 'discount': 0.997, 'n_step': 5,
            'rescale': True, 'learning_rate': 1e-4, 'optimizer_epsilon': 1e-3, 'max_gradient_norm': None,
            'target_update_period': 2_500, 'burn_in_length': 40, 'sequence_length': 80, 'sequence_period': 40,
            'batch_size': 64, 'replay_capacity': 100_000, 'min_replay_size': 1_250, 'samples_per_insert': 0.8,
            'priority_exponent': 0.9, 'priority_eta': 0.9, 'importance_exponent': 0.6,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_types(self)
        for size in self.hidden_sizes:
            check_range('hidden_sizes', size, 1)
        for name in ('epsilon', 'epsilon_initial', 'evaluation_epsilon', 'discount', 'priority_eta',
                     'importance_exponent'):  # fmt: skip
            check_range(name, getattr(self, name), 0, 1)
        for name in ('epsilon_decay_steps', 'epsilon_lane_alpha', 'burn_in_length',
                     'priority_exponent'):  # fmt: skip
            check_range(name, getattr(self, name), 0)
        for name in ('core_size', 'n_step', 'target_update_period', 'sequence_length', 'batch_size',
                     'replay_capacity'):  # fmt: skip
            check_range(name, getattr(self, name), 1)
        for name in (
            'learning_rate',
            'optimizer_epsilon',
            'max_gradient_norm',
            'samples_per_insert',
        ):
            check_range(name, getattr(self, name), 0, open_low=True)
        check_range('min_replay_size', self.min_replay_size, 0, self.replay_capacity)
        check_range('sequence_period', self.sequence_period, 1, self.sequence_length)
