"""The settings of WPO."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.agents.mpo.settings import ImprovementSettings
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range


@dataclass(frozen=True)
class WPOConfig(ImprovementSettings):
    """Settings of WPO: those that it shares with MPO, and how its policy moves."""

    # Policy.
    # How the critic's gradient in the action is squashed; cube_root: where its scale varies much.
    squash: Literal['none', 'cube_root'] = 'none'
    # Cost of the divergence from the target policy of the means.
    initial_alpha_mean: Annotated[float, POSITIVE] = 1.0
    initial_alpha_scale: Annotated[float, POSITIVE] = 500.0  # that of the deviations
    # Of the Adam that moves these costs until the divergences are at their bounds; 0: they stay.
    dual_learning_rate: Annotated[float, Range(0)] = 0.0
    epsilon_mean: Annotated[float, POSITIVE] = 0.0025  # the bound of the means' divergence, in nats
    epsilon_scale: Annotated[float, POSITIVE] = 1e-6  # that of the deviations
    per_dimension: bool = True  # whether each dimension of a box has these, else their sum

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Acme's settings, whose costs are those of a sum over 20 draws; networks of 256 units.
        'control': {
            'hidden_sizes': (256, 256, 256), 'discount': 0.99, 'n_step': 5, 'sequence_length': 10,
            'num_samples': 20, 'critic_learning_rate': 1e-4, 'policy_learning_rate': 1e-4,
            'target_policy_update_period': 100, 'target_critic_update_period': 100,
            'batch_size': 256, 'samples_per_insert': 32.0, 'initial_scale': 0.7,
            'initial_alpha_mean': 0.0347, 'initial_alpha_scale': 500.0,
        },
    }  # fmt: skip

    @property
    def epsilons(self) -> dict[str, Any]:
        """The bounds by name, as `updates.kl_constraints` takes them."""
        return {'mean': self.epsilon_mean, 'scale': self.epsilon_scale}

    @property
    def multipliers(self) -> dict[str, Any]:
        """The first costs by name, as `updates.initial_duals` takes them."""
        return {'mean': self.initial_alpha_mean, 'scale': self.initial_alpha_scale}
