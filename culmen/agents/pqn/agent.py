"""PQN: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.pqn.config import PQNConfig
from culmen.agents.pqn.learning import make_learner
from culmen.components import policies
from culmen.components.networks import make_action_value_network
from culmen.components.networks import make_recurrent_action_value_network
from culmen.components.networks import num_discrete_actions
from culmen.components.networks import without_memory
from culmen.core.agent import Parts
from culmen.core.experience import Queue
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class PQN(PQNConfig):
    """Parallelised Q-Networks for discrete actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        num_actions = num_discrete_actions('PQN', spec)
        first: tuple[str, ...] = ()
        epsilon = policies.linear_schedule(
            self.epsilon_initial, self.epsilon, self.epsilon_decay_steps
        )
        if self.core == 'none':
            plain = make_action_value_network(
                spec, num_actions, self.hidden_sizes, self.dueling, layer_norm=self.layer_norm
            )
            network = without_memory(plain)
            actor = policies.epsilon_greedy(plain.apply, epsilon)
            evaluator = policies.epsilon_greedy(plain.apply, self.evaluation_epsilon)
        else:
            network = make_recurrent_action_value_network(
                spec, num_actions, self.hidden_sizes, self.dueling,
                core=self.core, core_size=self.core_size, layer_norm=self.layer_norm,
                previous_action=self.previous_action, previous_reward=self.previous_reward,
            )  # fmt: skip
            first = ('extras/core_state', 'extras/previous_action')
            actor = policies.recurrent_epsilon_greedy(network, epsilon, extras=lambda *values: {})
            evaluator = policies.recurrent_epsilon_greedy(network, self.evaluation_epsilon)
        length = self.unroll_length
        window = Window(length=length, period=length, cross_episodes=True, first=first)
        experience = Queue(window, self.batch_size, max_staleness=0)
        return Parts(actor, evaluator, make_learner(network, self), experience)
