"""The settings of Rainbow."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.agents.c51 import C51Config
from culmen.agents.iqn import IQNConfig
from culmen.components.networks import Noise
from culmen.components.values import ValueSettings
from culmen.core.checks import FINITE
from culmen.core.checks import Range
from culmen.core.checks import above
from culmen.core.errors import SettingError


@dataclass(frozen=True)
class RainbowConfig(ValueSettings):
    """Settings of Rainbow. The defaults are for small tasks; `presets` holds the papers', and supports."""

    # Distribution.
    head: Literal['c51', 'iqn'] = 'c51'  # what learns it
    num_atoms: Annotated[int, Range(2)] = 51  # of C51's support
    v_min: Annotated[float, FINITE] = -10.0  # the least return that it holds; lower ones move to it
    v_max: Annotated[float, above('v_min')] = 10.0  # the greatest
    embedding_size: Annotated[int, Range(1)] = 64  # cosines of a fraction of IQN
    num_fractions: Annotated[int, Range(1)] = 8  # drawn for the prediction, N
    num_target_fractions: Annotated[int, Range(1)] = 8  # drawn for the target, N'
    num_policy_fractions: Annotated[int, Range(1)] = 32  # drawn for an action's value, K

    dueling: bool = True  # whether the head splits value and advantages
    # Learned noise on the weights of all dense layers, drawn anew for each action and each update.
    noise: Noise = 'factorised'
    epsilon: Annotated[float, Range(0, 1)] = 0.0  # final probability of a random action
    epsilon_initial: Annotated[float, Range(0, 1)] = 0.0  # the probability at the first step
    epsilon_decay_steps: Annotated[int, Range(0)] = 0  # actor steps from initial to final
    n_step: Annotated[int, Range(1)] = 3  # rewards before the bootstrap
    # Windows are drawn in proportion to error ** exponent; 0: uniformly.
    priority_exponent: Annotated[float, Range(0)] = 0.5
    # Actor steps in which the importance exponent rises to 1; None: it stays.
    importance_anneal_steps: Annotated[int | None, Range(1)] = 100_000

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Hessel et al. 2018, table 1, in steps of four frames.
        'atari': {
            'n_step': 3, 'discount': 0.99, 'num_atoms': 51, 'v_min': -10.0, 'v_max': 10.0,
            'noise_sigma': 0.5, 'learning_rate': 6.25e-5, 'optimizer': 'adam',
            'optimizer_epsilon': 1.5e-4, 'reward_clip': 1.0, 'target_update_period': 2_000,
            'batch_size': 32, 'replay_capacity': 1_000_000, 'min_replay_size': 20_000,
            'samples_per_insert': 8.0, 'priority_exponent': 0.5, 'importance_exponent': 0.4,
            'importance_anneal_steps': 50_000_000,
        },
        # van Hasselt et al. 2019 (1906.05243), appendix E: data-efficient Rainbow.
        'atari_100k': {
            'n_step': 20, 'discount': 0.99, 'num_atoms': 51, 'v_min': -10.0, 'v_max': 10.0,
            'noise_sigma': 0.1, 'learning_rate': 1e-4, 'optimizer': 'adam',
            'optimizer_epsilon': 1.5e-4, 'max_gradient_norm': 10.0, 'reward_clip': 1.0,
            'target_update_period': 2_000, 'batch_size': 32, 'replay_capacity': 100_000,
            'min_replay_size': 1_600, 'samples_per_insert': 32.0, 'priority_exponent': 0.5,
            'importance_exponent': 0.4, 'importance_anneal_steps': 100_000,
        },
        # Returns of catch and of tasks like it.
        'unit': {'v_min': -1.0, 'v_max': 1.0},
        # A reward of 1 a step, discounted by 0.99: at most 100.
        'cartpole': {'v_min': 0.0, 'v_max': 100.0},
        'minatar': {
            'v_min': -10.0, 'v_max': 10.0, 'learning_rate': 2.5e-4, 'optimizer_epsilon': 1.5e-4,
            'target_update_period': 1_000, 'batch_size': 32, 'replay_capacity': 100_000,
            'min_replay_size': 5_000, 'samples_per_insert': 32.0, 'importance_anneal_steps': 500_000,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {field.name: field.default for field in dataclasses.fields(RainbowConfig)}
        other = IQNConfig if self.head == 'c51' else C51Config
        for field in dataclasses.fields(other):
            name = field.name
            if name in known and name not in _SHARED and getattr(self, name) != known[name]:
                raise SettingError(
                    f'{name} must be left at {known[name]} where head is {self.head!r}, '
                    f'got {getattr(self, name)}.'
                )


_SHARED = {field.name for field in dataclasses.fields(ValueSettings)}
