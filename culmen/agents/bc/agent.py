"""Behaviour cloning: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.bc.config import BCConfig
from culmen.agents.bc.learning import make_learner
from culmen.components import networks
from culmen.components import policies
from culmen.core.agent import Parts
from culmen.core.experience import Dataset
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class BC(BCConfig):
    """Behaviour cloning, of discrete actions or of bounded continuous ones."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        if networks.is_discrete('BC', spec.action):
            if self.loss == 'mse':
                raise ValueError("loss must be 'log_likelihood' for discrete actions, got 'mse'.")
            # DQN's network and its policies: logits take the place of action values.
            size = spec.action.num_values
            network = networks.make_action_value_network(spec, size, self.hidden_sizes)
            actor = policies.epsilon_greedy(network.apply, self.epsilon)
            evaluator = policies.greedy(network.apply)
            learner = make_learner(network, self)
        else:
            box = networks.action_box('BC', spec)
            torso = lambda: networks.make_torso(spec.observation, self.hidden_sizes)
            head = lambda: networks.TanhGaussianHead(box.size)
            network = networks.make_network(lambda o: head()(torso()(o)), spec)
            mode = lambda params, o: network.apply(params, o).mode()
            noisy = policies.with_gaussian_noise(mode, self.exploration_noise)
            actor = policies.exploring(noisy, box)
            evaluator = policies.deterministic(mode, box)
            learner = make_learner(network, self, box)
        window = Window(length=1, first=('observation',))
        return Parts(actor, evaluator, learner, Dataset(window, self.source, self.batch_size))
