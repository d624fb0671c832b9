"""IMPALA and A2C: network, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.impala.config import A2CConfig
from culmen.agents.impala.config import IMPALAConfig
from culmen.agents.impala.learning import make_learner
from culmen.components import policies
from culmen.components.networks import make_actor_critic_network
from culmen.core.agent import Parts
from culmen.core.experience import Queue
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class A2C(A2CConfig):
    """Advantage actor-critic: actors and learner in step."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        queue = Queue(_window(self), self.batch_size, max_staleness=0)
        return _build('A2C', self, spec, queue, lambda policy, drawn: {})


@dataclass(frozen=True)
class IMPALA(IMPALAConfig):
    """The importance-weighted actor-learner architecture: actors ahead of the learner."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        queue = Queue(_window(self), self.batch_size, self.max_staleness, self.max_queue_size)
        # The logits that acted, for the ratios.
        return _build('IMPALA', self, spec, queue, lambda policy, drawn: {'policy': policy})


def _window(config: A2CConfig) -> Window:
    """One unroll after another, on through the ends of episodes."""
    return Window(
        length=config.unroll_length,
        period=config.unroll_length,
        cross_episodes=True,
        first=() if config.core == 'none' else ('extras/core_state',),
    )


def _build(
    name: str, config: A2CConfig, spec: EnvironmentSpec, queue: Queue, extras: policies.Extras
) -> Parts:
    network = make_actor_critic_network(
        name,
        spec,
        config.hidden_sizes,
        activation=config.activation,
        torso=config.torso,
        shared_torso=config.shared_torso,
        core=config.core,
        core_size=config.core_size,
    )
    return Parts(
        actor=policies.sampling(network, spec, extras),
        evaluator=policies.likeliest(network, spec),
        learner=make_learner(network, config),
        experience=queue,
    )
