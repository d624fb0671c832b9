"""The settings of V-MPO."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.components.networks import ActorCriticSettings
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range


@dataclass(frozen=True)
class VMPOConfig(ActorCriticSettings):
    """Settings of V-MPO. The defaults are for small tasks."""

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    # Mix of bootstraps: 0 after one step, 1 after the whole unroll.
    lambda_: Annotated[float, Range(0, 1)] = 0.95
    # The part of a batch, best advantages first, that the policy learns from.
    top_fraction: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    value_cost: Annotated[float, Range(0)] = 1.0  # weight of the value's loss
    # Updates between copies to the target network, which acts and is the old policy.
    target_update_period: Annotated[int, Range(1)] = 10
    # PopArt: values are learned in units of their targets, of each task where there are several. By this
    # part of the way the statistics move to the targets of an update; None: values are returns.
    pop_art_rate: Annotated[float | None, Range(0, 1, open_low=True)] = None
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # step size of the network's Adam
    # Actor steps over which the learning rate falls linearly to 0; None: it is constant.
    learning_rate_decay_steps: Annotated[int | None, Range(1)] = None
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-5  # added to the second moment's root
    max_gradient_norm: Annotated[float | None, POSITIVE] = 0.5  # global norm; None: not clipped

    # Bounds.
    # How far the weights of the actions may be from even ones.
    epsilon_temperature: Annotated[float, POSITIVE] = 0.1
    epsilon_policy: Annotated[float, POSITIVE] = 0.01  # divergence of choices, in nats
    epsilon_mean: Annotated[float, POSITIVE] = 0.01  # that of the means of boxes
    epsilon_scale: Annotated[float, POSITIVE] = 5e-5  # that of their deviations
    # Whether each dimension of the boxes has these bounds; False: all of them together.
    per_dimension: bool = False
    initial_temperature: Annotated[float, POSITIVE] = 1.0  # in units of advantages
    initial_alpha_policy: Annotated[float, POSITIVE] = 5.0  # multiplier of that bound
    initial_alpha_mean: Annotated[float, POSITIVE] = 1.0  # multiplier of that bound
    initial_alpha_scale: Annotated[float, POSITIVE] = 1.0  # multiplier of that bound
    dual_learning_rate: Annotated[float, POSITIVE] = 1e-2  # of temperature and multipliers' Adam

    # Experience.
    unroll_length: Annotated[int, Range(1)] = 16  # steps per window
    # Windows per update, a multiple of the lanes; None: one of every lane.
    batch_size: Annotated[int | None, Range(1)] = 8

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # For boxes and returns of any size, such as Pendulum's.
        'control': {
            'hidden_sizes': (128, 128), 'discount': 0.95, 'lambda_': 0.8, 'value_cost': 4.0,
            'pop_art_rate': 0.02, 'learning_rate': 3e-3, 'epsilon_temperature': 0.2,
            'epsilon_mean': 0.1, 'epsilon_scale': 1e-3, 'initial_temperature': 0.3,
        },
    }  # fmt: skip
