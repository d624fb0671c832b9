"""The settings of CrossQ."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields


@dataclass(frozen=True)
class CrossQConfig:
    """Settings of CrossQ. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (128, 128)  # units of the policy's layers
    # Units of each critic's layers.
    critic_hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (256, 256)
    num_critics: Annotated[int, Range(1)] = 2  # the target is the least of them
    policy_norm: bool = True  # whether the policy's layers are normalised too
    # Share of the running moments that stays at an update.
    norm_momentum: Annotated[float, Range(0, 1)] = 0.99
    # Updates in which norms take the moments of the batch alone.
    norm_warmup: Annotated[int, Range(0)] = 100_000
    encoder_channels: Annotated[tuple[int, ...], Range(1)] = (32, 32, 32, 32)  # of the convolutions
    # Names of fields of the observation that only the critics see, and not the policy.
    critic_observation: tuple[str, ...] = ()

    # Acting.
    # Actions are uniformly random until all actors have taken so many steps.
    random_steps: Annotated[int, Range(0)] = 1_000

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # of policy, critics and temperature
    adam_b1: Annotated[float, Range(0, 1, open_high=True)] = 0.5  # of policy and critics
    # Updates of the critics for each update of the policy and of the temperature.
    policy_period: Annotated[int, Range(1)] = 3
    initial_temperature: Annotated[float, POSITIVE] = 1.0  # weight of the entropy at first
    # In nats; None: minus the dimensions of an action.
    target_entropy: float | None = None
    # Global norm to which the gradients of each network are clipped; None: not at all.
    max_gradient_norm: Annotated[float | None, POSITIVE] = None
    # Largest random shift of images, in pixels; 0: no shifts.
    augmentation_pad: Annotated[int, Range(0)] = 0

    # Experience.
    batch_size: Annotated[int, Range(1)] = 128  # transitions per update
    replay_capacity: Annotated[int, Range(1)] = 1_000_000  # transitions
    # Transitions in the replay before the first update.
    min_replay_size: Annotated[int, Range(0, 'replay_capacity')] = 1_000
    # How often a transition is drawn on average; the default makes an update a step.
    samples_per_insert: Annotated[float, POSITIVE] = 128.0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Bhatt et al. 2024 (1902.05605), appendix A.1, table of hyperparameters.
        'mujoco': {
            'hidden_sizes': (256, 256), 'critic_hidden_sizes': (2048, 2048), 'random_steps': 5_000,
            'learning_rate': 1e-3, 'adam_b1': 0.5, 'policy_period': 3, 'batch_size': 256,
            'min_replay_size': 5_000, 'samples_per_insert': 256.0,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self)
