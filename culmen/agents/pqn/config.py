"""The settings of PQN."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields


@dataclass(frozen=True)
class PQNConfig:
    """Settings of PQN. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    # Units of each layer of the MLP; unused where an image is observed.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (128, 128)
    layer_norm: bool = True  # whether each layer is normalised before its activation
    dueling: bool = False  # whether the head splits value and advantages
    core: Literal['none', 'lstm', 'gru'] = 'none'  # memory between torso and head
    core_size: Annotated[int, Range(1)] = 128  # units of the core
    previous_action: bool = True  # whether a core sees the previous action, one-hot
    previous_reward: bool = True  # whether it sees the reward that came with the observation

    # Acting.
    epsilon: Annotated[float, Range(0, 1)] = 0.1  # final probability of a random action
    epsilon_initial: Annotated[float, Range(0, 1)] = 1.0  # the probability at the first step
    epsilon_decay_steps: Annotated[int, Range(0)] = 10_000  # actor steps from initial to final
    evaluation_epsilon: Annotated[float, Range(0, 1)] = 0.0  # the probability in evaluations

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    lambda_: Annotated[float, Range(0, 1)] = 0.95  # of the returns; 0: one-step targets
    num_epochs: Annotated[int, Range(1)] = 4  # passes over a batch
    # Minibatches of an epoch, each with as many steps (with a core: windows).
    num_minibatches: Annotated[int, Range(1)] = 4
    learning_rate: Annotated[float, POSITIVE] = 5e-4  # step size of rectified Adam
    # Actor steps over which the learning rate falls linearly to 0; None: it is constant.
    learning_rate_decay_steps: Annotated[int | None, Range(1)] = None
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-8  # added to the second moment's root
    max_gradient_norm: Annotated[float | None, POSITIVE] = 10.0  # global norm; None: not clipped
    reward_scale: Annotated[float, POSITIVE] = 1.0  # rewards are multiplied by it

    # Experience.
    unroll_length: Annotated[int, Range(1)] = 32  # steps per window
    # Windows per update, a multiple of the lanes; None: one of every lane.
    batch_size: Annotated[int | None, Range(1)] = None

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # purejaxql's settings for CartPole, for 32 lanes and 500,000 steps.
        'cartpole': {
            'hidden_sizes': (128, 128), 'epsilon_initial': 1.0, 'epsilon': 0.2,
            'epsilon_decay_steps': 100_000, 'lambda_': 0.95, 'num_epochs': 4, 'num_minibatches': 16,
            'learning_rate': 1e-4, 'learning_rate_decay_steps': 500_000, 'max_gradient_norm': 10.0,
            'reward_scale': 0.1, 'unroll_length': 64,
        },
        # Gallici et al. 2024, appendix: MinAtar, for 128 lanes and 10,000,000 frames.
        'minatar': {
            'epsilon_initial': 1.0, 'epsilon': 0.05, 'epsilon_decay_steps': 1_000_000,
            'lambda_': 0.65, 'num_epochs': 2, 'num_minibatches': 32, 'learning_rate': 5e-4,
            'learning_rate_decay_steps': 10_000_000, 'max_gradient_norm': 10.0, 'unroll_length': 32,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self)
