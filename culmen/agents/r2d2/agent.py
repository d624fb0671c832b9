"""R2D2: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.r2d2.config import R2D2Config
from culmen.agents.r2d2.learning import InitialPriority
from culmen.agents.r2d2.learning import make_learner
from culmen.components import policies
from culmen.components.networks import make_recurrent_action_value_network
from culmen.components.networks import num_discrete_actions
from culmen.core.agent import Parts
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class R2D2(R2D2Config):
    """Recurrent replay distributed DQN for discrete actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        network = make_recurrent_action_value_network(
            spec,
            num_discrete_actions('R2D2', spec),
            self.hidden_sizes,
            self.dueling,
            core=self.core,
            core_size=self.core_size,
            previous_action=self.previous_action,
            previous_reward=self.previous_reward,
        )
        epsilon = policies.linear_schedule(
            self.epsilon_initial, self.epsilon, self.epsilon_decay_steps
        )
        by_lane = policies.ape_x_exponents(self.epsilon_lane_alpha)
        return Parts(
            actor=policies.recurrent_epsilon_greedy(
                network, epsilon, by_lane, policies.values_that_acted
            ),
            evaluator=policies.recurrent_epsilon_greedy(network, self.evaluation_epsilon),
            learner=make_learner(network, self),
            experience=Replay(
                window=Window(
                    length=self.burn_in_length + self.sequence_length,
                    period=self.sequence_period,
                    first=('extras/core_state', 'extras/previous_action'),
                ),
                capacity=self.replay_capacity,
                min_size=self.min_replay_size,
                batch_size=self.batch_size,
                samples_per_insert=self.samples_per_insert,
                priority_exponent=self.priority_exponent,
                priority=InitialPriority(self) if self.priority_exponent else None,
            ),
        )
