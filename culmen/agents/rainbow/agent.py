"""Rainbow: C51 or IQN with everything switched on."""

import dataclasses
from dataclasses import dataclass

from culmen.agents.c51 import C51
from culmen.agents.iqn import IQN
from culmen.agents.rainbow.config import RainbowConfig
from culmen.components.networks import num_discrete_actions
from culmen.core.agent import Parts
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class Rainbow(RainbowConfig):
    """Rainbow for discrete actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        num_discrete_actions('Rainbow', spec)  # so that a refusal names Rainbow
        head = C51 if self.head == 'c51' else IQN
        settings = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(head)
            if hasattr(self, field.name)
        }
        return head(**settings).build(spec)
