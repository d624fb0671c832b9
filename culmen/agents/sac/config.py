"""The settings of SAC."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.errors import SettingError


@dataclass(frozen=True)
class SACConfig:
    """Settings of SAC. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    # Units of each layer of the policy and of each critic.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (128, 128)
    layer_norm: bool = False  # whether the first layer of policy and critics is normalised
    encoder_channels: Annotated[tuple[int, ...], Range(1)] = (32, 32, 32, 32)  # of the convolutions
    # Names of fields of the observation that only the critics see, and not the policy.
    critic_observation: tuple[str, ...] = ()

    # Acting.
    # Actions are uniformly random until all actors have taken so many steps.
    random_steps: Annotated[int, Range(0)] = 1_000

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # of policy, critics and temperature
    # Step of the moving average: target += rate * (critic - target), each update.
    target_rate: Annotated[float, Range(0, 1)] = 0.005
    # Fixed weight of the entropy; None: learned.
    temperature: Annotated[float | None, Range(0)] = None
    initial_temperature: Annotated[float, POSITIVE] = 1.0  # where it is learned
    # In nats, where the temperature is learned; None: minus the dimensions of an action, and of a choice
    # `target_entropy_share`.
    target_entropy: float | None = None
    # Of a choice, a share of the entropy of uniform legal actions; None: 0.98.
    target_entropy_share: Annotated[float | None, Range(0, 1)] = None
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
        # Haarnoja et al. 2018 (1812.05905), table 1; 10,000 random steps as in its code.
        'mujoco': {
            'hidden_sizes': (256, 256), 'random_steps': 10_000, 'discount': 0.99,
            'learning_rate': 3e-4, 'target_rate': 0.005, 'temperature': None,
            'target_entropy': None, 'batch_size': 256, 'replay_capacity': 1_000_000,
            'min_replay_size': 10_000, 'samples_per_insert': 256.0,
        },
        # Christodoulou 2019 (1910.07207), appendix B, for choices, in steps of four frames.
        'atari': {
            'hidden_sizes': (512,), 'random_steps': 20_000, 'discount': 0.99, 'learning_rate': 3e-4,
            'temperature': None, 'target_entropy': None, 'target_entropy_share': 0.98,
            'batch_size': 64, 'replay_capacity': 1_000_000, 'min_replay_size': 20_000,
            'samples_per_insert': 16.0,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self)
        if self.target_entropy_share is not None and self.target_entropy is not None:
            raise SettingError(
                'target_entropy_share must be None where target_entropy is given, '
                f'got {self.target_entropy_share}.'
            )
