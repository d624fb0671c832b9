"""The sbx side of crossq_speed.py, in an environment of its own: a run, a JSON line."""

import json
import sys
import time

import gymnasium
import sbx
from dqn_speed import tell
from stable_baselines3.common.vec_env import DummyVecEnv

PACKAGES = ('sbx-rl', 'stable-baselines3', 'jax', 'gymnasium', 'numpy')


def main() -> None:
    task = json.loads(sys.argv[1])
    settings = task['settings']
    name = settings['environment'].partition('/')[2]
    model = sbx.CrossQ(
        'MlpPolicy',
        DummyVecEnv([lambda: gymnasium.make(name)]),
        learning_rate=settings['learning_rate'],
        qf_learning_rate=settings['learning_rate'],
        gamma=settings['discount'],
        buffer_size=settings['replay_capacity'],
        learning_starts=settings['min_replay_size'],
        batch_size=settings['batch_size'],
        policy_delay=settings['policy_period'],
        policy_kwargs={
            'net_arch': {'pi': settings['hidden_sizes'], 'qf': settings['critic_hidden_sizes']}
        },
        train_freq=1,
        gradient_steps=1,
        seed=task['seed'],
    )
    model.learn(task['warm_up'], log_interval=None)
    begin_updates = model._n_updates
    begin = time.perf_counter()
    model.learn(task['steps'], log_interval=None, reset_num_timesteps=False)
    seconds = time.perf_counter() - begin
    tell(task['steps'], model._n_updates - begin_updates, seconds, PACKAGES)


if __name__ == '__main__':
    main()
