"""The stable-baselines3 side of agent_speed.py, in an environment of its own: a run, a JSON line."""

import json
import sys
import time

import gymnasium
import sb3_contrib
import stable_baselines3
import torch
from dqn_speed import OF_SB3
from dqn_speed import tell
from stable_baselines3.common.vec_env import DummyVecEnv


def main() -> None:
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task['threads'])
    settings = task['settings']
    name = settings['environment'].partition('/')[2]
    # Given ready, so that no monitor is put around it.
    environment = DummyVecEnv([lambda: gymnasium.make(name)] * settings['num_environments'])
    common = {
        'learning_rate': settings['learning_rate'], 'gamma': settings['discount'],
        'policy_kwargs': {'net_arch': settings['hidden_sizes']}, 'seed': task['seed'], 'device': 'cpu',
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
    elif settings['agent'] == 'qr_dqn':
        common['policy_kwargs']['n_quantiles'] = settings['num_quantiles']
        model = sb3_contrib.QRDQN(
            'MlpPolicy',
            environment,
            **common,
            buffer_size=settings['replay_capacity'],
            learning_starts=settings['min_replay_size'],
            batch_size=settings['batch_size'],
            train_freq=1,
            gradient_steps=1,
            target_update_interval=settings['target_update_period'],
            exploration_initial_eps=settings['epsilon_initial'],
            exploration_final_eps=settings['epsilon'],
            # Of the warm-up, which is all that the first call of learn knows of.
            exploration_fraction=settings['epsilon_decay_steps'] / task['warm_up'],
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
    model.learn(task['warm_up'], log_interval=None)
    if settings['agent'] == 'qr_dqn':
        # It is final now: a second call of learn would stretch it over both calls' steps.
        model.exploration_schedule = lambda remaining: settings['epsilon']
    begin_updates = model._n_updates
    begin = time.perf_counter()
    model.learn(task['steps'], log_interval=None, reset_num_timesteps=False)
    seconds = time.perf_counter() - begin
    # PPO counts epochs.
    updates = (model._n_updates - begin_updates) // settings.get('num_epochs', 1)
    tell(task['steps'], updates, seconds, OF_SB3)


if __name__ == '__main__':
    main()
