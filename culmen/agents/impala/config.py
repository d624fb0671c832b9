"""The settings of IMPALA and A2C."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.components.networks import ActorCriticSettings
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range


@dataclass(frozen=True)
class A2CConfig(ActorCriticSettings):
    """Settings of A2C, which are IMPALA's too. The defaults are for small tasks."""

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    # Mix of bootstraps: 0 after one step, 1 after the whole unroll.
    lambda_: Annotated[float, Range(0, 1)] = 1.0
    value_cost: Annotated[float, Range(0)] = 0.5  # weight of the value's loss
    entropy_cost: Annotated[float, Range(0)] = 0.01  # weight of the policy's entropy
    # Rewards are clipped to [-clip, clip]; None: not at all.
    reward_clip: Annotated[float | None, POSITIVE] = None
    # PopArt: values are learned in units of their targets, of each task where there are several. By this
    # part of the way the statistics move to the targets of an update; None: values are returns.
    pop_art_rate: Annotated[float | None, Range(0, 1, open_low=True)] = None
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # step size of the optimiser
    # Actor steps over which the learning rate falls linearly to 0; None: it is constant.
    learning_rate_decay_steps: Annotated[int | None, Range(1)] = None
    optimizer: Literal['adam', 'rmsprop'] = 'adam'  # rmsprop: the papers'
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-5  # added to the second moment's root
    rmsprop_decay: Annotated[float, Range(0, 1, open_high=True)] = 0.99  # of the second moment
    max_gradient_norm: Annotated[float | None, POSITIVE] = 0.5  # global norm; None: not clipped

    # Experience.
    unroll_length: Annotated[int, Range(1)] = 32  # steps per window
    # Windows per update; None: one of every lane.
    batch_size: Annotated[int | None, Range(1)] = None


@dataclass(frozen=True)
class IMPALAConfig(A2CConfig):
    """Settings of IMPALA: those of A2C, the off-policy correction and the bounds on staleness."""

    # Off-policy correction.
    # Upper clip of the ratios in the value's targets; None: not clipped.
    clip_rho_threshold: Annotated[float | None, POSITIVE] = 1.0
    # Upper clip of the ratios in the policy gradient; None: not clipped.
    clip_pg_rho_threshold: Annotated[float | None, POSITIVE] = 1.0
    # How many updates old acting parameters may be; None: any number.
    max_staleness: Annotated[int | None, Range(0)] = None
    # Batches that the Queue holds at most; when it is full, the actors of a program wait.
    max_queue_size: Annotated[int, Range(1)] = 2

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Espeholt et al. 2018, tables D.1 and D.3 (the shallow model is `torso` auto), steps of four frames.
        'atari': {
            'torso': 'resnet', 'shared_torso': True, 'discount': 0.99, 'lambda_': 1.0,
            'value_cost': 0.5, 'entropy_cost': 0.01, 'reward_clip': 1.0, 'learning_rate': 6e-4,
            'learning_rate_decay_steps': 50_000_000, 'optimizer': 'rmsprop',
            'optimizer_epsilon': 0.01, 'rmsprop_decay': 0.99, 'max_gradient_norm': 40.0,
            'unroll_length': 20, 'batch_size': 32,
        },
        # Several small environments in one run: Hessel et al. 2018 (1809.04474), for few steps.
        'tasks': {
            'shared_torso': True, 'task_input': True, 'pop_art_rate': 0.01, 'lambda_': 0.95,
            'unroll_length': 20,
        },
    }  # fmt: skip
