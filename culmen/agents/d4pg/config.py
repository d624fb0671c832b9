"""The settings of D4PG."""

from dataclasses import dataclass
from typing import Any
from typing import ClassVar

from culmen.core.checks import check_range
from culmen.core.checks import check_types
from culmen.core.checks import is_traced


@dataclass(frozen=True)
class D4PGConfig:
    """Settings of D4PG. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    hidden_sizes: tuple[int, ...] = (128, 128)  # units a layer, of the policy and of the critic
    layer_norm: bool = True  # whether the first layer of each is normalised
    num_atoms: int = 51  # of the critic's distribution, at least 2
    v_min: float = -150.0  # the least atom: of discounted returns
    v_max: float = 150.0  # the greatest atom, above v_min

    # Acting.
    random_steps: int = 1_000  # actor steps of uniformly random actions at first, at least 0
    exploration_noise: float = 0.3  # standard deviation where actions are in [-1, 1], at least 0

    # Learning.
    discount: float = 0.99  # a step, in [0, 1]
    n_step: int = 5  # rewards before the bootstrap, at least 1
    policy_learning_rate: float = 5e-4  # above 0
    critic_learning_rate: float = 5e-4  # above 0
    target_update_period: int = 100  # updates between copies to the target networks, at least 1
    max_gradient_norm: float | None = None  # global norm, of each network; None: not clipped

    # Experience.
    batch_size: int = 128  # windows an update
    replay_capacity: int = 1_000_000  # windows
    min_replay_size: int = 1_000  # windows before the first update
    samples_per_insert: float = 128.0  # draws a window on average: here an update a step
    priority_exponent: float = 0.0  # 0: uniform replay, 1: proportional to the error
    importance_exponent: float = 0.4  # correction of prioritised draws, in [0, 1]

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
        check_types(self)
        for size in self.hidden_sizes:
            check_range('hidden_sizes', size, 1)
        check_range('num_atoms', self.num_atoms, 2)
        if not is_traced(self.v_min):
            check_range('v_max', self.v_max, self.v_min, open_low=True)
        for name in ('discount', 'importance_exponent'):
            check_range(name, getattr(self, name), 0, 1)
        for name in ('random_steps', 'exploration_noise', 'priority_exponent'):
            check_range(name, getattr(self, name), 0)
        for name in ('n_step', 'target_update_period', 'batch_size', 'replay_capacity'):
            check_range(name, getattr(self, name), 1)
        for name in ('policy_learning_rate', 'critic_learning_rate', 'max_gradient_norm',
                     'samples_per_insert'):  # fmt: skip
            check_range(name, getattr(self, name), 0, open_low=True)
        check_range('min_replay_size', self.min_replay_size, 0, self.replay_capacity)
