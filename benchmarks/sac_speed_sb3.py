"""The stable-baselines3 side of sac_speed.py, in an environment of its own: a run, a JSON line."""

import argparse
import json
import platform
import time

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.vec_env import DummyVecEnv


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--settings', type=json.loads, required=True)
    parser.add_argument('--warm-up', type=int, required=True)
    parser.add_argument('--steps', type=int, required=True)
    parser.add_argument('--seed', type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = arguments.settings
    name = settings['environment'].partition('/')[2]
    model = stable_baselines3.SAC(
        'MlpPolicy',
        # Given ready, so that no monitor is put around it.
        DummyVecEnv([lambda: gymnasium.make(name)]),
        learning_rate=settings['learning_rate'],
        buffer_size=settings['replay_capacity'],
        learning_starts=settings['min_replay_size'],
        batch_size=settings['batch_size'],
        tau=settings['target_rate'],
        gamma=settings['discount'],
        train_freq=1,
        gradient_steps=1,
        policy_kwargs={'net_arch': settings['hidden_sizes']},
        seed=arguments.seed,
        device='cpu',
    )
    model.learn(arguments.warm_up, log_interval=None)
    begin_updates = model._n_updates
    begin = time.perf_counter()
    model.learn(arguments.steps, log_interval=None, reset_num_timesteps=False)
    seconds = time.perf_counter() - begin
    result = {
        'steps': arguments.steps,
        'updates': model._n_updates - begin_updates,
        'seconds': seconds,
        'steps_per_second': arguments.steps / seconds,
        'versions': {
            'python': platform.python_version(),
            'stable-baselines3': stable_baselines3.__version__,
            'torch': torch.__version__,
            'gymnasium': gymnasium.__version__,
            'numpy': np.__version__,
        },
    }
    print(json.dumps(result))


if __name__ == '__main__':
    main()
