"""A worker of compiled.py: one implementation in a process of its own, told through its standard input.

It answers each line with a line of JSON: 'compile' with the seconds until the first step could be taken, 'go'
with the steps, updates and seconds of a training run from its beginning.
"""

import json
import sys
import time
from typing import Any


class Function:
    """A peer: one compiled function of a key, of a whole run."""

    def __init__(self, train: Any, steps: int) -> None:
        import jax

        self._steps = steps
        self._train = jax.jit(train)
        self._seed = 0

    def compile(self) -> None:
        import jax

        self._train = self._train.lower(jax.random.PRNGKey(0)).compile()

    def go(self) -> dict[str, Any]:
        import jax

        self._seed += 1
        begin = time.perf_counter()
        _, updates = jax.block_until_ready(self._train(jax.random.PRNGKey(self._seed)))
        return {
            'steps': self._steps,
            'updates': int(updates),
            'seconds': time.perf_counter() - begin,
        }


def pure(task: dict[str, Any]) -> Function:
    import compiled_pure

    return Function(compiled_pure.MAKE[task['agent']](task, task['steps']), task['steps'])


def rejax(task: dict[str, Any]) -> Function:
    import jax.numpy as jnp
    import rejax

    num = task['num_environments']
    common = {
        'env': task['environment'], 'num_envs': num, 'learning_rate': task['learning_rate'],
        'gamma': task['discount'], 'total_timesteps': task['steps'], 'eval_freq': task['steps'],
        'skip_initial_evaluation': True, 'num_epochs': task.get('num_epochs', 1),
    }  # fmt: skip
    if task['agent'] == 'dqn':
        algorithm = rejax.DQN.create(
            **common, agent='QNetwork', agent_kwargs={'activation': 'relu'},
            buffer_size=task['replay_capacity'], fill_buffer=task['min_replay_size'],
            batch_size=task['batch_size'], ddqn=True, eps_end=task['epsilon'],
            target_update_freq=task['target_update_period'] * num,
            exploration_fraction=task['epsilon_decay_steps'] / task['steps'],
        )  # fmt: skip
        updates = (task['steps'] - task['min_replay_size']) // num
    else:
        algorithm = rejax.PPO.create(
            **common, num_steps=task['unroll_length'], num_minibatches=task['num_minibatches'],
            agent_kwargs={'activation': 'tanh', 'hidden_layer_sizes': task['hidden_sizes']},
            gae_lambda=task['lambda_'], clip_eps=task['clip_epsilon'], vf_coef=task['value_cost'],
            ent_coef=task['entropy_cost'], max_grad_norm=task['max_gradient_norm'],
        )  # fmt: skip
        updates = task['steps'] // (num * task['unroll_length'])
    # No evaluation: nobody else evaluates.
    algorithm = algorithm.replace(eval_callback=lambda *_: jnp.zeros(()))

    def train(key: Any) -> Any:
        state, _ = algorithm.train(key)
        return state, jnp.int32(updates)

    return Function(train, task['steps'])


class Culmen:
    """Culmen's loops, without logs, evaluations and checkpoints."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        import culmen
        from culmen.agents import dqn
        from culmen.agents import ppo
        from culmen.agents import pqn

        num = task['num_environments']
        if task['agent'] == 'dqn':
            agent: Any = dqn.DQN(
                hidden_sizes=tuple(task['hidden_sizes']), n_step=1, double=True, huber_delta=None,
                learning_rate=task['learning_rate'], discount=task['discount'],
                epsilon=task['epsilon'], epsilon_decay_steps=task['epsilon_decay_steps'],
                batch_size=task['batch_size'], replay_capacity=task['replay_capacity'],
                min_replay_size=task['min_replay_size'],
                target_update_period=task['target_update_period'],
                samples_per_insert=task['batch_size'] / num,  # an update a vector step
            )  # fmt: skip
        elif task['agent'] == 'pqn':
            settings = dict(task)
            for name in ('environment', 'agent', 'num_environments', 'steps'):
                settings.pop(name)
            settings['hidden_sizes'] = tuple(settings['hidden_sizes'])
            agent = pqn.PQN(**settings)
        else:
            agent = ppo.PPO(
                hidden_sizes=tuple(task['hidden_sizes']), activation='tanh', batch_size=None,
                **{name: task[name] for name in (
                    'learning_rate', 'discount', 'lambda_', 'clip_epsilon', 'value_cost',
                    'entropy_cost', 'max_gradient_norm', 'num_epochs', 'num_minibatches',
                    'unroll_length',
                )},
            )  # fmt: skip
        self.experiment = culmen.Experiment(
            agent, f'gymnax/{task["environment"]}', max_actor_steps=task['steps'],
            num_environments=num, evaluation=culmen.Evaluation(None, 1),
        )  # fmt: skip
        self._steps = task['steps']
        self._seed = 0

    def compile(self) -> None:
        from culmen.launchers import compiled

        self._loop = compiled.make_plan(self.experiment).loop
        self._loop.run(self._loop.begin(0), 0)

    def go(self) -> dict[str, Any]:
        self._seed += 1
        begin = time.perf_counter()
        carry = self._loop.begin(self._seed)
        steps = updates = 0
        while steps < self._steps:
            carry, report = self._loop.run(carry, self._loop.max_ticks(), self._steps - steps)
            steps += report.actor_steps
            updates += report.updates
        return {'steps': steps, 'updates': updates, 'seconds': time.perf_counter() - begin}

    def parts(self) -> dict[str, Any]:
        """Microseconds of a vector step by part: those of a run that never learns, and the rest."""
        never = {'min_replay_size': 10**6, 'replay_capacity': 10**6}
        if self._task['agent'] == 'ppo':
            never = {'unroll_length': 1_000}
        idle = Culmen({**self._task, **never})
        idle.compile()
        whole, acting = self._seconds_a_tick(), idle._seconds_a_tick()
        return {
            'act, step, store': 1e6 * acting,
            'draw and update': 1e6 * (whole - acting),
        }

    def _seconds_a_tick(self) -> float:
        seconds = []
        for seed in range(5):
            carry, report = self._loop.run(self._loop.begin(seed), 256)
            assert report.ticks  # it is over
            begin = time.perf_counter()
            _, report = self._loop.run(carry, 512)
            ticks = report.ticks  # it is over
            seconds.append((time.perf_counter() - begin) / ticks)
        return min(seconds)


class Host(Culmen):
    """The same agent in the batched loop of one process: all environments step in one compiled call."""

    def compile(self) -> None:
        self.go()

    def go(self) -> dict[str, Any]:
        import dataclasses

        from culmen.launchers import local

        self._seed += 1
        experiment = dataclasses.replace(self.experiment, seed=self._seed)
        result = local.run(experiment, progress=False)
        steps, rate = result.summary['actor_steps'], result.summary['steps_per_second']
        return {'steps': steps, 'updates': result.summary['learner_steps'], 'seconds': steps / rate}

    def parts(self) -> dict[str, Any]:
        """Microseconds of a vector step by part, as the loop tells them."""
        from culmen.environment_loops import host

        loops: list[Any] = []
        make = host.EnvironmentLoop.__init__

        def remember(loop: Any, *arguments: Any, **options: Any) -> None:
            make(loop, *arguments, **options)
            loops.append(loop)

        host.EnvironmentLoop.__init__ = remember  # type: ignore[method-assign]
        told = self.go()
        host.EnvironmentLoop.__init__ = make  # type: ignore[method-assign]
        ticks = told['steps'] / self._task['num_environments']
        parts = {name: 1e6 * seconds / ticks for name, seconds in loops[0].timings.items()}
        parts['the rest of the loop'] = 1e6 * told['seconds'] / ticks - sum(parts.values())
        return parts


WORKERS = {'culmen': Culmen, 'host': Host, 'pure': pure, 'rejax': rejax}


def main() -> None:
    """Answers until its input ends."""
    worker = WORKERS[sys.argv[1]](json.loads(sys.argv[2]))
    for line in sys.stdin:
        begin = time.perf_counter()
        answer: Any = getattr(worker, line.strip())()
        print(json.dumps(answer or {'seconds': time.perf_counter() - begin}), flush=True)


if __name__ == '__main__':
    main()
