"""The settings of SAC."""

from dataclasses import dataclass
from typing import Any
from typing import ClassVar

from culmen.core.checks import check_range
from culmen.core.checks import check_types


@dataclass(frozen=True)
class SACConfig:
    """Settings of SAC. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    hidden_sizes: tuple[int, ...] = (128, 128)  # units a layer, of the policy and of each critic
    layer_norm: bool = False  # whether the first layer of each is normalised
    encoder_channels: tuple[int, ...] = (32, 32, 32, 32)  # of each convolution, for images

    # Acting.
    random_steps: int = 1_000  # actor steps of uniformly random actions at first, at least 0

    # Learning.
    discount: float = 0.99  # a step, in [0, 1]
    learning_rate: float = 1e-3  # of policy, critics and temperature; above 0
    target_rate: float = 0.005  # of the target critics towards the critics an update, in [0, 1]
    temperature: float | None = None  # fixed weight of the entropy, at least 0; None: learned
    initial_temperature: float = 1.0  # where it is learned, above 0
    target_entropy: float | None = None  # nats, where it is learned; None: -1 a number of an action
    max_gradient_norm: float | None = None  # global norm, of each network; None: not clipped
    augmentation_pad: int = 0  # pixels by which images are shifted at random; 0: not at all

    # Experience.
    batch_size: int = 128  # transitions an update
    replay_capacity: int = 1_000_000  # transitions
    min_replay_size: int = 1_000  # transitions before the first update
    samples_per_insert: float = 128.0  # draws a transition on average: here an update a step

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Haarnoja et al. 2018 (1812.05905), table 1; 10,000 random steps as in its code.
        'mujoco': {
            'hidden_sizes': (256, 256), 'random_steps': 10_000, 'discount': 0.99,
            'learning_rate': 3e-4, 'target_rate': 0.005, 'temperature': None,
            'target_entropy': None, 'batch_size': 256, 'replay_capacity': 1_000_000,
            'min_replay_size': 10_000, 'samples_per_insert': 256.0,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_types(self)
        for name in ('hidden_sizes', 'encoder_channels'):
            for size in getattr(self, name):
                check_range(name, size, 1)
        for name in ('discount', 'target_rate'):
            check_range(name, getattr(self, name), 0, 1)
        for name in ('random_steps', 'temperature', 'augmentation_pad'):
            check_range(name, getattr(self, name), 0)
        for name in ('batch_size', 'replay_capacity'):
            check_range(name, getattr(self, name), 1)
        for name in (
            'learning_rate',
            'initial_temperature',
            'max_gradient_norm',
            'samples_per_insert',
        ):
            check_range(name, getattr(self, name), 0, open_low=True)
        check_range('min_replay_size', self.min_replay_size, 0, self.replay_capacity)
