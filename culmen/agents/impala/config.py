"""The settings of IMPALA and A2C."""

from dataclasses import dataclass
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.core.checks import check_range
from culmen.core.checks import check_types


@dataclass(frozen=True)
class A2CConfig:
    """Settings of A2C, which are IMPALA's too. The defaults are for small tasks."""

    # Network.
    hidden_sizes: tuple[int, ...] = (64, 64)  # units a layer of the MLP, where no image is observed
    activation: Literal['relu', 'tanh'] = 'tanh'  # of the MLP
    torso: Literal['auto', 'resnet'] = 'auto'  # auto: by the observation; resnet: IMPALA's, deep
    shared_torso: bool = False  # whether policy and value share it; with a core they always do
    core: Literal['none', 'lstm', 'gru'] = 'none'  # memory between torso and heads
    core_size: int = 128  # units of the core

    # Learning.
    discount: float = 0.99  # a step, in [0, 1]
    lambda_: float = 1.0  # mix of bootstraps: 0 one step, 1 the whole unroll, in [0, 1]
    value_cost: float = 0.5  # weight of the value's loss, at least 0
    entropy_cost: float = 0.01  # weight of the policy's entropy, at least 0
    reward_clip: float | None = None  # rewards to [-clip, clip]; None: as they are
    learning_rate: float = 1e-3  # above 0
    learning_rate_decay_steps: int | None = None  # actor steps of a linear fall to 0; None: none
    optimizer: Literal['adam', 'rmsprop'] = 'adam'  # rmsprop: the papers'
    optimizer_epsilon: float = 1e-5  # beside the second moment's root; above 0
    rmsprop_decay: float = 0.99  # of the second moment, in [0, 1)
    max_gradient_norm: float | None = 0.5  # global norm; None: not clipped

    # Experience.
    unroll_length: int = 32  # steps a window
    batch_size: int | None = None  # windows an update; None: one of every lane

    def __post_init__(self) -> None:
        check_types(self)
        for size in self.hidden_sizes:
            check_range('hidden_sizes', size, 1)
        for name in ('discount', 'lambda_'):
            check_range(name, getattr(self, name), 0, 1)
        check_range('rmsprop_decay', self.rmsprop_decay, 0, 1, open_high=True)
        for name in ('value_cost', 'entropy_cost'):
            check_range(name, getattr(self, name), 0)
        for name in ('core_size', 'unroll_length', 'batch_size', 'learning_rate_decay_steps'):
            check_range(name, getattr(self, name), 1)
        for name in ('learning_rate', 'optimizer_epsilon', 'max_gradient_norm', 'reward_clip'):
            check_range(name, getattr(self, name), 0, open_low=True)


@dataclass(frozen=True)
class IMPALAConfig(A2CConfig):
    """Settings of IMPALA: those of A2C, and how far actors may be behind, and what is done about it."""

    # Off-policy correction.
    clip_rho_threshold: float | None = 1.0  # of ratios in the value's targets; None: not clipped
    clip_pg_rho_threshold: float | None = 1.0  # of ratios in the policy gradient; None: not clipped
    max_staleness: int | None = None  # updates that acting parameters may be behind; None: any
    max_queue_size: int = 2  # batches that may wait; then the actors of a program wait

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Espeholt et al. 2018, tables D.1 and D.3 (the shallow model is `torso` auto), steps of four frames.
        'atari': {
            'torso': 'resnet', 'shared_torso': True, 'discount': 0.99, 'lambda_': 1.0,
            'value_cost': 0.5, 'entropy_cost': 0.01, 'reward_clip': 1.0, 'learning_rate': 6e-4,
            'learning_rate_decay_steps': 50_000_000, 'optimizer': 'rmsprop',
            'optimizer_epsilon': 0.01, 'rmsprop_decay': 0.99, 'max_gradient_norm': 40.0,
            'unroll_length': 20, 'batch_size': 32,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ('clip_rho_threshold', 'clip_pg_rho_threshold'):
            check_range(name, getattr(self, name), 0, open_low=True)
        check_range('max_staleness', self.max_staleness, 0)
        check_range('max_queue_size', self.max_queue_size, 1)
