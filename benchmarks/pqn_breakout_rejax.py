"""The rejax side of pqn_breakout.py, in an environment of its own: one seed in a workdir."""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import rejax
from flax import linen as nn
from flax.training.train_state import TrainState
from rejax.algos.algorithm import register_init
from rejax.evaluate import evaluate
from rejax.networks import EpsilonGreedyPolicy


class MinAtarNetwork(nn.Module):
    """Action values by MinAtar's convolution and dense layer, each with layer norm before its ReLU."""

    action_dim: int

    @nn.compact
    def __call__(self, observation: Any) -> Any:
        features = nn.Conv(16, (3, 3), padding='VALID')(observation.astype(jnp.float32))
        features = nn.relu(nn.LayerNorm()(features))
        features = features.reshape(features.shape[0], -1)
        features = nn.relu(nn.LayerNorm()(nn.Dense(128)(features)))
        return nn.Dense(self.action_dim)(features)

    def take(self, observation: Any, action: Any) -> Any:
        return jnp.take_along_axis(self(observation), action[:, None], axis=1)[:, 0]


class PQN(rejax.PQN):
    """rejax's PQN with the optimiser of the paper's code, and a network for images."""

    @classmethod
    def create_agent(cls, config: Any, env: Any, env_params: Any) -> Any:
        num_actions = env.action_space(env_params).n
        return {'agent': EpsilonGreedyPolicy(MinAtarNetwork)(action_dim=num_actions)}

    @register_init
    def initialize_network_params(self, rng: Any) -> Any:
        shape = self.env.observation_space(self.env_params).shape
        params = self.agent.init(rng, jnp.empty([1, *shape]))
        batches = self.total_timesteps // self.iteration_size
        updates = batches * self.num_epochs * self.num_minibatches
        rate = optax.linear_schedule(self.learning_rate, 0.0, updates)
        optimizer = optax.chain(
            optax.clip_by_global_norm(self.max_grad_norm), optax.radam(learning_rate=rate)
        )
        return {'q_ts': TrainState.create(apply_fn=(), params=params, tx=optimizer)}


def main() -> None:
    """Trains with an evaluation after each piece, and writes what learning_curves.py reads of a run."""
    parser = argparse.ArgumentParser()
    for name in ('--seed', '--steps', '--every', '--episodes'):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument('--settings', type=json.loads, required=True)
    parser.add_argument('--environment', required=True)
    parser.add_argument('--workdir', type=Path, required=True)
    arguments = parser.parse_args()
    algorithm = PQN.create(
        env=arguments.environment, total_timesteps=arguments.steps, **arguments.settings
    )

    @jax.jit
    def iterate(state: Any) -> Any:
        return algorithm.train_iteration(state)

    @jax.jit
    def returns_of(params: Any, key: Any) -> Any:
        greedy = lambda observation, _: jnp.argmax(
            algorithm.agent.apply(params, observation[None])[0]
        )
        env, env_params = algorithm.env, algorithm.env_params
        limit = env_params.max_steps_in_episode
        return evaluate(greedy, key, env, env_params, arguments.episodes, limit)[1]

    key = jax.random.PRNGKey(1_000 + arguments.seed)
    state = algorithm.init_state(jax.random.PRNGKey(arguments.seed))
    rows, steps, batches, due = [], 0, 0, arguments.every
    while due <= arguments.steps:
        while steps < due:
            state = iterate(state)
            steps += algorithm.iteration_size
            batches += 1
        key, of_evaluation = jax.random.split(key)
        returns = returns_of(state.q_ts.params, of_evaluation)
        rows.append([steps, batches, float(returns.mean()), float(returns.std())])
        print(*rows[-1], flush=True)
        due += arguments.every
    logs = arguments.workdir / 'logs'
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / 'evaluator.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['actor_steps', 'learner_steps', 'episode_return', 'episode_return_std'])
        writer.writerows(rows)
    (arguments.workdir / 'result.json').write_text('{}')


if __name__ == '__main__':
    main()
