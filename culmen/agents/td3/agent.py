"""TD3 and DDPG: networks, policy, learning and experience, joined."""

from dataclasses import dataclass

from culmen.agents.td3.config import DDPGConfig
from culmen.agents.td3.config import TD3Config
from culmen.agents.td3.learning import make_learner
from culmen.components.networks.action_box import action_box
from culmen.components.networks.continuous import DeterministicHead
from culmen.components.networks.continuous import make_continuous_networks
from culmen.components.policies.continuous import deterministic
from culmen.components.policies.continuous import exploring
from culmen.components.policies.continuous import with_gaussian_noise
from culmen.core.agent import Parts
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec


def build(config: TD3Config, name: str, spec: EnvironmentSpec) -> Parts:
    """Builds TD3, or what its settings make of it, for environments of this spec."""
    box = action_box(name, spec)
    networks = make_continuous_networks(
        spec,
        lambda: DeterministicHead(box.size),
        box.size,
        config.hidden_sizes,
        num_critics=config.num_critics,
        layer_norm=config.layer_norm,
        encoder_channels=config.encoder_channels,
    )
    noisy = with_gaussian_noise(networks.act, config.exploration_noise)
    return Parts(
        actor=exploring(noisy, box, config.random_steps),
        evaluator=deterministic(networks.act, box),
        learner=make_learner(networks, box, config),
        experience=Replay(
            window=Window(length=config.n_step, ends=('observation',)),
            capacity=config.replay_capacity,
            min_size=config.min_replay_size,
            batch_size=config.batch_size,
            samples_per_insert=config.samples_per_insert,
        ),
    )


@dataclass(frozen=True)
class TD3(TD3Config):
    """Twin Delayed DDPG for continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        return build(self, 'TD3', spec)


@dataclass(frozen=True)
class DDPG(DDPGConfig):
    """Deep Deterministic Policy Gradient for continuous actions."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        return build(self, 'DDPG', spec)
