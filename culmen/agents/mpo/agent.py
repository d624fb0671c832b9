"""MPO and DMPO: networks, policy, learning and experience, joined."""

import functools
from dataclasses import dataclass

import jax.numpy as jnp

from culmen.agents.mpo import critics
from culmen.agents.mpo.config import DMPOConfig
from culmen.agents.mpo.config import MPOConfig
from culmen.agents.mpo.learning import make_learner
from culmen.agents.mpo.learning import policy_loss
from culmen.agents.mpo.parts import join
from culmen.agents.mpo.parts import make_networks
from culmen.agents.mpo.parts import num_rewards
from culmen.components import updates
from culmen.core.agent import Parts
from culmen.core.specs import EnvironmentSpec


@dataclass(frozen=True)
class MPO(MPOConfig):
    """Maximum a posteriori policy optimisation, for a choice or a bounded box."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        return _build('MPO', self, spec)


@dataclass(frozen=True)
class DMPO(DMPOConfig):
    """MPO with a critic of the distribution of returns."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        return _build('DMPO', self, spec)


def critic_head(config: MPOConfig) -> critics.CriticHead:
    """The head that the settings name."""
    if config.critic == 'categorical':
        return critics.categorical(config.num_atoms, config.v_min, config.v_max)
    if config.critic == 'gaussians':
        return critics.gaussians(config.num_components, config.num_returns)
    return critics.expected()


def _build(name: str, config: MPOConfig, spec: EnvironmentSpec) -> Parts:
    """Joins the parts of either agent; only their settings differ."""
    num_objectives = num_rewards(name, spec, config.epsilon_objectives)
    head = critic_head(config)
    networks = make_networks(name, spec, config, num_objectives * head.num_outputs)
    penalised = config.action_penalty and networks.num_choices is None

    def initial_duals() -> updates.DualParams:
        temperatures = jnp.full(num_objectives + penalised, config.initial_temperature)
        return updates.initial_duals(
            spec.action, {'temperature': temperatures}, config.multipliers, config.per_dimension
        )

    loss = functools.partial(policy_loss, networks=networks, config=config)
    learner = make_learner(networks, head, loss, initial_duals, config, config.dual_learning_rate)
    return join(networks, learner, spec, config)
