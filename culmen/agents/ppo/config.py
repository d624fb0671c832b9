"""The settings of PPO."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.components.networks import ActorCriticSettings
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range


@dataclass(frozen=True)
class PPOConfig(ActorCriticSettings):
    """Settings of PPO. The defaults are for small tasks; `presets` holds the paper's."""

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    lambda_: Annotated[float, Range(0, 1)] = 0.95  # of the generalised advantages
    # Ratios further than this from 1 gain nothing more.
    clip_epsilon: Annotated[float, POSITIVE] = 0.2
    # How far values may move from those at acting time; None: any distance.
    value_clip_epsilon: Annotated[float | None, POSITIVE] = None
    value_cost: Annotated[float, Range(0)] = 0.5  # weight of the value's loss
    entropy_cost: Annotated[float, Range(0)] = 0.0  # weight of the policy's entropy
    normalise_advantages: bool = True  # to mean 0 and deviation 1 in each minibatch
    num_epochs: Annotated[int, Range(1)] = 10  # passes over a batch
    # Minibatches of an epoch, each with as many steps (with a core: windows).
    num_minibatches: Annotated[int, Range(1)] = 4
    # KL divergence from the old policy that ends the epochs of a batch; None: no limit.
    target_kl: Annotated[float | None, POSITIVE] = None
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # step size of the optimiser
    # Actor steps over which the learning rate falls linearly to 0; None: it is constant.
    learning_rate_decay_steps: Annotated[int | None, Range(1)] = None
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-5  # added to the second moment's root
    max_gradient_norm: Annotated[float | None, POSITIVE] = 0.5  # global norm; None: not clipped

    # Experience.
    unroll_length: Annotated[int, Range(1)] = 64  # steps per window
    # Windows per update, a multiple of the lanes; None: one of every lane.
    batch_size: Annotated[int | None, Range(1)] = 8

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
