"""DQN: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.dqn.config import ApeXConfig
from culmen.agents.dqn.config import DQNConfig
from culmen.agents.dqn.learning import make_learner
from culmen.components import policies
from culmen.components import updates
from culmen.components import values
from culmen.components.networks import make_action_value_network
from culmen.components.networks import make_branches
from culmen.components.networks import make_branching_network
from culmen.components.networks import noisy_dense
from culmen.components.networks import num_discrete_actions
from culmen.core.agent import Parts
from culmen.core.errors import SettingError
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class DQN(DQNConfig):
    """Deep Q-Networks for discrete actions; those of several choices have a branch for each."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        branches = make_branches(type(self).__name__, spec)
        if branches is None:
            network = make_action_value_network(
                spec, spec.action.num_values, self.hidden_sizes, self.dueling,
                dense=noisy_dense(self.noise, self.noise_sigma),
            )  # fmt: skip
        else:
            self._check_branches()
            network = make_branching_network(branches, self.hidden_sizes, self.dueling)
        acting = self.initial_priority == 'acting'
        return values.join(
            self,
            network.apply,
            make_learner(network, self, branches),
            branches=branches,
            extras=policies.values_that_acted if acting else None,
            priority=updates.ErrorThatActed(self.discount, self.reward_clip) if acting else None,
        )

    def _check_branches(self) -> None:
        """Refuses what is not defined for an action of several choices."""
        for name, neutral in (
            ('noise', 'none'), ('munchausen', None), ('value_cost', None), ('initial_priority', 'largest'),
        ):  # fmt: skip
            if getattr(self, name) != neutral:
                raise SettingError(
                    f'{name} must be {neutral} where an action has several choices, '
                    f'got {getattr(self, name)}.'
                )


@dataclass(frozen=True)
class ApeX(ApeXConfig, DQN):
    """DQN with distributed prioritised replay, for one choice."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        num_discrete_actions('ApeX', spec)
        return super().build(spec)
