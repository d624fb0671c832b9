"""The settings of D4PG."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.core.checks import FINITE
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import above
from culmen.core.checks import check_fields


@dataclass(frozen=True)
class D4PGConfig:
    """Settings of D4PG. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    # Units of each layer of the policy and of the critic.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (128, 128)
    layer_norm: bool = True  # whether the first layer of policy and critic is normalised
    num_atoms: Annotated[int, Range(2)] = 51  # of the critic's distribution
    v_min: Annotated[float, FINITE] = -150.0  # the least atom, a discounted return
    v_max: Annotated[float, above('v_min')] = 150.0  # the greatest atom
    # Names of fields of the observation that only the critic sees, and not the policy.
    critic_observation: tuple[str, ...] = ()

    # Acting.
    # Actions are uniformly random until all actors have taken so many steps.
    random_steps: Annotated[int, Range(0)] = 1_000
    # Standard deviation of the noise on actions, which are in [-1, 1] here.
    exploration_noise: Annotated[float, Range(0)] = 0.3

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    n_step: Annotated[int, Range(1)] = 5  # rewards before the bootstrap
    policy_learning_rate: Annotated[float, POSITIVE] = 5e-4  # of the policy's Adam
    critic_learning_rate: Annotated[float, POSITIVE] = 5e-4  # of the critic's Adam
    # Updates between copies to the target networks.
    target_update_period: Annotated[int, Range(1)] = 100
    # Global norm to which the gradients of each network are clipped; None: not at all.
    max_gradient_norm: Annotated[float | None, POSITIVE] = None

    # Experience.
    batch_size: Annotated[int, Range(1)] = 128  # windows per update
    replay_capacity: Annotated[int, Range(1)] = 1_000_000  # windows
    # Windows in the replay before the first update.
    min_replay_size: Annotated[int, Range(0, 'replay_capacity')] = 1_000
    # How often a window is drawn on average; the default makes an update a step.
    samples_per_insert: Annotated[float, POSITIVE] = 128.0
    # Windows are drawn in proportion to error ** exponent; 0: uniformly.
    priority_exponent: Annotated[float, Range(0)] = 0.0
    importance_exponent: Annotated[float, Range(0, 1)] = 0.4  # importance correction; 1: full

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Barth-Maron et al. 2018 (1804.08617), section 4 and appendix.
        'control': {
            'hidden_sizes': (400, 300), 'exploration_noise': 0.3, 'discount': 0.99, 'n_step': 5,
            'policy_learning_rate': 1e-4, 'critic_learning_rate': 1e-4, 'target_update_period': 100,
            'batch_size': 256, 'replay_capacity': 1_000_000, 'samples_per_insert': 256.0,
            'num_atoms': 51,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self)
