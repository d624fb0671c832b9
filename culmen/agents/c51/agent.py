"""C51: network, policy, learning and experience, joined."""

import functools
from dataclasses import dataclass

import jax

from culmen.agents.c51.config import C51Config
from culmen.agents.c51.learning import loss
from culmen.agents.c51.learning import support
from culmen.components import updates
from culmen.components import values
from culmen.components.networks import make_action_value_network
from culmen.components.networks import noisy_dense
from culmen.components.networks import num_discrete_actions
from culmen.core.agent import Parts
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Nest
from culmen.core.types import Params


@dataclass(frozen=True)
class C51(C51Config):
    """Categorical DQN for discrete actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        network = make_action_value_network(
            spec, num_discrete_actions(type(self).__name__, spec), self.hidden_sizes, self.dueling,
            num_outputs=self.num_atoms, dense=noisy_dense(self.noise, self.noise_sigma),
        )  # fmt: skip

        def action_values(params: Params, observation: Nest) -> jax.Array:
            # Algorithm 1: an action's value is the mean of its distribution.
            return jax.nn.softmax(network.apply(params, observation)) @ support(self)

        of_sample = functools.partial(loss, network=network, config=self)
        learner = values.make_learner(network, of_sample, self)
        return values.join(self, action_values, learner._replace(warning=updates.support_warning))
