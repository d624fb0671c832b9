"""D4PG: networks, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.d4pg.config import D4PGConfig
from culmen.agents.d4pg.learning import make_learner
from culmen.components.networks import DeterministicHead
from culmen.components.networks import action_box
from culmen.components.networks import make_continuous_networks
from culmen.components.policies import deterministic
from culmen.components.policies import exploring
from culmen.components.policies import with_gaussian_noise
from culmen.core.agent import Parts
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class D4PG(D4PGConfig):
    """Distributed Distributional Deterministic Policy Gradients for continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        box = action_box('D4PG', spec)
        networks = make_continuous_networks(
            spec,
            lambda: DeterministicHead(box.size),
            box,
            self.hidden_sizes,
            num_critics=1,
            num_atoms=self.num_atoms,
            layer_norm=self.layer_norm,
            critic_observation=self.critic_observation,
        )
        noisy = with_gaussian_noise(networks.act, self.exploration_noise)
        return Parts(
            actor=exploring(noisy, box, self.random_steps),
            evaluator=deterministic(networks.act, box),
            learner=make_learner(networks, self),
            experience=Replay(
                window=Window(length=self.n_step, ends=('observation',)),
                capacity=self.replay_capacity,
                min_size=self.min_replay_size,
                batch_size=self.batch_size,
                samples_per_insert=self.samples_per_insert,
                priority_exponent=self.priority_exponent,
            ),
        )
