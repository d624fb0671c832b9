"""The stable-baselines3 side of dqn_speed.py, in an environment of its own: a run, a JSON line."""

import argparse
import json
import os
import time
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from dqn_speed import OF_SB3
from dqn_speed import tell
from stable_baselines3.common.vec_env import DummyVecEnv


class FromDmEnv(gymnasium.Env):
    """A dm_env environment with discrete actions, as a gymnasium one."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        observation = environment.observation_spec()
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, observation.shape, np.float32
        )
        self.action_space = gymnasium.spaces.Discrete(environment.action_spec().num_values)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        return self._environment.reset().observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        timestep = self._environment.step(int(action))
        terminated = timestep.last() and timestep.discount == 0
        truncated = timestep.last() and not terminated
        return timestep.observation, timestep.reward, terminated, truncated, {}


def make_environment(name: str, seed: int) -> gymnasium.Env:
    family, _, identifier = name.partition('/')
    if family == 'gymnasium':
        return gymnasium.make(identifier)
    import bsuite
    from bsuite import sweep

    settings = {**sweep.SETTINGS[identifier], 'seed': seed}
    return FromDmEnv(bsuite.load(identifier.split('/')[0], settings))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--environment', required=True)
    parser.add_argument('--settings', type=json.loads, required=True)
    parser.add_argument('--warm-up', type=int, required=True)
    parser.add_argument('--steps', type=int, required=True)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--threads', type=int, required=True)
    parser.add_argument('--cores', type=int)
    arguments = parser.parse_args()
    if arguments.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    torch.set_num_threads(arguments.threads)
    settings = arguments.settings
    model = stable_baselines3.DQN(
        'MlpPolicy',
        # Given ready, so that no monitor is put around it.
        DummyVecEnv([lambda: make_environment(arguments.environment, arguments.seed)]),
        learning_rate=settings['learning_rate'],
        buffer_size=settings['replay_capacity'],
        learning_starts=settings['min_replay_size'],
        batch_size=settings['batch_size'],
        gamma=settings['discount'],
        train_freq=1,
        gradient_steps=1,
        target_update_interval=settings['target_update_period'],
        exploration_initial_eps=settings['epsilon_initial'],
        exploration_final_eps=settings['epsilon'],
        # Of the warm-up, which is all that the first call of learn knows of.
        exploration_fraction=settings['epsilon_decay_steps'] / arguments.warm_up,
        max_grad_norm=settings['max_gradient_norm'],
        policy_kwargs={'net_arch': settings['hidden_sizes']},
        seed=arguments.seed,
        device='cpu',
    )
    model.learn(arguments.warm_up, log_interval=None)
    # It is final now: a second call of learn would stretch it over both calls' steps.
    model.exploration_schedule = lambda remaining: settings['epsilon']
    begin_updates = model._n_updates
    begin = time.perf_counter()
    model.learn(arguments.steps, log_interval=None, reset_num_timesteps=False)
    seconds = time.perf_counter() - begin
    tell(arguments.steps, model._n_updates - begin_updates, seconds, OF_SB3)


if __name__ == '__main__':
    main()
