"""WPO: networks, policy, learning and experience, joined."""

import functools
from dataclasses import dataclass

from culmen.agents.mpo import critics
from culmen.agents.mpo import make_learner
from culmen.agents.mpo.parts import join
from culmen.agents.mpo.parts import make_networks
from culmen.agents.mpo.parts import num_rewards
from culmen.agents.wpo.config import WPOConfig
from culmen.agents.wpo.learning import policy_loss
from culmen.components import updates
from culmen.core.agent import Parts
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class WPO(WPOConfig):
    """Wasserstein policy optimisation, for a bounded box."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        networks = make_networks('WPO', spec, self, num_rewards('WPO', spec), takes_choices=False)
        loss = functools.partial(policy_loss, networks=networks, config=self)

        def initial_duals() -> updates.DualParams:
            return updates.initial_duals(spec.action, {}, self.multipliers, self.per_dimension)

        learner = make_learner(
            networks, critics.expected(), loss, initial_duals, self, self.dual_learning_rate
        )
        return join(networks, learner, spec, self)
