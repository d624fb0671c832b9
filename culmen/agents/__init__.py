"""Agents: one folder per algorithm family, each reads like its paper."""

import importlib
from typing import Any

# Names on the command line and in config.json, with where each is defined.
AGENTS: dict[str, str] = {
    'bc': 'culmen.agents.bc:BC',
    'demonstrated': 'culmen.agents.wrappers:Demonstrated',
    'normalised': 'culmen.agents.wrappers:Normalised',
    'reward_scaled': 'culmen.agents.wrappers:RewardScaled',
    'warmed_up': 'culmen.agents.wrappers:WarmedUp',
    'dqn': 'culmen.agents.dqn:DQN',
    'ape_x': 'culmen.agents.dqn:ApeX',
    'c51': 'culmen.agents.c51:C51',
    'qr_dqn': 'culmen.agents.qr_dqn:QRDQN',
    'iqn': 'culmen.agents.iqn:IQN',
    'rainbow': 'culmen.agents.rainbow:Rainbow',
    'mpo': 'culmen.agents.mpo:MPO',
    'dmpo': 'culmen.agents.mpo:DMPO',
    'pqn': 'culmen.agents.pqn:PQN',
    'r2d2': 'culmen.agents.r2d2:R2D2',
    'sac': 'culmen.agents.sac:SAC',
    'crossq': 'culmen.agents.crossq:CrossQ',
    'impala': 'culmen.agents.impala:IMPALA',
    'a2c': 'culmen.agents.impala:A2C',
    'ppo': 'culmen.agents.ppo:PPO',
    'reinforce': 'culmen.agents.reinforce:REINFORCE',
    'vmpo': 'culmen.agents.vmpo:VMPO',
    'td3': 'culmen.agents.td3:TD3',
    'ddpg': 'culmen.agents.td3:DDPG',
    'd4pg': 'culmen.agents.d4pg:D4PG',
    'wpo': 'culmen.agents.wpo:WPO',
}

__all__ = [
    'AGENTS',
    'bc',
    'c51',
    'crossq',
    'd4pg',
    'dqn',
    'impala',
    'iqn',
    'mpo',
    'ppo',
    'pqn',
    'qr_dqn',
    'r2d2',
    'rainbow',
    'reinforce',
    'sac',
    'td3',
    'wpo',
    'vmpo',
    'wrappers',
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return importlib.import_module(f'{__name__}.{name}')


def __dir__() -> list[str]:
    return sorted(__all__)
