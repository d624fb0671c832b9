"""The settings of IQN."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.components.networks import Risk
from culmen.components.values import MunchausenSettings
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.errors import SettingError


@dataclass(frozen=True)
class IQNConfig(MunchausenSettings):
    """Settings of IQN. The defaults are for small tasks; `presets` holds the papers'."""

    # Distribution.
    embedding_size: Annotated[int, Range(1)] = 64  # cosines of a fraction
    num_fractions: Annotated[int, Range(1)] = 8  # drawn for the prediction, N
    num_target_fractions: Annotated[int, Range(1)] = 8  # drawn for the target, N'
    num_policy_fractions: Annotated[int, Range(1)] = 32  # drawn for an action's value, K
    # Error at which the loss turns linear; 0: absolute errors.
    huber_kappa: Annotated[float, Range(0)] = 1.0
    # Distortion of the fractions by which actions are chosen.
    risk: Risk = 'neutral'
    # Of the distortion, such as the share of cvar; 'neutral' has none.
    risk_level: float | None = None

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Dabney et al. 2018, section 4 and appendix; what it does not name is QR-DQN's.
        'atari': {
            'n_step': 1, 'double': False, 'discount': 0.99, 'num_fractions': 64,
            'num_target_fractions': 64, 'num_policy_fractions': 32, 'epsilon_initial': 1.0,
            'epsilon': 0.01, 'epsilon_decay_steps': 250_000, 'evaluation_epsilon': 0.001,
            'learning_rate': 5e-5, 'optimizer': 'adam', 'optimizer_epsilon': 0.01 / 32,
            'reward_clip': 1.0, 'target_update_period': 10_000, 'batch_size': 32,
            'replay_capacity': 1_000_000, 'min_replay_size': 50_000, 'samples_per_insert': 8.0,
        },
        # Young and Tian 2019 (1903.03176), section 4: DQN's settings there.
        'minatar': {
            'n_step': 1, 'double': False, 'epsilon_initial': 1.0, 'epsilon': 0.1,
            'epsilon_decay_steps': 100_000, 'learning_rate': 2.5e-4, 'optimizer_epsilon': 0.01 / 32,
            'target_update_period': 1_000, 'batch_size': 32, 'replay_capacity': 100_000,
            'min_replay_size': 5_000, 'samples_per_insert': 32.0,
        },
        # Vieillard et al. 2020 (2007.14430), table 2 for the loss; one reward before the bootstrap.
        'munchausen': {
            'munchausen': 0.9, 'temperature': 0.03, 'log_policy_clip': -1.0, 'double': False,
            'n_step': 1,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.risk == 'neutral') != (self.risk_level is None):
            raise SettingError(
                f'risk_level must be {"None" if self.risk == "neutral" else "a number"} '
                f'where risk is {self.risk!r}, got {self.risk_level}.'
            )
        Range(0, 1, open_low=True).check(
            'risk_level', self.risk_level if self.risk == 'cvar' else None
        )
        POSITIVE.check('risk_level', self.risk_level if self.risk == 'cpw' else None)
        if self.munchausen is not None and self.risk != 'neutral':
            raise SettingError(
                f"risk must be 'neutral' with munchausen, whose policy is soft, got {self.risk!r}."
            )
