"""The settings of SAC."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.errors import SettingError

# Twenty updates of the critics a step, and one of the policy.
_OF_MANY_UPDATES: dict[str, Any] = {
    'hidden_sizes': (256, 256), 'policy_value': 'mean', 'random_steps': 5_000, 'learning_rate': 3e-4,
    'policy_period': 20, 'batch_size': 256, 'min_replay_size': 5_000, 'samples_per_insert': 5120.0,
}  # fmt: skip

# Fields of the critics of continuous actions, with what they are where an action is one choice.
_OF_BOXES: dict[str, Any] = {
    'critic_hidden_sizes': None, 'network': 'mlp', 'critic_layer_norm': False, 'dropout_rate': None,
    'num_target_critics': None, 'num_quantiles': None, 'policy_value': 'least',
}  # fmt: skip


@dataclass(frozen=True)
class SACConfig:
    """Settings of SAC. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    # Units of each layer of the policy and of each critic.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (128, 128)
    # Units of each layer of the critics; None: those of `hidden_sizes`.
    critic_hidden_sizes: Annotated[tuple[int, ...] | None, Range(1)] = None
    # 'simba': a residual block with layer norms for each of the sizes, which are all the same.
    network: Literal['mlp', 'simba'] = 'mlp'
    layer_norm: bool = False  # whether the first layer of policy and critics is normalised
    critic_layer_norm: bool = False  # whether every hidden layer of the critics is normalised
    # Probability with which the critics drop a hidden unit in learning; None: never.
    dropout_rate: Annotated[float | None, Range(0, 1, open_high=True)] = None
    # Whether observations are normalised by their running mean and deviation.
    normalise_observations: bool = False
    encoder_channels: Annotated[tuple[int, ...], Range(1)] = (32, 32, 32, 32)  # of the convolutions
    # Names of fields of the observation that only the critics see, and not the policy.
    critic_observation: tuple[str, ...] = ()

    # Critics.
    num_critics: Annotated[int, Range(1)] = 2  # of the ensemble
    # Critics that are drawn for the target of an update, which is the least of them; None: all.
    num_target_critics: Annotated[int | None, Range(1, 'num_critics')] = None
    # Quantiles of the return that each critic gives; None: it gives the value.
    num_quantiles: Annotated[int | None, Range(1)] = None
    # Of each critic's, the largest of all that the target leaves out, where there are quantiles.
    dropped_quantiles: Annotated[int, Range(0)] = 2
    policy_value: Literal['least', 'mean'] = 'least'  # of the critics, which the policy climbs

    # Acting.
    # Actions are uniformly random until all actors have taken so many steps.
    random_steps: Annotated[int, Range(0)] = 1_000

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # of policy, critics and temperature
    # Decay of weights a step, times the learning rate, of policy and critics; None: Adam without it.
    weight_decay: Annotated[float | None, Range(0)] = None
    # Updates of the critics for each update of the policy and of the temperature.
    policy_period: Annotated[int, Range(1)] = 1
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
        # Chen et al. 2021 (2101.05982), appendix B, table 2; the target entropy is the environment's there.
        'redq': {
            **_OF_MANY_UPDATES, 'num_critics': 10, 'num_target_critics': 2,
        },
        # Hiraoka et al. 2022 (2110.02034), appendix A; a rate of dropout for Hopper and Ant, 0.01 too.
        'droq': {
            **_OF_MANY_UPDATES, 'num_critics': 2, 'dropout_rate': 0.01, 'critic_layer_norm': True,
        },
        # Kuznetsov et al. 2020 (2005.04269), appendix B, table 3.
        'tqc': {
            'hidden_sizes': (256, 256), 'critic_hidden_sizes': (512, 512, 512), 'num_critics': 5,
            'num_quantiles': 25, 'dropped_quantiles': 2, 'policy_value': 'mean',
            'random_steps': 10_000, 'learning_rate': 3e-4, 'batch_size': 256,
            'min_replay_size': 10_000, 'samples_per_insert': 256.0,
        },
        # Lee et al. 2024 (2410.09754), appendix, for dm_control with actions that last 2 steps.
        'simba': {
            'network': 'simba', 'hidden_sizes': (128,), 'critic_hidden_sizes': (512, 512),
            'normalise_observations': True, 'num_critics': 1, 'random_steps': 5_000,
            'learning_rate': 1e-4, 'weight_decay': 1e-2, 'initial_temperature': 0.01,
            'batch_size': 256, 'min_replay_size': 5_000, 'samples_per_insert': 512.0,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self)
        if self.target_entropy_share is not None and self.target_entropy is not None:
            raise SettingError(
                'target_entropy_share must be None where target_entropy is given, '
                f'got {self.target_entropy_share}.'
            )
        if self.num_quantiles is not None:
            if self.dropped_quantiles >= self.num_quantiles:
                raise SettingError(
                    f'dropped_quantiles must be below num_quantiles, {self.num_quantiles}, '
                    f'got {self.dropped_quantiles}.'
                )
            if self.num_target_critics is not None:
                raise SettingError(
                    'num_target_critics must be None where num_quantiles is given, whose target is of all '
                    f'critics, got {self.num_target_critics}.'
                )
        norms = (self.layer_norm, self.critic_layer_norm, self.dropout_rate is not None)
        if self.network == 'simba':
            if any(norms):
                raise SettingError(
                    "layer_norm, critic_layer_norm and dropout_rate need the network 'mlp', got 'simba'."
                )
            for name in ('hidden_sizes', 'critic_hidden_sizes'):
                sizes = getattr(self, name)
                if sizes is not None and len(set(sizes)) != 1:
                    raise SettingError(f"{name} must be equal where network='simba', got {sizes}.")
        if self.layer_norm and any(norms[1:]):
            raise SettingError(
                'layer_norm must be False where critic_layer_norm or dropout_rate is given, got True.'
            )


def check_choices(config: SACConfig) -> None:
    """Refuses what the critics of one choice have not. Raises: SettingError."""
    for name, value in _OF_BOXES.items():
        given = getattr(config, name)
        if given != value:
            raise SettingError(
                f'{name} must be {value!r} where an action is one choice, got {given!r}.'
            )
