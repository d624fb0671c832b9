"""The settings of TD3 and of DDPG."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields


@dataclass(frozen=True)
class TD3Config:
    """Settings of TD3. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    # Units of each layer of the policy and of each critic.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (128, 128)
    layer_norm: bool = False  # whether the first layer of policy and critics is normalised
    encoder_channels: Annotated[tuple[int, ...], Range(1)] = (32, 32, 32, 32)  # of the convolutions
    num_critics: Annotated[int, Range(1)] = 2  # the target takes the least of them
    # Names of fields of the observation that only the critics see, and not the policy.
    critic_observation: tuple[str, ...] = ()

    # Acting.
    # Actions are uniformly random until all actors have taken so many steps.
    random_steps: Annotated[int, Range(0)] = 1_000
    # Standard deviation of the noise on actions, which are in [-1, 1] here.
    exploration_noise: Annotated[float, Range(0)] = 0.1

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    n_step: Annotated[int, Range(1)] = 1  # rewards before the bootstrap
    policy_learning_rate: Annotated[float, POSITIVE] = 1e-3  # of the policy's Adam
    critic_learning_rate: Annotated[float, POSITIVE] = 1e-3  # of the critics' Adam
    # Updates of the critics for each update of the policy and of all targets.
    policy_period: Annotated[int, Range(1)] = 2
    # Step of the moving average: target += rate * (online - target).
    target_rate: Annotated[float, Range(0, 1)] = 0.005
    # Standard deviation of the noise on the target policy's action.
    target_noise: Annotated[float, Range(0)] = 0.2
    target_noise_clip: Annotated[float, Range(0)] = 0.5  # that noise is clipped to [-clip, clip]
    # Global norm to which the gradients of each network are clipped; None: not at all.
    max_gradient_norm: Annotated[float | None, POSITIVE] = None
    # Largest random shift of images, in pixels; 0: no shifts.
    augmentation_pad: Annotated[int, Range(0)] = 0

    # Experience.
    batch_size: Annotated[int, Range(1)] = 128  # windows per update
    replay_capacity: Annotated[int, Range(1)] = 1_000_000  # windows
    # Windows in the replay before the first update.
    min_replay_size: Annotated[int, Range(0, 'replay_capacity')] = 1_000
    # How often a window is drawn on average; the default makes an update a step.
    samples_per_insert: Annotated[float, POSITIVE] = 128.0

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
        check_fields(self)


@dataclass(frozen=True)
class DDPGConfig(TD3Config):
    """Settings of DDPG: those of TD3, with one critic and no delay or noise in learning."""

    layer_norm: bool = True  # whether the first layer of policy and critics is normalised
    num_critics: Annotated[int, Range(1)] = 1  # the target takes the least of them
    # Standard deviation of the noise on actions, which are in [-1, 1] here.
    exploration_noise: Annotated[float, Range(0)] = 0.2
    # Updates of the critics for each update of the policy and of all targets.
    policy_period: Annotated[int, Range(1)] = 1
    # Standard deviation of the noise on the target policy's action.
    target_noise: Annotated[float, Range(0)] = 0.0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Lillicrap et al. 2015 (1509.02971), section 7: without its weight decay and wandering noise.
        'mujoco': {
            'hidden_sizes': (400, 300), 'random_steps': 0, 'exploration_noise': 0.2,
            'discount': 0.99, 'policy_learning_rate': 1e-4, 'critic_learning_rate': 1e-3,
            'target_rate': 0.001, 'batch_size': 64, 'samples_per_insert': 64.0,
        },
    }  # fmt: skip
