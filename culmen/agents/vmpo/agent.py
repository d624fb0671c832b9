"""V-MPO: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.vmpo.config import VMPOConfig
from culmen.agents.vmpo.learning import make_learner
from culmen.components import policies
from culmen.core.agent import Parts
from culmen.core.experience import Queue
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class VMPO(VMPOConfig):
    """On-policy maximum a posteriori policy optimisation, for discrete and continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        network = self.make_network(
            'VMPO', spec, values='one' if self.pop_art_rate is None else 'by_task'
        )
        window = policies.unroll_window(self.unroll_length, has_core=self.core != 'none')
        return Parts(
            # The old policy, from which the new one is bounded, is the one that acted.
            actor=policies.sampling(network, spec, lambda policy, drawn: {'policy': policy}),
            evaluator=policies.likeliest(network, spec),
            learner=make_learner(network, self, spec.action),
            experience=Queue(window, self.batch_size, max_staleness=0),
        )
