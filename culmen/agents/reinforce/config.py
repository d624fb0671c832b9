"""The settings of REINFORCE."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar

from culmen.components.networks import ActorCriticSettings
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range


@dataclass(frozen=True)
class REINFORCEConfig(ActorCriticSettings):
    """Settings of REINFORCE. The defaults are for small tasks."""

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    baseline: bool = True  # whether a learned state value is subtracted from returns
    # Whether step t of an episode counts discount ** t times, as in the gradient of the first return.
    discounted_steps: bool = False
    # Whether returns less the baseline are shifted and scaled to mean 0 and deviation 1 in each batch.
    normalise_advantages: bool = False
    value_cost: Annotated[float, Range(0)] = 0.5  # weight of the baseline's loss
    entropy_cost: Annotated[float, Range(0)] = 0.03  # weight of the policy's entropy
    learning_rate: Annotated[float, POSITIVE] = 3e-3  # step size of the optimiser
    # Actor steps over which the learning rate falls linearly to 0; None: it is constant.
    learning_rate_decay_steps: Annotated[int | None, Range(1)] = None
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-5  # added to the second moment's root
    max_gradient_norm: Annotated[float | None, POSITIVE] = 0.5  # global norm; None: not clipped

    # Experience.
    # Steps of the longest episode. A longer one is cut into pieces with one lane, and refused with several.
    episode_length: Annotated[int, Range(1)] = 500
    batch_size: Annotated[int, Range(1)] = 4  # episodes per update

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Sutton and Barto 2018, page 328: the algorithm without a baseline, an episode an update.
        'plain': {
            'baseline': False, 'discounted_steps': True, 'entropy_cost': 0.0, 'batch_size': 1,
            'max_gradient_norm': None,
        },
    }  # fmt: skip
