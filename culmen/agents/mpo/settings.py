"""The settings of agents that improve a policy on several of its actions: what they share beside how."""

from dataclasses import dataclass
from typing import Annotated
from typing import Literal

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.errors import SettingError


@dataclass(frozen=True)
class ImprovementSettings:
    """Settings of networks, of the critic's learning, and of experience. The defaults are for small tasks."""

    # Network.
    # Units of each layer of the policy and of the critic.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (128, 128)
    layer_norm: bool = True  # whether the first layer of policy and critic is normalised
    encoder_channels: Annotated[tuple[int, ...], Range(1)] = (32, 32, 32, 32)  # of the convolutions
    core: Literal['none', 'lstm', 'gru'] = 'none'  # memory before policy and critic
    core_size: Annotated[int, Range(1)] = 128  # units of the core
    # Names of fields of the observation that only the critic sees, and not the policy.
    critic_observation: tuple[str, ...] = ()
    # The policy's first standard deviation, where actions are a box, which is 2 wide.
    initial_scale: Annotated[float, POSITIVE] = 0.5

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    # Retrace: returns of whole sequences, corrected for the policy that acted.
    targets: Literal['n_step', 'retrace'] = 'n_step'
    n_step: Annotated[int, Range(1)] = 5  # rewards before the bootstrap
    retrace_lambda: Annotated[float, Range(0, 1)] = 0.95  # mix of bootstraps: 0: one-step targets
    # Actions drawn of each observation; of a choice each action counts, by its probability.
    num_samples: Annotated[int, Range(2)] = 20
    critic_learning_rate: Annotated[float, POSITIVE] = 5e-4  # of the critic's Adam
    policy_learning_rate: Annotated[float, POSITIVE] = 5e-4  # of the policy's Adam
    # Updates between copies to the target policy, from which the next one may not be far.
    target_policy_update_period: Annotated[int, Range(1)] = 50
    # Updates between copies to the target critic.
    target_critic_update_period: Annotated[int, Range(1)] = 50
    # Global norm to which the gradients of each network are clipped; None: not at all.
    max_gradient_norm: Annotated[float | None, POSITIVE] = 40.0

    # Experience.
    # Transitions of a sequence, which a core and Retrace need; None: n-step transitions.
    sequence_length: Annotated[int | None, Range(2)] = None
    sequence_period: Annotated[int, Range(1)] = 1  # steps between the starts of sequences
    batch_size: Annotated[int, Range(1)] = 128  # windows per update
    replay_capacity: Annotated[int, Range(1)] = 1_000_000  # windows
    # Windows in the replay before the first update.
    min_replay_size: Annotated[int, Range(0, 'replay_capacity')] = 1_000
    # How often a window is drawn on average; the default makes an update every four steps.
    samples_per_insert: Annotated[float, POSITIVE] = 32.0
    # Whether each batch has the windows that are new, once each, beside replayed ones.
    online: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.sequence_length is None:
            for name, needs_it in (
                ('core', self.core != 'none'),
                ('targets', self.targets == 'retrace'),
            ):
                if needs_it:
                    raise SettingError(
                        f'{name} {getattr(self, name)} needs sequence_length, which is None; it may be 2 '
                        f'or more.'
                    )
        elif self.sequence_length < self.n_step and self.targets == 'n_step':
            raise SettingError(
                f'n_step must be at most sequence_length, {self.sequence_length}, got {self.n_step}.'
            )
        if self.online:
            self._check_online()

    @property
    def online_batch_size(self) -> int:
        """New windows in a batch: of each window one draw is its first."""
        return round(self.batch_size / self.samples_per_insert) if self.online else 0

    def _check_online(self) -> None:
        size = self.online_batch_size
        if not 1 <= size < self.batch_size or size * self.samples_per_insert != self.batch_size:
            raise SettingError(
                f'online needs batch_size / samples_per_insert new windows in a batch, a whole number '
                f'below batch_size, got {self.batch_size} / {self.samples_per_insert}.'
            )
        if self.min_replay_size:
            raise SettingError(
                f'min_replay_size must be 0 where online is True, since new windows would wait, got '
                f'{self.min_replay_size}.'
            )
