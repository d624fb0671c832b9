"""The stable-baselines3 side of halfcheetah.py, in an environment of its own: one seed in a workdir."""

import argparse
import csv
import json
from pathlib import Path

import gymnasium
import numpy as np
import stable_baselines3
import torch
from dqn_speed import OF_SB3
from dqn_speed import versions_of
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor


def main() -> None:
    """Trains in pieces, an evaluation after each, and writes what learning_curves.py reads of a run."""
    parser = argparse.ArgumentParser()
    for name in ('--seed', '--steps', '--every', '--episodes'):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument('--settings', type=json.loads, required=True)
    parser.add_argument('--environment', required=True)
    parser.add_argument('--workdir', type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = stable_baselines3.SAC(
        'MlpPolicy', gymnasium.make(arguments.environment), seed=arguments.seed, device='cpu',
        **arguments.settings,
    )  # fmt: skip
    evaluation = Monitor(gymnasium.make(arguments.environment))
    evaluation.reset(seed=1_000 + arguments.seed)
    rows = []
    for steps in range(arguments.every, arguments.steps + 1, arguments.every):
        model.learn(arguments.every, reset_num_timesteps=False, log_interval=None)
        returns, _ = evaluate_policy(
            model, evaluation, arguments.episodes, return_episode_rewards=True
        )
        rows.append([steps, model._n_updates, float(np.mean(returns)), float(np.std(returns))])
        print(*rows[-1], flush=True)
    logs = arguments.workdir / 'logs'
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / 'evaluator.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['actor_steps', 'learner_steps', 'episode_return', 'episode_return_std'])
        writer.writerows(rows)
    result = {'versions': versions_of([*OF_SB3, 'mujoco'])}
    (arguments.workdir / 'result.json').write_text(json.dumps(result))


if __name__ == '__main__':
    main()
