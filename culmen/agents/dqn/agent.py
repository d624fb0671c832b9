"""DQN: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.dqn.config import DQNConfig
from culmen.agents.dqn.learning import make_learner
from culmen.components import policies
from culmen.components.networks import make_action_value_network
from culmen.components.networks import make_branches
from culmen.components.networks import make_branching_network
from culmen.core.agent import Parts
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class DQN(DQNConfig):
    """Deep Q-Networks for discrete actions; those of several choices have a branch for each."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        branches = make_branches('DQN', spec)
        network = (
            make_action_value_network(spec, spec.action.num_values, self.hidden_sizes, self.dueling)
            if branches is None
            else make_branching_network(branches, self.hidden_sizes, self.dueling)
        )
        epsilon = policies.linear_schedule(
            self.epsilon_initial, self.epsilon, self.epsilon_decay_steps
        )
        by_lane = policies.ape_x_exponents(self.epsilon_lane_alpha)  # 0: the same for all lanes
        return Parts(
            actor=policies.epsilon_greedy(network.apply, epsilon, by_lane, branches),
            evaluator=policies.epsilon_greedy(
                network.apply, self.evaluation_epsilon, branches=branches
            ),
            learner=make_learner(network, self, branches),
            experience=Replay(
                window=Window(length=self.n_step, ends=('observation',)),
                capacity=self.replay_capacity,
                min_size=self.min_replay_size,
                batch_size=self.batch_size,
                samples_per_insert=self.samples_per_insert,
                priority_exponent=self.priority_exponent,
            ),
        )
