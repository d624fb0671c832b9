"""The stable-baselines3 side of agent_speed.py, in an environment of its own: a run, a JSON line."""

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
    parser.add_argument('--threads', type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = arguments.settings
    name = settings['environment'].partition('/')[2]
    # Given ready, so that no monitor is put around it.
    environment = DummyVecEnv([lambda: gymnasium.make(name)] * settings['num_environments'])
    common = {
        'learning_rate': settings['learning_rate'], 'gamma': settings['discount'],
        'policy_kwargs': {'net_arch': settings['hidden_sizes']}, 'seed': arguments.seed, 'device': 'cpu',
    }  # fmt: skip
    if settings['agent'] == 'sac':
        model = stable_baselines3.SAC(
            'MlpPolicy',
            environment,
            **common,
            buffer_size=settings['replay_capacity'],
            learning_starts=settings['min_replay_size'],
            batch_size=settings['batch_size'],
            tau=settings['target_rate'],
            train_freq=1,
            gradient_steps=1,
        )
    else:
        batch = settings['num_environments'] * settings['unroll_length']
        model = stable_baselines3.PPO(
            'MlpPolicy',
            environment,
            **common,
            n_steps=settings['unroll_length'],
            batch_size=batch // settings['num_minibatches'],
            n_epochs=settings['num_epochs'],
            gae_lambda=settings['lambda_'],
            clip_range=settings['clip_epsilon'],
            vf_coef=settings['value_cost'],
            ent_coef=settings['entropy_cost'],
            max_grad_norm=settings['max_gradient_norm'],
        )
    model.learn(arguments.warm_up, log_interval=None)
    begin_updates = model._n_updates
    begin = time.perf_counter()
    model.learn(arguments.steps, log_interval=None, reset_num_timesteps=False)
    seconds = time.perf_counter() - begin
    # PPO counts epochs.
    updates = (model._n_updates - begin_updates) // settings.get('num_epochs', 1)
    result = {
        'steps': arguments.steps,
        'updates': updates,
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
