"""QR-DQN: network, policy, learning and experience, joined."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from culmen.agents.qr_dqn.config import QRDQNConfig
from culmen.agents.qr_dqn.learning import loss
from culmen.components import values
from culmen.components.networks import make_action_value_network
from culmen.components.networks import noisy_dense
from culmen.components.networks import num_discrete_actions
from culmen.core.agent import Parts
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Nest
from culmen.core.types import Params


@dataclass(frozen=True)
class QRDQN(QRDQNConfig):
    """Quantile regression DQN for discrete actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        network = make_action_value_network(
            spec, num_discrete_actions('QRDQN', spec), self.hidden_sizes, self.dueling,
            num_outputs=self.num_quantiles, dense=noisy_dense(self.noise, self.noise_sigma),
        )  # fmt: skip

        def action_values(params: Params, observation: Nest) -> jax.Array:
            # Algorithm 1: an action's value is the mean of its quantiles.
            return jnp.mean(network.apply(params, observation), axis=-1)

        of_sample = functools.partial(loss, network=network, config=self)
        return values.join(self, action_values, values.make_learner(network, of_sample, self))
