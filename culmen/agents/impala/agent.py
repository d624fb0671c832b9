"""IMPALA and A2C: network, policy, learning and experience, joined."""

from dataclasses import dataclass
from typing import Any

from culmen.agents.impala.config import A2CConfig
from culmen.agents.impala.config import IMPALAConfig
from culmen.agents.impala.learning import make_learner
from culmen.components import policies
from culmen.core.agent import Parts
from culmen.core.experience import Queue
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class A2C(A2CConfig):
    """Advantage actor-critic: actors and learner in step."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        return _build('A2C', self, spec, lambda policy, drawn: {}, max_staleness=0)


@dataclass(frozen=True)
class IMPALA(IMPALAConfig):
    """The importance-weighted actor-learner architecture: actors ahead of the learner."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        bounds = {'max_staleness': self.max_staleness, 'max_size': self.max_queue_size}
        # The ratios need the logits of the policy that acted.
        return _build('IMPALA', self, spec, lambda policy, drawn: {'policy': policy}, **bounds)


def _build(
    name: str, config: A2CConfig, spec: EnvironmentSpec, extras: policies.Extras, **bounds: Any
) -> Parts:
    """Joins the parts of either agent; they differ in the extras and in the bounds of the Queue."""
    network = config.make_network(
        name, spec, values='one' if config.pop_art_rate is None else 'by_task'
    )
    window = policies.unroll_window(config.unroll_length, has_core=config.core != 'none')
    return Parts(
        actor=policies.sampling(network, spec, extras),
        evaluator=policies.likeliest(network, spec),
        learner=make_learner(network, config),
        experience=Queue(window, config.batch_size, **bounds),
    )
