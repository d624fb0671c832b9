"""Networks of action values."""

from collections.abc import Sequence

import jax
from dm_env import specs

from culmen.components.networks.base import Network
from culmen.components.networks.base import make_network
from culmen.components.networks.heads import DuelingHead
from culmen.components.networks.heads import ValueHead
from culmen.components.networks.torsos import make_torso
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import without_legal_actions
from culmen.core.types import Nest


def num_discrete_actions(agent: str, spec: EnvironmentSpec) -> int:
    """The number of actions of a discrete environment.

    Raises: ValueError that names the agent where the action is anything else.
    """
    if not isinstance(spec.action, specs.DiscreteArray):
        raise ValueError(f'{agent} needs a discrete action (a DiscreteArray), got {spec.action!r}.')
    return int(spec.action.num_values)


def make_action_value_network(
    spec: EnvironmentSpec,
    num_actions: int,
    hidden_sizes: Sequence[int] = (64, 64),
    dueling: bool = False,
) -> Network:
    """A network of action values whose torso follows the observation.

    Args:
        spec: of the environment.
        num_actions: of the discrete action.
        hidden_sizes: of the MLP, where the observation is no image.
        dueling: whether the head splits state value and advantages.
    Returns: a network: observation [B, ...] -> float32[B, num_actions].
    """

    def forward(observation: Nest) -> jax.Array:
        torso = make_torso(without_legal_actions(spec.observation), hidden_sizes)
        features = torso(without_legal_actions(observation))
        if dueling:
            return DuelingHead(num_actions, features.shape[-1])(features)
        return ValueHead(num_actions)(features)

    return make_network(forward, spec)
