"""TD3 and DDPG: networks, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.td3.config import DDPGConfig
from culmen.agents.td3.config import TD3Config
from culmen.agents.td3.learning import make_learner
from culmen.components.networks import DeterministicHead
from culmen.components.networks import action_box
from culmen.components.networks import make_continuous_networks
from culmen.components.policies import deterministic
from culmen.components.policies import exploring
from culmen.components.policies import with_gaussian_noise
from culmen.core.agent import Parts
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class TD3(TD3Config):
    """Twin Delayed DDPG for continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        return _build('TD3', self, spec)


@dataclass(frozen=True)
class DDPG(DDPGConfig):
    """Deep Deterministic Policy Gradient for continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        return _build('DDPG', self, spec)


def _build(name: str, config: TD3Config, spec: EnvironmentSpec) -> Parts:
    """Joins the parts of either agent; only their settings differ."""
    box = action_box(name, spec)
    networks = make_continuous_networks(
        spec,
        lambda: DeterministicHead(box.size),
        box,
        config.hidden_sizes,
        num_critics=config.num_critics,
        layer_norm=config.layer_norm,
        encoder_channels=config.encoder_channels,
        critic_observation=config.critic_observation,
    )
    noisy = with_gaussian_noise(networks.act, config.exploration_noise)
    return Parts(
        actor=exploring(noisy, box, config.random_steps),
        evaluator=deterministic(networks.act, box),
        learner=make_learner(networks, config),
        experience=Replay(
            window=Window(length=config.n_step, ends=('observation',)),
            capacity=config.replay_capacity,
            min_size=config.min_replay_size,
            batch_size=config.batch_size,
            samples_per_insert=config.samples_per_insert,
        ),
    )
