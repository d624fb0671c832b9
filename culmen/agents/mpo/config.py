"""The settings of MPO and DMPO."""

from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

from culmen.agents.mpo.settings import ImprovementSettings
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.errors import SettingError


@dataclass(frozen=True)
class MPOConfig(ImprovementSettings):
    """Settings of MPO. The defaults are for small tasks; `presets` holds the papers'."""

    # Critic.
    # The mean return; probabilities of fixed returns; a mixture of normal distributions.
    critic: Literal['mean', 'categorical', 'gaussians'] = 'mean'
    num_atoms: Annotated[int, Range(2)] = 51  # of the categorical critic
    v_min: float = -150.0  # its least atom, a discounted return
    v_max: Annotated[float, Range('v_min', open_low=True)] = 150.0  # its greatest atom
    num_components: Annotated[int, Range(1)] = 5  # of the mixture
    num_returns: Annotated[int, Range(1)] = 128  # drawn of a mixture for each target

    # E-step.
    # Bound on the divergence of the weighed actions from the target policy, in nats.
    epsilon_temperature: Annotated[float, POSITIVE] = 0.1
    # Such a bound for each of several rewards, in the order of their paths; None: there is one reward.
    epsilon_objectives: Annotated[tuple[float, ...] | None, POSITIVE] = None
    action_penalty: bool = True  # whether draws beyond the box cost
    epsilon_penalty: Annotated[float, POSITIVE] = 0.001  # the bound of that objective

    # M-step.
    # Bound on the divergence of a choice's policy from the target policy, in nats.
    epsilon_policy: Annotated[float, POSITIVE] = 0.0025
    epsilon_mean: Annotated[float, POSITIVE] = 0.0025  # such a bound of the means of a box
    epsilon_scale: Annotated[float, POSITIVE] = 1e-6  # and of its deviations
    per_dimension: bool = True  # whether each dimension of a box has these bounds, else their sum

    # Dual variables.
    initial_temperature: Annotated[float, POSITIVE] = 10.0  # of each objective
    initial_alpha_policy: Annotated[float, POSITIVE] = 3.0  # multiplier of a choice's bound
    initial_alpha_mean: Annotated[float, POSITIVE] = 10.0  # of that of the means
    initial_alpha_scale: Annotated[float, POSITIVE] = 1000.0  # of that of the deviations
    dual_learning_rate: Annotated[float, POSITIVE] = 1e-2  # of their Adam

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Acme's: Hoffman et al. 2020 (2006.00979), with networks of 256 units.
        'control': {
            'hidden_sizes': (256, 256, 256), 'discount': 0.99, 'n_step': 5, 'num_samples': 20,
            'critic_learning_rate': 1e-4, 'policy_learning_rate': 1e-4,
            'target_policy_update_period': 100, 'target_critic_update_period': 100,
            'batch_size': 256, 'samples_per_insert': 32.0, 'initial_scale': 0.7,
        },
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets == 'retrace' and self.critic != 'mean':
            raise SettingError(
                f"targets 'retrace' needs the critic 'mean', got {self.critic!r}: Retrace corrects means."
            )

    @property
    def epsilons(self) -> dict[str, Any]:
        """The bounds on the policy's change by name, as `updates.kl_constraints` takes them."""
        return {
            'policy': self.epsilon_policy,
            'mean': self.epsilon_mean,
            'scale': self.epsilon_scale,
        }

    @property
    def multipliers(self) -> dict[str, Any]:
        """The first multipliers of these bounds, as `updates.initial_duals` takes them."""
        return {
            'policy': self.initial_alpha_policy,
            'mean': self.initial_alpha_mean,
            'scale': self.initial_alpha_scale,
        }


@dataclass(frozen=True)
class DMPOConfig(MPOConfig):
    """Settings of DMPO: those of MPO, with a critic of the distribution of returns."""

    critic: Literal['mean', 'categorical', 'gaussians'] = 'categorical'
