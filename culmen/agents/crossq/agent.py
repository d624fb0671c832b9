"""CrossQ: networks, policy, learning and experience, joined."""

from dataclasses import dataclass

import jax

from culmen.agents.crossq.config import CrossQConfig
from culmen.agents.crossq.learning import make_learner
from culmen.components.networks import TanhGaussian
from culmen.components.networks import action_box
from culmen.components.networks import make_renormed_networks
from culmen.components.policies import deterministic
from culmen.components.policies import exploring
from culmen.core.agent import Parts
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Nest
from culmen.core.types import Params


@dataclass(frozen=True)
class CrossQ(CrossQConfig):
    """CrossQ for continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        box = action_box('CrossQ', spec)
        networks = make_renormed_networks(
            spec,
            box,
            self.hidden_sizes,
            self.critic_hidden_sizes,
            momentum=self.norm_momentum,
            warmup=self.norm_warmup,
            num_critics=self.num_critics,
            policy_norm=self.policy_norm,
            encoder_channels=self.encoder_channels,
            critic_observation=self.critic_observation,
        )

        def sample(params: Params, observation: Nest, keys: jax.Array) -> jax.Array:
            return jax.vmap(TanhGaussian.sample)(networks.act(params, observation), keys)

        def mode(params: Params, observation: Nest) -> jax.Array:
            return networks.act(params, observation).mode()

        return Parts(
            actor=exploring(sample, box, self.random_steps),
            evaluator=deterministic(mode, box),
            learner=make_learner(networks, self),
            experience=Replay(
                window=Window(length=1),
                capacity=self.replay_capacity,
                min_size=self.min_replay_size,
                batch_size=self.batch_size,
                samples_per_insert=self.samples_per_insert,
            ),
        )
