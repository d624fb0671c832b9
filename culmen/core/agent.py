"""An agent: settings, and the parts that they build for one environment."""

from typing import NamedTuple
from typing import Protocol
from typing import runtime_checkable

from culmen.core.experience import Experience
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import LearnerCore


class Parts(NamedTuple):
    """An agent, built for one environment."""

    actor: ActorCore  # behaviour
    evaluator: ActorCore  # same params, no exploration, no extras
    learner: LearnerCore
    experience: Experience


@runtime_checkable
class Agent(Protocol):
    """Settings with one method. Implementations are frozen dataclasses."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec. Cheap and pure: it computes nothing."""
        ...
