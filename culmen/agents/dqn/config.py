"""The settings of DQN and of Ape-X."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.components.values import MunchausenSettings
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.errors import SettingError


@dataclass(frozen=True)
class DQNConfig(MunchausenSettings):
    """Settings of DQN. The defaults are for small tasks; `presets` holds the papers'."""

    huber_delta: Annotated[float | None, POSITIVE] = 1.0  # loss is linear beyond it; None: nowhere
    # Weight of the taken action's value in the loss: DQNReg, whose 0.1 beside error^2 is 0.05 here; None: 0.
    value_cost: Annotated[float | None, Range(0)] = None
    # What a new window's priority is: the largest error so far, or that of the values that acted.
    initial_priority: Literal['largest', 'acting'] = 'largest'

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
        # Yarats et al. 2021 (2004.13649), appendix F: DrQ; epsilon as in DrQ(eps) of Agarwal et al. 2021
        # (2108.13264). For 100,000 steps of four frames.
        'atari_100k': {
            'dueling': True, 'n_step': 10, 'double': True, 'discount': 0.99, 'augmentation_pad': 4,
            'epsilon_initial': 1.0, 'epsilon': 0.01, 'epsilon_decay_steps': 5_000,
            'evaluation_epsilon': 0.001, 'huber_delta': 1.0, 'learning_rate': 1e-4,
            'optimizer': 'adam', 'optimizer_epsilon': 1.5e-4, 'max_gradient_norm': 10.0,
            'reward_clip': 1.0, 'target_update_period': 1, 'batch_size': 32,
            'replay_capacity': 100_000, 'min_replay_size': 1_600, 'samples_per_insert': 32.0,
            'priority_exponent': 0.0,
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
        # Fortunato et al. 2017 (1706.10295), section 3.2: noise explores, and epsilon is 0.
        'noisy': {
            'noise': 'factorised', 'epsilon_initial': 0.0, 'epsilon': 0.0, 'epsilon_decay_steps': 0,
        },
        # Vieillard et al. 2020 (2007.14430), table 2 for the loss; one reward before the bootstrap.
        'munchausen': {
            'munchausen': 0.9, 'temperature': 0.03, 'log_policy_clip': -1.0, 'double': False,
            'n_step': 1,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initial_priority == 'acting' and not self.priority_exponent:
            raise SettingError(
                'initial_priority is acting, which needs a priority_exponent above 0, got 0.'
            )


@dataclass(frozen=True)
class ApeXConfig(DQNConfig):
    """Settings of Ape-X: DQN, prioritised from the first draw, with a different epsilon in each lane."""

    dueling: bool = True  # whether the head splits value and advantages
    epsilon: Annotated[float, Range(0, 1)] = 0.4  # final probability of a random action
    epsilon_initial: Annotated[float, Range(0, 1)] = 0.4  # the probability at the first step
    epsilon_decay_steps: Annotated[int, Range(0)] = 0  # actor steps from initial to final
    # Lane i of N has epsilon ** (1 + alpha i / (N - 1)); 0: all alike.
    epsilon_lane_alpha: Annotated[float, Range(0)] = 7.0
    n_step: Annotated[int, Range(1)] = 3  # rewards before the bootstrap
    max_gradient_norm: Annotated[float | None, POSITIVE] = 40.0  # global norm; None: not clipped
    # Windows are drawn in proportion to error ** exponent; 0: uniformly.
    priority_exponent: Annotated[float, Range(0)] = 0.6
    # What a new window's priority is: the largest error so far, or that of the values that acted.
    initial_priority: Literal['largest', 'acting'] = 'acting'

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Horgan et al. 2018 (1803.00933), section 4.1 and appendix C, in steps of four frames.
        'atari': {
            'optimizer': 'rmsprop', 'learning_rate': 2.5e-4 / 4, 'optimizer_epsilon': 1.5e-7,
            'reward_clip': 1.0, 'target_update_period': 2_500, 'batch_size': 512,
            'replay_capacity': 2_000_000, 'min_replay_size': 50_000, 'samples_per_insert': 8.0,
        },
    }  # fmt: skip
