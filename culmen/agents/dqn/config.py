"""The settings of DQN."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields


@dataclass(frozen=True)
class DQNConfig:
    """Settings of DQN. The defaults are for small tasks; `presets` holds the papers'."""

    # Network.
    # Units of each layer of the MLP; unused where an image is observed.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (64, 64)
    dueling: bool = False  # whether the head splits value and advantages

    # Acting.
    epsilon: Annotated[float, Range(0, 1)] = 0.1  # final probability of a random action
    epsilon_initial: Annotated[float, Range(0, 1)] = 1.0  # the probability at the first step
    epsilon_decay_steps: Annotated[int, Range(0)] = 5_000  # actor steps from initial to final
    # Lane i of N has epsilon ** (1 + alpha i / (N - 1)); 0: all alike; 7 in Ape-X.
    epsilon_lane_alpha: Annotated[float, Range(0)] = 0.0
    evaluation_epsilon: Annotated[float, Range(0, 1)] = 0.0  # the probability in evaluations

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    n_step: Annotated[int, Range(1)] = 10  # rewards before the bootstrap
    double: bool = True  # whether the online network selects the bootstrap's action
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # step size of the optimiser
    optimizer: Literal['adam', 'rmsprop'] = 'adam'  # rmsprop: centred, as in the Nature paper
    # Added to the root of Adam's second moment, or under the root of RMSProp's.
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-8
    max_gradient_norm: Annotated[float | None, POSITIVE] = None  # global norm; None: not clipped
    # Error at which the loss turns linear; None: squared error.
    huber_delta: Annotated[float | None, POSITIVE] = 1.0
    # Rewards are clipped to [-clip, clip]; None: not at all.
    reward_clip: Annotated[float | None, POSITIVE] = None
    # Updates between copies to the target network.
    target_update_period: Annotated[int, Range(1)] = 200

    # Experience.
    batch_size: Annotated[int, Range(1)] = 128  # windows per update
    replay_capacity: Annotated[int, Range(1)] = 100_000  # windows
    # Windows in the replay before the first update.
    min_replay_size: Annotated[int, Range(0, 'replay_capacity')] = 1_000
    # How often a window is drawn on average; the default makes an update every other step.
    samples_per_insert: Annotated[float, POSITIVE] = 64.0
    # Windows are drawn in proportion to error ** exponent; 0: uniformly.
    priority_exponent: Annotated[float, Range(0)] = 0.0
    importance_exponent: Annotated[float, Range(0, 1)] = 0.4  # importance correction; 1: full

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Mnih et al. 2015, extended data table 1, in steps of four frames.
        'atari': {
            'n_step': 1, 'double': False, 'discount': 0.99, 'epsilon_initial': 1.0, 'epsilon': 0.1,
            'huber_delta': 1.0, 'max_gradient_norm': None, 'priority_exponent': 0.0,
            'epsilon_decay_steps': 250_000, 'evaluation_epsilon': 0.05, 'learning_rate': 2.5e-4,
            'optimizer': 'rmsprop', 'optimizer_epsilon': 0.01, 'reward_clip': 1.0,
            'target_update_period': 10_000, 'batch_size': 32, 'replay_capacity': 1_000_000,
            'min_replay_size': 50_000, 'samples_per_insert': 8.0,
        },
        # Young and Tian 2019 (1903.03176), section 4: an update a frame.
        'minatar': {
            'n_step': 1, 'double': False, 'discount': 0.99, 'epsilon_initial': 1.0, 'epsilon': 0.1,
            'huber_delta': 1.0, 'max_gradient_norm': None, 'priority_exponent': 0.0,
            'epsilon_decay_steps': 100_000,
            'learning_rate': 2.5e-4, 'optimizer': 'rmsprop', 'optimizer_epsilon': 0.01,
            'target_update_period': 1_000, 'batch_size': 32, 'replay_capacity': 100_000,
            'min_replay_size': 5_000, 'samples_per_insert': 32.0,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self)
