"""The agents that all shared suites follow: an agent is one row here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import pytest
from dm_env import specs

from culmen.agents import bc
from culmen.agents import c51
from culmen.agents import crossq
from culmen.agents import d4pg
from culmen.agents import dqn
from culmen.agents import impala
from culmen.agents import iqn
from culmen.agents import mpo
from culmen.agents import ppo
from culmen.agents import pqn
from culmen.agents import qr_dqn
from culmen.agents import r2d2
from culmen.agents import rainbow
from culmen.agents import reinforce
from culmen.agents import sac
from culmen.agents import td3
from culmen.agents import vmpo
from culmen.agents import wpo
from culmen.agents import wrappers
from culmen.core.experience import tables
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import legal_actions
from tests.agents import recorded


def discrete_spec(num_actions: int = 3, shape: tuple[int, ...] = (4,)) -> EnvironmentSpec:
    """A small environment with discrete actions."""
    return EnvironmentSpec(
        observation=specs.BoundedArray(shape, np.float32, -1, 1, 'observation'),
        action=specs.DiscreteArray(num_actions, np.int32, 'action'),
        reward=specs.Array((), np.float32, 'reward'),
        discount=specs.BoundedArray((), np.float32, 0, 1, 'discount'),
    )


def legal_spec(num_actions: int = 3) -> EnvironmentSpec:
    """The same with legal actions in the observation."""
    spec = discrete_spec(num_actions)
    legal = specs.BoundedArray((num_actions,), bool, False, True, 'legal_actions')
    return spec._replace(observation={'vector': spec.observation, 'legal_actions': legal})


def continuous_spec(size: int = 2) -> EnvironmentSpec:
    """The same with actions of a box."""
    box = specs.BoundedArray((size,), np.float32, -1, 1, 'action')
    return discrete_spec()._replace(action=box)


def multi_discrete_spec() -> EnvironmentSpec:
    """Two choices, of three values and of two, the second counted from -1."""
    action = specs.BoundedArray((2,), np.int32, [0, -1], [2, 0], 'action')
    return discrete_spec()._replace(action=action)


def multi_binary_spec() -> EnvironmentSpec:
    """Three choices of two values."""
    action = specs.BoundedArray((3,), np.int8, 0, 1, 'action')
    return discrete_spec()._replace(action=action)


def with_number(spec: EnvironmentSpec) -> EnvironmentSpec:
    """The same with a further number in a dict of observations."""
    number = specs.BoundedArray((), np.int32, 0, 5, 'number')
    return spec._replace(observation={**spec.observation, 'number': number})


def hybrid_spec() -> EnvironmentSpec:
    """A choice, whose legal values are observed, beside a box; a vector and a number are observed."""
    action = {'aim': continuous_spec().action, 'move': discrete_spec().action}
    legal = {'move': specs.BoundedArray((3,), bool, False, True, 'legal_actions/move')}
    spec = discrete_spec()
    observation = {'vector': spec.observation, 'legal_actions': legal}
    return with_number(spec._replace(action=action, observation=observation))


def branches_spec() -> EnvironmentSpec:
    """A choice of three values beside two of two values."""
    switches = specs.BoundedArray((2,), np.int8, 0, 1, 'switches')
    return discrete_spec()._replace(action=(discrete_spec().action, switches))


def box_spec() -> EnvironmentSpec:
    """Actions of another shape, dtype and bounds, and a nest of observations."""
    spec = continuous_spec()
    box = specs.BoundedArray((1, 2), np.float16, [[-2.0, 0.0]], [[0.5, 3.0]], 'action')
    return with_number(spec._replace(action=box, observation={'vector': spec.observation}))


@dataclass(frozen=True)
class Row:
    """An agent for the shared suites."""

    name: str
    agent: Any  # small and quick to learn
    spec: EnvironmentSpec
    replaced: bool = True  # whether its experience is a Replay, or a Dataset (else a Queue)
    # Numbers that may be traced, each with two values: seeds and sweeps vmap over them.
    traced: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    refused: tuple[tuple[EnvironmentSpec, str], ...] = ()  # what build can't do, and its words
    lane_keys: bool = True  # whether what a lane explores depends on that lane alone
    kind: str | None = None  # which kind of agent it stands for in whole runs and programs

    @property
    def remembers(self) -> bool:
        """Whether its samples hold the state of a memory."""
        return any(table.window.first for table in tables(self.experience).values())

    @property
    def quick(self) -> bool:
        """Whether the quick tests know it."""
        return self.name == 'dqn'

    @property
    def experience(self) -> Any:
        """What it learns from."""
        return self.agent.build(self.spec).experience

    @property
    def has_legal_actions(self) -> bool:
        """Whether its environment forbids actions."""
        return legal_actions(self.spec.observation) is not None


def favour(
    params: Any, action: int, num_actions: int, by: float = 1e6, num_outputs: int = 1
) -> Any:
    """Parameters whose last layers, those with outputs an action, are led to one action.

    Args: num_outputs: of each action; of a distribution the later ones are led more, as the greater atoms.
    """
    size = num_actions * num_outputs
    first = action * num_outputs
    more = by * (1 + np.arange(num_outputs, dtype=np.float32)) / num_outputs

    def change(path: Any, leaf: Any) -> Any:
        if leaf.shape != (size,) or 'sigma' in jax.tree_util.keystr(path):
            return leaf
        return leaf.at[first : first + num_outputs].add(more)

    changed = jax.tree_util.tree_map_with_path(change, params)
    assert any(map(lambda a, b: a is not b, *map(jax.tree_util.tree_leaves, (params, changed))))
    return changed


# All that shapes the numbers is said, so that other defaults change nothing here.
SMALL = {
    'hidden_sizes': (16,), 'min_replay_size': 8, 'replay_capacity': 64, 'batch_size': 8,
    'samples_per_insert': 8.0, 'epsilon_initial': 1.0, 'epsilon': 0.1, 'epsilon_decay_steps': 20,
    'discount': 0.9, 'double': True, 'learning_rate': 1e-3, 'huber_delta': 1.0,
    'target_update_period': 5,
}  # fmt: skip

TRACED = MappingProxyType({
    'learning_rate': (1e-3, 1e-2), 'discount': (0.9, 0.5), 'optimizer_epsilon': (1e-8, 1e-2),
    'huber_delta': (1.0, 0.1), 'target_update_period': (2, 3), 'epsilon': (0.1, 0.9),
    'epsilon_initial': (1.0, 0.2), 'epsilon_decay_steps': (20, 2), 'evaluation_epsilon': (0.0, 0.7),
})  # fmt: skip

# Agents of distributions, whose losses have no huber_delta.
DISTRIBUTION = {name: value for name, value in SMALL.items() if name != 'huber_delta'}
DISTRIBUTION_TRACED = MappingProxyType(
    {name: values for name, values in TRACED.items() if name != 'huber_delta'}
)
UNIFORM = {'epsilon_initial': 0.0, 'epsilon': 0.0, 'epsilon_decay_steps': 0}
# Noise explores, windows are prioritised.
RAINBOW = {**DISTRIBUTION, **UNIFORM, 'n_step': 3, 'importance_anneal_steps': 40}

REFUSED = (
    (continuous_spec(), r'DQN needs a discrete action \(a DiscreteArray, .* got BoundedArray'),
    (hybrid_spec(), r"DQN needs .* got \{'aim': BoundedArray.*that take it: a2c, bc, impala, ppo"),
)

# Agents with memory: sequences with a burn-in.
SEQUENCE = {
    **{name: value for name, value in SMALL.items() if name not in ('double', 'huber_delta')},
    'core_size': 5, 'burn_in_length': 2, 'sequence_length': 4, 'sequence_period': 2, 'n_step': 2,
    'epsilon_lane_alpha': 0.0,
}  # fmt: skip

SEQUENCE_TRACED = MappingProxyType({
    **{name: values for name, values in TRACED.items() if name != 'huber_delta'},
    'epsilon_lane_alpha': (0.0, 7.0), 'max_gradient_norm': (10.0, 0.01), 'priority_eta': (0.9, 0.1),
    'importance_exponent': (0.6, 1.0),
})  # fmt: skip

# On-policy agents: windows with the ends of episodes within.
UNROLL = {
    'hidden_sizes': (16,), 'discount': 0.9, 'lambda_': 0.9, 'value_cost': 0.5, 'entropy_cost': 0.01,
    'learning_rate': 1e-3, 'unroll_length': 6,
}  # fmt: skip

UNROLL_TRACED = MappingProxyType({
    'learning_rate': (1e-3, 1e-2), 'discount': (0.9, 0.5), 'lambda_': (0.9, 0.2),
    'value_cost': (0.5, 2.0), 'entropy_cost': (0.01, 0.5), 'optimizer_epsilon': (1e-5, 1e-2),
    'max_gradient_norm': (10.0, 0.01),
})  # fmt: skip

UNROLL_REFUSED = discrete_spec()._replace(action={'a': specs.Array((2,), np.int32, 'a')})

# Windows of whole episodes.
EPISODES = {
    'hidden_sizes': (16,), 'discount': 0.9, 'value_cost': 0.5, 'entropy_cost': 0.01,
    'learning_rate': 1e-3, 'episode_length': 6,
}  # fmt: skip

EPISODES_TRACED = MappingProxyType(
    {name: values for name, values in UNROLL_TRACED.items() if name != 'lambda_'}
)

VMPO = {
    **{name: value for name, value in UNROLL.items() if name != 'entropy_cost'},
    'target_update_period': 2,
}  # fmt: skip

VMPO_TRACED = MappingProxyType({
    **{name: values for name, values in UNROLL_TRACED.items() if name != 'entropy_cost'},
    'epsilon_temperature': (0.1, 0.5), 'epsilon_mean': (0.01, 0.1), 'epsilon_scale': (0.01, 0.1),
    'initial_temperature': (1.0, 0.1), 'initial_alpha_mean': (1.0, 10.0),
    'initial_alpha_scale': (1.0, 10.0), 'dual_learning_rate': (1e-2, 0.1),
    'target_update_period': (2, 3), 'top_fraction': (0.5, 0.2),
})  # fmt: skip

PQN = {
    'hidden_sizes': (16,), 'epsilon_initial': 1.0, 'epsilon': 0.1, 'epsilon_decay_steps': 20,
    'discount': 0.9, 'lambda_': 0.9, 'num_epochs': 2, 'num_minibatches': 2, 'learning_rate': 1e-3,
    'learning_rate_decay_steps': 1_000, 'reward_scale': 0.5, 'unroll_length': 6,
}  # fmt: skip

PQN_TRACED = MappingProxyType({
    'learning_rate': (1e-3, 1e-2), 'discount': (0.9, 0.5), 'lambda_': (0.9, 0.2),
    'optimizer_epsilon': (1e-8, 1e-2), 'max_gradient_norm': (10.0, 0.01), 'reward_scale': (0.5, 2.0),
    'epsilon': (0.1, 0.9), 'epsilon_initial': (1.0, 0.2), 'epsilon_decay_steps': (20, 2),
})  # fmt: skip

# Agents of bounded actions.
CONTINUOUS = {
    'hidden_sizes': (16,), 'min_replay_size': 8, 'replay_capacity': 64, 'batch_size': 8,
    'samples_per_insert': 8.0, 'discount': 0.9, 'learning_rate': 1e-3, 'target_rate': 0.1,
}  # fmt: skip

CONTINUOUS_TRACED = MappingProxyType({
    'learning_rate': (1e-3, 1e-2), 'discount': (0.9, 0.5), 'target_rate': (0.1, 0.5),
    'random_steps': (0, 10),
})  # fmt: skip

CROSSQ = {
    **{name: value for name, value in CONTINUOUS.items() if name != 'target_rate'},
    'hidden_sizes': (8,), 'critic_hidden_sizes': (16,), 'policy_period': 2, 'norm_warmup': 2,
}  # fmt: skip

CROSSQ_TRACED = MappingProxyType(
    {name: values for name, values in CONTINUOUS_TRACED.items() if name != 'target_rate'}
)

TD3 = {
    **{name: value for name, value in CONTINUOUS.items() if name != 'learning_rate'},
    'policy_learning_rate': 1e-3, 'critic_learning_rate': 1e-3, 'random_steps': 0,
    'exploration_noise': 0.1,
}  # fmt: skip

TD3_TRACED = MappingProxyType({
    **{name: values for name, values in CONTINUOUS_TRACED.items() if name != 'learning_rate'},
    'policy_learning_rate': (1e-3, 1e-2), 'critic_learning_rate': (1e-3, 1e-2),
    'exploration_noise': (0.1, 0.5), 'policy_period': (1, 2),
})  # fmt: skip

D4PG = {
    **{name: value for name, value in TD3.items() if name != 'target_rate'},
    'target_update_period': 5, 'v_min': -10.0, 'v_max': 10.0,
}  # fmt: skip

D4PG_TRACED = MappingProxyType({
    **{name: TD3_TRACED[name] for name in ('policy_learning_rate', 'critic_learning_rate', 'discount',
                                           'random_steps', 'exploration_noise')},
    'target_update_period': (2, 3),
})  # fmt: skip

MPO = {
    'hidden_sizes': (8,), 'min_replay_size': 8, 'replay_capacity': 64, 'batch_size': 8,
    'samples_per_insert': 8.0, 'discount': 0.9, 'num_samples': 4, 'critic_learning_rate': 1e-3,
    'policy_learning_rate': 1e-3, 'target_policy_update_period': 5, 'target_critic_update_period': 3,
    'initial_temperature': 1.0,
}  # fmt: skip

MPO_TRACED = MappingProxyType({
    'critic_learning_rate': (1e-3, 1e-2), 'policy_learning_rate': (1e-3, 1e-2),
    'discount': (0.9, 0.5), 'dual_learning_rate': (1e-2, 1e-1), 'max_gradient_norm': (40.0, 0.01),
    'target_policy_update_period': (2, 3), 'target_critic_update_period': (2, 3),
    'epsilon_temperature': (0.1, 1.0), 'initial_temperature': (1.0, 0.1),
})  # fmt: skip

UNBOUNDED = continuous_spec()._replace(action=specs.Array((2,), np.float32, 'action'))

CLONE = {'hidden_sizes': (16,), 'batch_size': 8, 'learning_rate': 1e-3}

# Agents made of agents: around one with a Replay, and around one with a Queue.
BASE = dqn.DQN(**SMALL, n_step=2)
ON_POLICY = impala.IMPALA(**UNROLL, batch_size=8, core='lstm', core_size=5)
RECURRENT = r2d2.R2D2(**SEQUENCE, dueling=False, rescale=True, priority_exponent=0.9)
AROUND = [
    Row('normalised', wrappers.Normalised(BASE), legal_spec(),
        traced={'max_deviation': (10.0, 0.5), 'epsilon': (1e-8, 1.0)}, kind='wrapper'),
    Row('normalised_impala', wrappers.Normalised(ON_POLICY), discrete_spec(), replaced=False),
    Row('normalised_r2d2', wrappers.Normalised(RECURRENT), legal_spec()),
    Row('normalised_sac', wrappers.Normalised(sac.SAC(**CONTINUOUS, random_steps=0)), box_spec()),
    Row('reward_scaled', wrappers.RewardScaled(dataclasses.replace(BASE, priority_exponent=0.6)),
        discrete_spec(), traced={'max_reward': (10.0, 0.1), 'discount': (0.99, 0.5), 'epsilon': (1e-8, 1.0)}),
    Row('reward_scaled_impala', wrappers.RewardScaled(ON_POLICY), legal_spec(), replaced=False),
    Row('reward_scaled_r2d2', wrappers.RewardScaled(RECURRENT), discrete_spec()),
    Row('reward_scaled_td3', wrappers.RewardScaled(td3.TD3(**TD3)), continuous_spec()),
    Row('warmed_up', wrappers.WarmedUp(BASE, steps=20), legal_spec(), traced={'steps': (20, 0)}),
    Row('warmed_up_impala', wrappers.WarmedUp(ON_POLICY, steps=3), legal_spec(), replaced=False),
    Row('warmed_up_td3', wrappers.WarmedUp(td3.TD3(**TD3), steps=20), box_spec()),
    Row('demonstrated', wrappers.Demonstrated(BASE, recorded.discrete, ratio=0.5), discrete_spec(),
        kind='two tables'),
    Row('all_around', wrappers.Normalised(wrappers.WarmedUp(wrappers.RewardScaled(BASE), steps=20)),
        discrete_spec()),
]  # fmt: skip

AGENTS = [
    *AROUND,
    Row('bc', bc.BC(recorded.discrete, **CLONE, epsilon=0.1, max_gradient_norm=10.0), discrete_spec(),
        traced={'learning_rate': (1e-3, 1e-2), 'epsilon': (0.1, 0.9), 'max_gradient_norm': (10.0, 0.01)},
        refused=((UNROLL_REFUSED, 'BC needs actions of choices'),
                 (UNBOUNDED, r'BC needs a continuous action .* Agents that take it: a2c, impala, ppo')),
        kind='dataset'),
    Row('bc_multi_binary', bc.BC(recorded.multi_binary, **CLONE, epsilon=0.1), multi_binary_spec()),
    Row('bc_legal_actions', bc.BC(recorded.legal, **CLONE, epsilon=0.1), legal_spec()),
    Row('bc_continuous', bc.BC(recorded.continuous, **CLONE, loss='log_likelihood', exploration_noise=0.1),
        continuous_spec(), traced={'learning_rate': (1e-3, 1e-2), 'exploration_noise': (0.1, 0.5)}),
    Row('dqn', dqn.DQN(**SMALL, n_step=1), discrete_spec(), traced=TRACED, refused=REFUSED, kind='replay'),
    Row('dqn_all_options',
        dqn.DQN(**SMALL, n_step=3, dueling=True, priority_exponent=0.6, epsilon_lane_alpha=7.0,
                max_gradient_norm=10.0, reward_clip=1.0, optimizer='rmsprop',
                evaluation_epsilon=0.1),
        discrete_spec(),
        traced={**TRACED, 'importance_exponent': (0.4, 1.0), 'epsilon_lane_alpha': (0.0, 7.0),
                'max_gradient_norm': (10.0, 0.01), 'reward_clip': (1.0, 0.1)}, kind='prioritised'),
    Row('dqn_legal_actions', dqn.DQN(**SMALL, n_step=2), legal_spec()),
    Row('dqn_branches', dqn.DQN(**SMALL, n_step=2, dueling=True, priority_exponent=0.6), branches_spec()),
    Row('dqn_noisy_munchausen',
        dqn.DQN(**{**SMALL, 'double': False}, n_step=1, noise='independent', munchausen=0.9,
                value_cost=0.05, evaluation_noise=True),
        legal_spec(), traced={'temperature': (0.03, 1.0), 'log_policy_clip': (-1.0, -0.01)}),
    Row('ape_x', dqn.ApeX(**{**SMALL, 'epsilon_initial': 0.4, 'epsilon': 0.4, 'epsilon_decay_steps': 0}),
        discrete_spec(), refused=((continuous_spec(), 'ApeX needs a discrete action'),)),
    Row('c51', c51.C51(**DISTRIBUTION, n_step=1, num_atoms=7, v_min=-2.0, v_max=3.0), discrete_spec(),
        traced={**DISTRIBUTION_TRACED, 'v_min': (-2.0, -1.0), 'v_max': (3.0, 4.0)},
        refused=((continuous_spec(), 'C51 needs a discrete action'),)),
    Row('c51_all_options',
        c51.C51(**{**DISTRIBUTION, 'double': False}, n_step=2, num_atoms=5, noise='factorised',
                priority_exponent=0.6, importance_anneal_steps=40),
        legal_spec(), traced={'importance_exponent': (0.4, 1.0)}),
    Row('qr_dqn', qr_dqn.QRDQN(**DISTRIBUTION, n_step=1, num_quantiles=7, dueling=True), discrete_spec(),
        traced={**DISTRIBUTION_TRACED, 'huber_kappa': (1.0, 0.1)},
        refused=((continuous_spec(), 'QRDQN needs a discrete action'),)),
    Row('qr_dqn_all_options',
        qr_dqn.QRDQN(**{**DISTRIBUTION, 'double': False}, n_step=2, num_quantiles=5, huber_kappa=0.0,
                     priority_exponent=0.6),
        legal_spec()),
    Row('iqn', iqn.IQN(**DISTRIBUTION, n_step=1, embedding_size=8, dueling=True), discrete_spec(),
        traced=DISTRIBUTION_TRACED, refused=((continuous_spec(), 'IQN needs a discrete action'),)),
    Row('iqn_all_options',
        iqn.IQN(**{**DISTRIBUTION, 'double': False}, n_step=2, embedding_size=8, num_fractions=4,
                num_target_fractions=5, num_policy_fractions=6, noise='factorised',
                priority_exponent=0.6, munchausen=0.9),
        legal_spec()),
    Row('iqn_averse', iqn.IQN(**DISTRIBUTION, n_step=1, embedding_size=8, risk='cvar', risk_level=0.25),
        legal_spec(), traced={'risk_level': (0.25, 1.0)}),
    Row('rainbow', rainbow.Rainbow(**RAINBOW, num_atoms=7), discrete_spec(),
        refused=((continuous_spec(), 'Rainbow needs a discrete action'),)),
    Row('rainbow_iqn', rainbow.Rainbow(**RAINBOW, head='iqn', embedding_size=8, evaluation_noise=True),
        discrete_spec()),
    Row('pqn', pqn.PQN(**PQN, batch_size=8, dueling=True), discrete_spec(), replaced=False,
        traced={**PQN_TRACED, 'learning_rate_decay_steps': (1_000, 10)},
        refused=((continuous_spec(), 'PQN needs a discrete action'),)),
    Row('pqn_all_options',
        pqn.PQN(**{**PQN, 'learning_rate_decay_steps': None}, core='gru', core_size=5,
                layer_norm=False, max_gradient_norm=None, evaluation_epsilon=0.1),
        legal_spec(), replaced=False),
    Row('r2d2',
        r2d2.R2D2(**SEQUENCE, core='lstm', dueling=True, rescale=True, previous_action=True,
                  previous_reward=True, priority_exponent=0.9),
        discrete_spec(), traced=SEQUENCE_TRACED,
        refused=((continuous_spec(), 'R2D2 needs a discrete action'),), kind='sequence'),
    Row('r2d2_all_options',
        r2d2.R2D2(**{**SEQUENCE, 'burn_in_length': 0}, core='gru', dueling=False, rescale=False,
                  previous_action=False, previous_reward=False, priority_exponent=0.0,
                  max_gradient_norm=None, evaluation_epsilon=0.1),
        legal_spec()),
    Row('sac', sac.SAC(**CONTINUOUS, random_steps=0), continuous_spec(),
        traced={**CONTINUOUS_TRACED, 'initial_temperature': (1.0, 0.1), 'target_entropy': (-2.0, 1.0)},
        refused=tuple((spec, r'SAC needs a continuous action .* or one choice')
                      for spec in (UNBOUNDED, multi_discrete_spec()))),
    Row('sac_choices', sac.SAC(**CONTINUOUS, random_steps=20, target_entropy_share=0.5), legal_spec(),
        traced={'target_entropy_share': (0.5, 0.9), 'initial_temperature': (1.0, 0.1)}),
    Row('sac_all_options',
        sac.SAC(**CONTINUOUS, random_steps=20, temperature=0.2, max_gradient_norm=10.0,
                critic_observation=('number',)),
        box_spec(),
        traced={**CONTINUOUS_TRACED, 'temperature': (0.2, 0.0), 'max_gradient_norm': (10.0, 0.01)}),
    Row('sac_drawn_critics',
        sac.SAC(**CONTINUOUS, random_steps=0, num_critics=3, num_target_critics=2, policy_value='mean',
                policy_period=2, dropout_rate=0.1, critic_layer_norm=True, critic_hidden_sizes=(8,)),
        continuous_spec(), traced={'policy_period': (2, 3)}),
    Row('sac_quantiles',
        sac.SAC(**{**CONTINUOUS, 'hidden_sizes': (8,)}, random_steps=0, num_critics=3, num_quantiles=4,
                dropped_quantiles=1, policy_value='mean', network='simba', weight_decay=0.01,
                normalise_observations=True),
        box_spec(), traced={'weight_decay': (0.01, 0.5)}),
    Row('crossq', crossq.CrossQ(**CROSSQ, random_steps=0), continuous_spec(),
        traced={**CROSSQ_TRACED, 'initial_temperature': (1.0, 0.1), 'target_entropy': (-2.0, 1.0),
                'adam_b1': (0.5, 0.9), 'norm_momentum': (0.9, 0.5), 'norm_warmup': (0, 10),
                'policy_period': (2, 3)},
        refused=tuple((spec, r'CrossQ needs a continuous action') for spec in (UNBOUNDED, discrete_spec()))),
    Row('crossq_all_options',
        crossq.CrossQ(**CROSSQ, random_steps=20, policy_norm=False, max_gradient_norm=10.0,
                      critic_observation=('number',)),
        box_spec(), traced={'max_gradient_norm': (10.0, 0.01)}),
    Row('td3', td3.TD3(**TD3), continuous_spec(),
        traced={**TD3_TRACED, 'target_noise': (0.2, 0.9), 'target_noise_clip': (0.5, 0.1)},
        refused=tuple((spec, r'TD3 needs a continuous action') for spec in (UNBOUNDED, discrete_spec()))),
    Row('ddpg_all_options',
        td3.DDPG(**{**TD3, 'random_steps': 20}, n_step=3, layer_norm=True, max_gradient_norm=10.0,
                 critic_observation=('number',)),
        box_spec(), traced={**TD3_TRACED, 'max_gradient_norm': (10.0, 0.01)},
        refused=((UNBOUNDED, r'DDPG needs a continuous action'),)),
    Row('d4pg', d4pg.D4PG(**D4PG, n_step=3), continuous_spec(),
        traced={**D4PG_TRACED, 'v_min': (-10.0, -5.0), 'v_max': (10.0, 5.0)},
        refused=((discrete_spec(), r'D4PG needs a continuous action'),)),
    Row('d4pg_all_options',
        d4pg.D4PG(**{**D4PG, 'random_steps': 20}, n_step=1, num_atoms=7, layer_norm=False,
                  priority_exponent=0.6, max_gradient_norm=10.0, critic_observation=('number',)),
        box_spec(),
        traced={**D4PG_TRACED, 'max_gradient_norm': (10.0, 0.01), 'importance_exponent': (0.4, 1.0)}),
    Row('mpo', mpo.MPO(**MPO, n_step=2), continuous_spec(),
        traced={**MPO_TRACED, 'initial_scale': (0.5, 1.0), 'epsilon_penalty': (0.001, 0.1),
                'epsilon_mean': (0.0025, 0.1), 'epsilon_scale': (1e-6, 0.1),
                'initial_alpha_mean': (10.0, 0.1), 'initial_alpha_scale': (1000.0, 0.1)},
        refused=tuple((spec, r'MPO needs one choice .* or a continuous action')
                      for spec in (UNBOUNDED, multi_binary_spec()))),
    Row('mpo_legal_retrace',
        mpo.MPO(**MPO, targets='retrace', retrace_lambda=0.9, sequence_length=4, sequence_period=2,
                core='lstm', core_size=5, layer_norm=False, max_gradient_norm=None),
        legal_spec(), traced={'retrace_lambda': (0.9, 0.1), 'epsilon_policy': (0.0025, 0.1),
                              'initial_alpha_policy': (3.0, 0.1)}),
    Row('dmpo', mpo.DMPO(**MPO, n_step=2, num_atoms=7, v_min=-10.0, v_max=10.0, per_dimension=False,
                 critic_observation=('number',)),
        box_spec(), traced={'v_min': (-10.0, -5.0), 'v_max': (10.0, 5.0)},
        refused=((UNBOUNDED, r'DMPO needs one choice'),)),
    Row('dmpo_online_sequences',
        mpo.DMPO(**{**MPO, 'samples_per_insert': 4.0, 'min_replay_size': 0}, online=True,
                 critic='gaussians', num_components=2, num_returns=8, sequence_length=4,
                 sequence_period=2, n_step=2, core='gru', core_size=5),
        discrete_spec()),
    Row('wpo',
        wpo.WPO(**{name: value for name, value in MPO.items() if name != 'initial_temperature'}, n_step=2,
                dual_learning_rate=1e-2),
        continuous_spec(),
        traced={'initial_alpha_mean': (1.0, 10.0), 'initial_alpha_scale': (500.0, 1.0),
                'epsilon_mean': (0.0025, 0.1), 'dual_learning_rate': (0.0, 0.1)},
        refused=tuple((spec, r'WPO needs a continuous action') for spec in (UNBOUNDED, discrete_spec()))),
    Row('impala',
        impala.IMPALA(**UNROLL, batch_size=8, optimizer='rmsprop', rmsprop_decay=0.9, reward_clip=1.0,
                      learning_rate_decay_steps=1_000),
        discrete_spec(), replaced=False,
        traced={**UNROLL_TRACED, 'reward_clip': (1.0, 0.1), 'rmsprop_decay': (0.9, 0.5),
                'clip_rho_threshold': (1.0, 0.5), 'clip_pg_rho_threshold': (1.0, 0.5),
                'learning_rate_decay_steps': (1_000, 10)},
        refused=((UNROLL_REFUSED, 'IMPALA needs actions of choices'),)),
    Row('impala_all_options',
        impala.IMPALA(**UNROLL, core='lstm', core_size=5, shared_torso=True, activation='relu',
                      max_gradient_norm=None, max_staleness=3, max_queue_size=4, task_input=True,
                      pop_art_rate=0.1),
        legal_spec()._replace(num_tasks=2), replaced=False, traced={'pop_art_rate': (0.1, 0.5)}),
    Row('a2c_continuous', impala.A2C(**UNROLL, core='gru', core_size=5), continuous_spec(),
        replaced=False, refused=((UNROLL_REFUSED, 'A2C needs actions of choices'),)),
    Row('impala_multi_discrete', impala.IMPALA(**UNROLL, batch_size=8), multi_discrete_spec(),
        replaced=False),
    Row('reinforce', reinforce.REINFORCE(**EPISODES, batch_size=8, normalise_advantages=True),
        discrete_spec(), replaced=False, traced=EPISODES_TRACED,
        refused=((UNROLL_REFUSED, 'REINFORCE needs actions of choices'),)),
    Row('reinforce_all_options',
        reinforce.REINFORCE(**EPISODES, batch_size=2, baseline=False, discounted_steps=True, core='gru',
                            core_size=5, max_gradient_norm=None, learning_rate_decay_steps=1_000),
        hybrid_spec(), replaced=False),
    Row('vmpo', vmpo.VMPO(**VMPO, batch_size=8), continuous_spec(), replaced=False, traced=VMPO_TRACED,
        refused=((UNROLL_REFUSED, 'VMPO needs actions of choices'),)),
    Row('vmpo_all_options',
        vmpo.VMPO(**VMPO, batch_size=None, core='lstm', core_size=5, pop_art_rate=0.1,
                  max_gradient_norm=None, top_fraction=0.3, learning_rate_decay_steps=1_000),
        legal_spec(), replaced=False, traced={'epsilon_policy': (0.01, 0.1)}),
    Row('vmpo_hybrid', vmpo.VMPO(**VMPO, batch_size=8, per_dimension=True), hybrid_spec(),
        replaced=False),
    Row('ppo', ppo.PPO(**UNROLL, batch_size=8, num_epochs=2, num_minibatches=2, max_gradient_norm=10.0),
        continuous_spec(), replaced=False,
        traced={**UNROLL_TRACED, 'clip_epsilon': (0.2, 0.01)},
        refused=((UNROLL_REFUSED, 'PPO needs actions of choices'),), kind='queue'),
    Row('ppo_hybrid',
        ppo.PPO(**UNROLL, batch_size=8, num_epochs=2, num_minibatches=2, critic_observation=('number',)),
        hybrid_spec(), replaced=False),
    Row('ppo_all_options',
        ppo.PPO(**UNROLL, batch_size=None, num_epochs=2, num_minibatches=2, core='lstm', core_size=5,
                value_clip_epsilon=0.2, target_kl=0.5, normalise_advantages=False,
                learning_rate_decay_steps=1_000),
        legal_spec(), replaced=False),
]  # fmt: skip


def of(name: str) -> Row:
    """The row of a name."""
    return next(row for row in AGENTS if row.name == name)


def one_of_each_kind() -> list[Any]:
    """The rows that stand for their kind, as parameters: what is asked of them is marked `kind`."""
    return [pytest.param(row, marks=pytest.mark.kind) for row in AGENTS if row.kind]


def one_of_each_family(rows: list[Row]) -> list[Any]:
    """Rows as parameters: all but the first of each folder of agents are marked `deep`."""
    first = first_of_each_family(rows)
    return [row if row in first else pytest.param(row, marks=pytest.mark.deep) for row in rows]


def one_of_each_family_and_kind(rows: list[Row]) -> list[Any]:
    """Rows as parameters of a dear contract: `deep`, but for the first of each folder and those of a kind."""
    asked = [*first_of_each_family(rows), *(row for row in rows if row.kind)]
    return [row if row in asked else pytest.param(row, marks=pytest.mark.deep) for row in rows]


def first_of_each_family(rows: list[Row]) -> list[Row]:
    """The first row of each folder of agents."""
    return list({family(row.agent): row for row in reversed(rows)}.values())


def kinds_first(rows: list[Row]) -> list[Any]:
    """Rows as parameters of a dear test: `kind` marks those that stand for theirs, `deep` the others."""
    return [
        pytest.param(row, marks=pytest.mark.kind if row.kind else pytest.mark.deep) for row in rows
    ]


def family(agent: Any) -> str:
    """The folder of culmen/agents that an agent is from."""
    return type(agent).__module__.split('.')[2]
