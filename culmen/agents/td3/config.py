"""The settings of TD3 and of DDPG."""

from dataclasses import dataclass
from typing import Any
from typing import ClassVar

from culmen.core.checks import check_range
from culmen.core.checks import check_types


@dataclass(frozen=True)
class TD3Config:
    """Settings of TD3. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    hidden_sizes: tuple[int, ...] = (128, 128)  # units a layer, of the policy and of each critic
    layer_norm: bool = False  # whether the first layer of each is normalised
    encoder_channels: tuple[int, ...] = (32, 32, 32, 32)  # of each convolution, for images
    num_critics: int = 2  # of which the least is the target, at least 1

    # Acting.
    random_steps: int = 1_000  # actor steps of uniformly random actions at first, at least 0
    exploration_noise: float = 0.1  # standard deviation where actions are in [-1, 1], at least 0

    # Learning.
    discount: float = 0.99  # a step, in [0, 1]
    n_step: int = 1  # rewards before the bootstrap, at least 1
    policy_learning_rate: float = 1e-3  # above 0
    critic_learning_rate: float = 1e-3  # above 0
    policy_period: int = 2  # updates of the critics between those of the policy and all targets
    target_rate: float = 0.005  # of the targets towards what they follow a time, in [0, 1]
    target_noise: float = 0.2  # standard deviation on the target policy's action, at least 0
    target_noise_clip: float = 0.5  # that noise to [-clip, clip], at least 0
    max_gradient_norm: float | None = None  # global norm, of each network; None: not clipped
    augmentation_pad: int = 0  # pixels by which images are shifted at random; 0: not at all

    # Experience.
    batch_size: int = 128  # windows an update
    replay_capacity: int = 1_000_000  # windows
    min_replay_size: int = 1_000  # windows before the first update
    samples_per_insert: float = 128.0  # draws a window on average: here an update a step

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Fujimoto et al. 2018 (1802.09477), section 6.1 and appendix C; rates and batch of its code.
        'mujoco': {
            'hidden_sizes': (256, 256), 'random_steps': 25_000, 'exploration_noise': 0.1,
            'discount': 0.99, 'policy_learning_rate': 3e-4, 'critic_learning_rate': 3e-4,
            'policy_period': 2, 'target_rate': 0.005, 'target_noise': 0.2, 'target_noise_clip': 0.5,
            'batch_size': 256, 'min_replay_size': 25_000, 'samples_per_insert': 256.0,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_types(self)
        for name in ('hidden_sizes', 'encoder_channels'):
            for size in getattr(self, name):
                check_range(name, size, 1)
        for name in ('discount', 'target_rate'):
            check_range(name, getattr(self, name), 0, 1)
        for name in ('random_steps', 'exploration_noise', 'target_noise', 'target_noise_clip',
                     'augmentation_pad'):  # fmt: skip
            check_range(name, getattr(self, name), 0)
        for name in ('num_critics', 'n_step', 'policy_period', 'batch_size', 'replay_capacity'):
            check_range(name, getattr(self, name), 1)
        for name in ('policy_learning_rate', 'critic_learning_rate', 'max_gradient_norm',
                     'samples_per_insert'):  # fmt: skip
            check_range(name, getattr(self, name), 0, open_low=True)
        check_range('min_replay_size', self.min_replay_size, 0, self.replay_capacity)


@dataclass(frozen=True)
class DDPGConfig(TD3Config):
    """Settings of DDPG: those of TD3, with one critic and no delay or noise in learning."""

    layer_norm: bool = True  # whether the first layer of each is normalised
    num_critics: int = 1  # of which the least is the target, at least 1
    exploration_noise: float = 0.2  # standard deviation where actions are in [-1, 1], at least 0
    policy_period: int = 1  # updates of the critics between those of the policy and all targets
    target_noise: float = 0.0  # standard deviation on the target policy's action, at least 0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Lillicrap et al. 2015 (1509.02971), section 7: without its weight decay and wandering noise.
        'mujoco': {
            'hidden_sizes': (400, 300), 'random_steps': 0, 'exploration_noise': 0.2,
            'discount': 0.99, 'policy_learning_rate': 1e-4, 'critic_learning_rate': 1e-3,
            'target_rate': 0.001, 'batch_size': 64, 'samples_per_insert': 64.0,
        },
    }  # fmt: skip
