"""The settings of QR-DQN."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.components.values import ValueSettings
from culmen.core.checks import Range


@dataclass(frozen=True)
class QRDQNConfig(ValueSettings):
    """Settings of QR-DQN. The defaults are for small tasks; `presets` holds the paper's."""

    # Distribution.
    num_quantiles: Annotated[int, Range(1)] = 51  # of each action
    # Error at which the loss turns linear; 0: absolute errors.
    huber_kappa: Annotated[float, Range(0)] = 1.0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Dabney et al. 2018, section 5.2; what it does not name is the Nature paper's.
        'atari': {
            'n_step': 1, 'double': False, 'discount': 0.99, 'num_quantiles': 200,
            'huber_kappa': 1.0, 'epsilon_initial': 1.0, 'epsilon': 0.01,
            'epsilon_decay_steps': 250_000, 'evaluation_epsilon': 0.001, 'learning_rate': 5e-5,
            'optimizer': 'adam', 'optimizer_epsilon': 0.01 / 32, 'reward_clip': 1.0,
            'target_update_period': 10_000, 'batch_size': 32, 'replay_capacity': 1_000_000,
            'min_replay_size': 50_000, 'samples_per_insert': 8.0,
        },
        # Young and Tian 2019 (1903.03176), section 4: DQN's settings there.
        'minatar': {
            'n_step': 1, 'double': False, 'epsilon_initial': 1.0, 'epsilon': 0.1,
            'epsilon_decay_steps': 100_000, 'learning_rate': 2.5e-4, 'optimizer_epsilon': 0.01 / 32,
            'target_update_period': 1_000, 'batch_size': 32, 'replay_capacity': 100_000,
            'min_replay_size': 5_000, 'samples_per_insert': 32.0,
        },
    }  # fmt: skip
