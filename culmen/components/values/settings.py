"""The settings that agents of action values share."""

from dataclasses import dataclass
from typing import Annotated
from typing import Literal

from culmen.components.networks import Noise
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.errors import SettingError


@dataclass(frozen=True)
class ValueSettings:
    """Settings of an agent that learns action values from replay. The defaults are for small tasks."""

    # Network.
    # Units of each layer of the MLP; unused where an image is observed.
    hidden_sizes: Annotated[tuple[int, ...], Range(1)] = (64, 64)
    dueling: bool = False  # whether the head splits value and advantages
    # Learned noise on the weights of all dense layers, drawn anew for each action and each update.
    noise: Noise = 'none'
    # Its first deviation, sigma_0; None: 0.5 if factorised, 0.017 if independent.
    noise_sigma: Annotated[float | None, POSITIVE] = None
    evaluation_noise: bool = False  # whether there is noise in evaluations, too

    # Acting.
    epsilon: Annotated[float, Range(0, 1)] = 0.1  # final probability of a random action
    epsilon_initial: Annotated[float, Range(0, 1)] = 1.0  # the probability at the first step
    epsilon_decay_steps: Annotated[int, Range(0)] = 5_000  # actor steps from initial to final
    # Lane i of N has epsilon ** (1 + alpha i / (N - 1)); 0: all alike; 7 in Ape-X.
    epsilon_lane_alpha: Annotated[float, Range(0)] = 0.0
    evaluation_epsilon: Annotated[float, Range(0, 1)] = 0.0  # the probability in evaluations

    # Learning.
    discount: Annotated[float, Range(0, 1)] = 0.99  # per step
    n_step: Annotated[int, Range(1)] = 10  # rewards before the bootstrap
    double: bool = True  # whether the online network selects the bootstrap's action
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # step size of the optimiser
    optimizer: Literal['adam', 'rmsprop'] = 'adam'  # rmsprop: centred, as in the Nature paper
    # Added to the root of Adam's second moment, or under the root of RMSProp's.
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-8
    max_gradient_norm: Annotated[float | None, POSITIVE] = None  # global norm; None: not clipped
    # Rewards are clipped to [-clip, clip]; None: not at all.
    reward_clip: Annotated[float | None, POSITIVE] = None
    # Largest random shift of images in a batch, in pixels; 0: no shifts.
    augmentation_pad: Annotated[int, Range(0)] = 0
    # Updates between copies to the target network.
    target_update_period: Annotated[int, Range(1)] = 200

    # Experience.
    batch_size: Annotated[int, Range(1)] = 128  # windows per update
    replay_capacity: Annotated[int, Range(1)] = 100_000  # windows
    # Windows in the replay before the first update.
    min_replay_size: Annotated[int, Range(0, 'replay_capacity')] = 1_000
    # How often a window is drawn on average; the default makes an update every other step.
    samples_per_insert: Annotated[float, POSITIVE] = 64.0
    # Windows are drawn in proportion to error ** exponent; 0: uniformly.
    priority_exponent: Annotated[float, Range(0)] = 0.0
    importance_exponent: Annotated[float, Range(0, 1)] = 0.4  # importance correction; 1: full
    # Actor steps in which the importance exponent rises to 1; None: it stays.
    importance_anneal_steps: Annotated[int | None, Range(1)] = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.noise == 'none':
            for name in ('noise_sigma', 'evaluation_noise'):
                if getattr(self, name):
                    raise SettingError(
                        f'{name} needs noise, which is none; noise may be factorised or independent.'
                    )


@dataclass(frozen=True)
class MunchausenSettings(ValueSettings):
    """Settings of an agent whose loss may be Munchausen's, Vieillard et al. 2020 (2007.14430)."""

    # Loss.
    # Scale of the log-policy that is added to the reward, and the soft maximum for the bootstrap; None:
    # Q-learning. 0 is soft Q-learning, 0.9 Munchausen's.
    munchausen: Annotated[float | None, Range(0, 1)] = None
    temperature: Annotated[float, POSITIVE] = 0.03  # of the soft policy; only with `munchausen`
    # The least that temperature * log-policy may be; only with `munchausen`.
    log_policy_clip: Annotated[float, Range(None, 0)] = -1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.munchausen is not None and self.double:
            raise SettingError(
                'double must be False with munchausen, whose bootstrap is a soft maximum, got True.'
            )
