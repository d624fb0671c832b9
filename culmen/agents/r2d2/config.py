"""The settings of R2D2."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields


@dataclass(frozen=True)
class R2D2Config:
    """Settings of R2D2. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    # Units of each layer of the MLP; unused where an image is observed.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (64,)
    core: Literal['lstm', 'gru'] = 'lstm'  # memory between torso and head
    core_size: Annotated[int, Range(1)] = 64  # units of the core
    dueling: bool = True  # whether the head splits value and advantages
    previous_action: bool = True  # whether the core sees the previous action, one-hot
    previous_reward: bool = True  # whether it sees the reward that came with the observation

    # Acting.
    epsilon: Annotated[float, Range(0, 1)] = 0.1  # final probability of a random action
    epsilon_initial: Annotated[float, Range(0, 1)] = 1.0  # the probability at the first step
    epsilon_decay_steps: Annotated[int, Range(0)] = 5_000  # actor steps from initial to final
    # Lane i of N has epsilon ** (1 + alpha i / (N - 1)); 0: all alike.
    epsilon_lane_alpha: Annotated[float, Range(0)] = 7.0
    evaluation_epsilon: Annotated[float, Range(0, 1)] = 0.0  # the probability in evaluations

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    n_step: Annotated[int, Range(1)] = 5  # rewards before the bootstrap
    rescale: bool = True  # whether the network predicts h(value), the signed hyperbolic transform
    learning_rate: Annotated[float, POSITIVE] = 5e-4  # step size of the optimiser
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-5  # added to Adam's denominator
    max_gradient_norm: Annotated[float | None, POSITIVE] = 10.0  # global norm; None: not clipped
    # Updates between copies to the target network.
    target_update_period: Annotated[int, Range(1)] = 200

    # Experience.
    burn_in_length: Annotated[int, Range(0)] = 10  # steps that only update the core's state
    sequence_length: Annotated[int, Range(1)] = 10  # learned steps, after the burn-in
    sequence_period: Annotated[int, Range(1, 'sequence_length')] = 5  # steps between starts
    batch_size: Annotated[int, Range(1)] = 32  # sequences per update
    replay_capacity: Annotated[int, Range(1)] = 10_000  # sequences
    # Sequences in the replay before the first update.
    min_replay_size: Annotated[int, Range(0, 'replay_capacity')] = 100
    samples_per_insert: Annotated[float, POSITIVE] = 16.0  # average draws of a sequence
    # Sequences are drawn in proportion to priority ** exponent; 0: uniformly.
    priority_exponent: Annotated[float, Range(0)] = 0.9
    # A priority is eta max |error| + (1 - eta) mean |error|.
    priority_eta: Annotated[float, Range(0, 1)] = 0.9
    importance_exponent: Annotated[float, Range(0, 1)] = 0.6  # importance correction; 1: full

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Kapturowski et al. 2019, section 2.3 and table 2, in steps of four frames; exploration is Ape-X's.
        'atari': {
            'core_size': 512, 'dueling': True, 'epsilon_initial': 0.4, 'epsilon': 0.4,
            'epsilon_decay_steps': 0, 'epsilon_lane_alpha': 7.0, 'discount': 0.997, 'n_step': 5,
            'rescale': True, 'learning_rate': 1e-4, 'optimizer_epsilon': 1e-3, 'max_gradient_norm': None,
            'target_update_period': 2_500, 'burn_in_length': 40, 'sequence_length': 80, 'sequence_period': 40,
            'batch_size': 64, 'replay_capacity': 100_000, 'min_replay_size': 1_250, 'samples_per_insert': 0.8,
            'priority_exponent': 0.9, 'priority_eta': 0.9, 'importance_exponent': 0.6,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self)
