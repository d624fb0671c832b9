"""REINFORCE: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.reinforce.config import REINFORCEConfig
from culmen.agents.reinforce.learning import make_learner
from culmen.components import policies
from culmen.core.agent import Parts
from culmen.core.experience import Queue
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class REINFORCE(REINFORCEConfig):
    """The policy gradient from whole episodes, for discrete and continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        network = self.make_network('REINFORCE', spec, 'one' if self.baseline else 'none')
        window = policies.unroll_window(
            self.episode_length, has_core=self.core != 'none', cross_episodes=False
        )
        return Parts(
            actor=policies.sampling(network, spec, lambda policy, drawn: {}),
            evaluator=policies.likeliest(network, spec),
            learner=make_learner(network, self),
            experience=Queue(window, self.batch_size, max_staleness=0),
        )
