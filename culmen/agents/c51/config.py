"""The settings of C51."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.components.values import ValueSettings
from culmen.core.checks import FINITE
from culmen.core.checks import Range
from culmen.core.checks import above


@dataclass(frozen=True)
class C51Config(ValueSettings):
    """Settings of C51. The defaults are for small tasks; `presets` holds the paper's, and supports."""

    # Distribution.
    num_atoms: Annotated[int, Range(2)] = 51  # of the support
    v_min: Annotated[float, FINITE] = -10.0  # the least return that it holds; lower ones move to it
    v_max: Annotated[float, above('v_min')] = 10.0  # the greatest

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Bellemare et al. 2017, section 5 and appendix; what it does not name is the Nature paper's.
        'atari': {
            'n_step': 1, 'double': False, 'discount': 0.99, 'num_atoms': 51, 'v_min': -10.0,
            'v_max': 10.0, 'epsilon_initial': 1.0, 'epsilon': 0.01, 'epsilon_decay_steps': 250_000,
            'evaluation_epsilon': 0.001, 'learning_rate': 2.5e-4, 'optimizer': 'adam',
            'optimizer_epsilon': 0.01 / 32, 'reward_clip': 1.0, 'target_update_period': 10_000,
            'batch_size': 32, 'replay_capacity': 1_000_000, 'min_replay_size': 50_000,
            'samples_per_insert': 8.0,
        },
        # Returns of catch and of tasks like it.
        'unit': {'v_min': -1.0, 'v_max': 1.0},
        # A reward of 1 a step, discounted by 0.99: at most 100.
        'cartpole': {'v_min': 0.0, 'v_max': 100.0},
        # Young and Tian 2019 (1903.03176), section 4: DQN's settings there.
        'minatar': {
            'n_step': 1, 'double': False, 'v_min': -10.0, 'v_max': 10.0, 'epsilon_initial': 1.0,
            'epsilon': 0.1, 'epsilon_decay_steps': 100_000, 'learning_rate': 2.5e-4,
            'optimizer_epsilon': 0.01 / 32, 'target_update_period': 1_000, 'batch_size': 32,
            'replay_capacity': 100_000, 'min_replay_size': 5_000, 'samples_per_insert': 32.0,
        },
    }  # fmt: skip
