"""IQN: network, policy, learning and experience, joined."""

import functools
from dataclasses import dataclass

import jax

from culmen.agents.iqn.config import IQNConfig
from culmen.agents.iqn.learning import loss
from culmen.agents.iqn.learning import mean_of_policy
from culmen.components import values
from culmen.components.networks import make_quantile_network
from culmen.components.networks import noisy_dense
from culmen.components.networks import num_discrete_actions
from culmen.core.agent import Parts
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Nest
from culmen.core.types import Params


@dataclass(frozen=True)
class IQN(IQNConfig):
    """Implicit quantile networks for discrete actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        network = make_quantile_network(
            spec, num_discrete_actions(type(self).__name__, spec), self.hidden_sizes, self.dueling,
            embedding_size=self.embedding_size, dense=noisy_dense(self.noise, self.noise_sigma),
        )  # fmt: skip

        def action_values(params: Params, observation: Nest, is_noisy: bool = True) -> jax.Array:
            return mean_of_policy(params, observation, network, self, is_noisy=is_noisy)

        of_sample = functools.partial(loss, network=network, config=self)
        return values.join(
            self,
            action_values,
            values.make_learner(network, of_sample, self),
            draws=True,  # Fractions are drawn in evaluations, too.
            evaluation_values=functools.partial(action_values, is_noisy=self.evaluation_noise),
        )
