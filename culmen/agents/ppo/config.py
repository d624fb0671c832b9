"""The settings of PPO."""

from dataclasses import dataclass
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.core.checks import check_range
from culmen.core.checks import check_types


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO. The defaults are for small tasks; `presets` holds the paper's."""

    # Network.
    hidden_sizes: tuple[int, ...] = (64, 64)  # units a layer of the MLP, where no image is observed
    activation: Literal['relu', 'tanh'] = 'tanh'  # of the MLP
    torso: Literal['auto', 'resnet'] = 'auto'  # auto: by the observation; resnet: IMPALA's, deep
    shared_torso: bool = False  # whether policy and value share it; with a core they always do
    core: Literal['none', 'lstm', 'gru'] = 'none'  # memory between torso and heads
    core_size: int = 128  # units of the core
    initial_log_scale: float = 0.0  # of a continuous policy's deviation, in units of the box

    # Learning.
    discount: float = 0.99  # a step, in [0, 1]
    lambda_: float = 0.95  # of the generalised advantages, in [0, 1]
    clip_epsilon: float = 0.2  # how far ratios may gain from leaving 1; above 0
    value_clip_epsilon: float | None = None  # how far values may move; above 0; None: any
    value_cost: float = 0.5  # weight of the value's loss, at least 0
    entropy_cost: float = 0.0  # weight of the policy's entropy, at least 0
    normalise_advantages: bool = True  # to mean 0 and deviation 1 in each minibatch
    num_epochs: int = 10  # times that a batch is gone through
    num_minibatches: int = 4  # of an epoch, each of as many steps (with a core: windows)
    target_kl: float | None = None  # divergence that ends the epochs of a batch; None: none does
    learning_rate: float = 1e-3  # above 0
    learning_rate_decay_steps: int | None = None  # actor steps of a linear fall to 0; None: none
    optimizer_epsilon: float = 1e-5  # beside the second moment's root; above 0
    max_gradient_norm: float | None = 0.5  # global norm; None: not clipped

    # Experience.
    unroll_length: int = 64  # steps a window
    batch_size: int | None = 8  # windows an update, a multiple of the lanes; None: one a lane

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Schulman et al. 2017, table 5: 8 environments; steps of four frames.
        'atari': {
            'shared_torso': True, 'discount': 0.99, 'lambda_': 0.95, 'clip_epsilon': 0.1,
            'value_cost': 1.0, 'entropy_cost': 0.01, 'num_epochs': 3, 'num_minibatches': 4,
            'learning_rate': 2.5e-4, 'learning_rate_decay_steps': 10_000_000, 'unroll_length': 128,
            'batch_size': None,
        },
        # Table 3, and the clip of table 1: one environment, minibatches of 64 steps.
        'mujoco': {
            'discount': 0.99, 'lambda_': 0.95, 'clip_epsilon': 0.2, 'entropy_cost': 0.0,
            'num_epochs': 10, 'num_minibatches': 32, 'learning_rate': 3e-4, 'unroll_length': 2_048,
            'batch_size': None,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_types(self)
        for size in self.hidden_sizes:
            check_range('hidden_sizes', size, 1)
        for name in ('discount', 'lambda_'):
            check_range(name, getattr(self, name), 0, 1)
        for name in ('value_cost', 'entropy_cost'):
            check_range(name, getattr(self, name), 0)
        for name in ('core_size', 'num_epochs', 'num_minibatches', 'learning_rate_decay_steps',
                     'unroll_length', 'batch_size'):  # fmt: skip
            check_range(name, getattr(self, name), 1)
        for name in ('clip_epsilon', 'value_clip_epsilon', 'target_kl', 'learning_rate',
                     'optimizer_epsilon', 'max_gradient_norm'):  # fmt: skip
            check_range(name, getattr(self, name), 0, open_low=True)
