"""The settings of a network of policy and value, which agents with one share."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated
from typing import Literal

from culmen.components.networks.actor_critic import ActorCriticNetwork
from culmen.components.networks.actor_critic import Values
from culmen.components.networks.actor_critic import make_actor_critic_network
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class ActorCriticSettings:
    """Settings of a network of policy and value. The defaults are for small tasks."""

    # Network.
    # Units of each layer of the MLP; unused where an image is observed.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (64, 64)
    activation: Literal['relu', 'tanh'] = 'tanh'  # of the MLP
    torso: Literal['auto', 'resnet'] = 'auto'  # auto: by the observation; resnet: IMPALA's, deep
    shared_torso: bool = False  # shared by policy and value; with a core it always is
    core: Literal['none', 'lstm', 'gru'] = 'none'  # memory between torso and heads
    core_size: Annotated[int, Range(1)] = 128  # units of the core
    # Log standard deviation of continuous actions, which are in [-1, 1] here.
    initial_log_scale: float = 0.0
    # Names of fields of the observation that only the value is made from, and not the policy.
    critic_observation: tuple[str, ...] = ()
    # Whether the network is told which environment a lane has, where there are several.
    task_input: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    def make_network(
        self, agent: str, spec: EnvironmentSpec, values: Values = 'one'
    ) -> ActorCriticNetwork:
        """The network of these settings. Args: as for `make_actor_critic_network`."""
        names = [field.name for field in dataclasses.fields(ActorCriticSettings)]
        settings = {name: getattr(self, name) for name in names}
        return make_actor_critic_network(agent, spec, **settings, values=values)
