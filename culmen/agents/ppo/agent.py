"""PPO: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.ppo.config import PPOConfig
from culmen.agents.ppo.learning import make_learner
from culmen.components import policies
from culmen.core.agent import Parts
from culmen.core.experience import Queue
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class PPO(PPOConfig):
    """Proximal Policy Optimization, for discrete and continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        network = self.make_network('PPO', spec)
        window = policies.unroll_window(self.unroll_length, has_core=self.core != 'none')
        return Parts(
            actor=policies.sampling(
                network, spec, lambda policy, drawn: {'log_prob': policy.log_prob(drawn)}
            ),
            evaluator=policies.likeliest(network, spec),
            learner=make_learner(network, self),
            experience=Queue(window, self.batch_size, max_staleness=0),
        )
