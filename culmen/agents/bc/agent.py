"""Behaviour cloning: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.bc.config import BCConfig
from culmen.agents.bc.learning import make_learner
from culmen.components import policies
from culmen.components.networks import make_bounded_policy
from culmen.core.agent import Parts
from culmen.core.experience import Dataset
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class BC(BCConfig):
    """Behaviour cloning, of choices and of bounded continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        policy = make_bounded_policy('BC', spec, self.hidden_sizes)
        if self.loss == 'mse' and not policy.is_continuous:
            raise ValueError("loss must be 'log_likelihood' for discrete actions, got 'mse'.")
        window = Window(length=1, first=('observation',))
        return Parts(
            actor=policies.around_mode(policy, spec, self.epsilon, self.exploration_noise),
            evaluator=policies.at_mode(policy),
            learner=make_learner(policy, self),
            experience=Dataset(window, self.source, self.batch_size),
        )
