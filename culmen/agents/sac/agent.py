"""SAC: networks, policy, learning and experience, joined."""

import dataclasses
from dataclasses import dataclass

import jax

from culmen.agents.sac.config import SACConfig
from culmen.agents.sac.config import check_choices
from culmen.agents.sac.discrete import CHOICES
from culmen.agents.sac.learning import make_learner
from culmen.agents.sac.learning import of_box
from culmen.agents.sac.networks import make_critics
from culmen.agents.sac.networks import make_networks
from culmen.agents.wrappers import Normalised
from culmen.components.networks import Categorical
from culmen.components.networks import TanhGaussian
from culmen.components.networks import action_box
from culmen.components.networks import has_one_choice
from culmen.components.networks import make_choice_networks
from culmen.components.networks import num_discrete_actions
from culmen.components.policies import choosing
from culmen.components.policies import deterministic
from culmen.components.policies import exploring
from culmen.components.policies import exploring_choices
from culmen.core.agent import Parts
from culmen.core.errors import SettingError
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import LearnerCore
from culmen.core.types import Nest
from culmen.core.types import Params


@dataclass(frozen=True)
class SAC(SACConfig):
    """Soft Actor-Critic for continuous actions, and for one choice."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        if self.normalise_observations:
            return Normalised(dataclasses.replace(self, normalise_observations=False)).build(spec)
        if has_one_choice(spec):
            return self._join(*self._of_choices(spec))
        return self._join(*self._of_box(spec))

    def _of_box(self, spec: EnvironmentSpec) -> tuple[ActorCore, ActorCore, LearnerCore]:
        """Actor, evaluator and learner for continuous actions."""
        box = action_box('SAC', spec, 'one choice (a DiscreteArray)')
        if self.target_entropy_share is not None:
            raise SettingError(
                'target_entropy_share must be None where an action is continuous, '
                f'got {self.target_entropy_share}; target_entropy is in nats.'
            )
        networks = make_networks(spec, box, self)

        def sample(params: Params, observation: Nest, keys: jax.Array) -> jax.Array:
            return jax.vmap(TanhGaussian.sample)(networks.act(params, observation), keys)

        def mode(params: Params, observation: Nest) -> jax.Array:
            return networks.act(params, observation).mode()

        actor = exploring(sample, box, self.random_steps)
        learner = make_learner(networks, self, of_box(make_critics(self)))
        return actor, deterministic(mode, box), learner

    def _of_choices(self, spec: EnvironmentSpec) -> tuple[ActorCore, ActorCore, LearnerCore]:
        """Actor, evaluator and learner where an action is one choice."""
        check_choices(self)
        networks = make_choice_networks(
            spec,
            num_discrete_actions('SAC', spec),
            self.hidden_sizes,
            num_critics=self.num_critics,
            layer_norm=self.layer_norm,
            encoder_channels=self.encoder_channels,
            critic_observation=self.critic_observation,
        )

        def sample(params: Params, observation: Nest, keys: jax.Array) -> jax.Array:
            return jax.vmap(Categorical.sample)(networks.act(params, observation), keys)

        def mode(params: Params, observation: Nest) -> jax.Array:
            return networks.act(params, observation).mode()

        actor = exploring_choices(sample, 'SAC', spec, self.random_steps)
        return actor, choosing(mode), make_learner(networks, self, CHOICES)

    def _join(self, actor: ActorCore, evaluator: ActorCore, learner: LearnerCore) -> Parts:
        experience = Replay(
            window=Window(length=1),
            capacity=self.replay_capacity,
            min_size=self.min_replay_size,
            batch_size=self.batch_size,
            samples_per_insert=self.samples_per_insert,
        )
        return Parts(actor, evaluator, learner, experience)
