"""The Culmen side of agent_speed.py: one run of `culmen.run`, one JSON line."""

import argparse
import importlib.metadata
import json
import platform
from typing import Any

from dqn_speed_culmen import Clock
from dqn_speed_culmen import Parts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--settings', type=json.loads, required=True)
    parser.add_argument('--warm-up', type=int, required=True)
    parser.add_argument('--steps', type=int, required=True)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--threads', type=int, required=True)  # told by the cores that it has
    arguments = parser.parse_args()

    import culmen
    from culmen.agents import ppo
    from culmen.agents import sac

    settings = dict(arguments.settings)
    name, environment = settings.pop('agent'), settings.pop('environment')
    num_environments = settings.pop('num_environments')
    settings['hidden_sizes'] = tuple(settings['hidden_sizes'])
    agent: Any
    if name == 'sac':
        agent = sac.SAC(
            **settings,
            random_steps=settings['min_replay_size'],
            samples_per_insert=float(settings['batch_size']),
        )
    else:
        agent = ppo.PPO(**settings, batch_size=None)
    total = arguments.warm_up + arguments.steps + num_environments
    experiment = culmen.Experiment(
        agent=agent,
        environment=environment,
        seed=arguments.seed,
        max_actor_steps=total,
        num_environments=num_environments,
        evaluation=culmen.Evaluation(every=None, episodes=1),
    )
    clock = Clock(arguments.warm_up, Parts())
    result = culmen.run(experiment, observers=[clock], progress=False)
    steps, seconds = clock.steps - arguments.warm_up, clock.end - clock.begin
    updates = result.summary['learner_steps']
    if name == 'sac':
        due = total - settings['min_replay_size']
        timed = steps
    else:
        unroll = settings['unroll_length'] * num_environments
        due = (
            result.summary['actor_steps'] + result.summary['episodes']
        ) // unroll  # LAST is a row
        timed = round(updates * steps / result.summary['actor_steps'])
    assert abs(updates - due) <= 1, (updates, due)
    output = {
        'steps': steps,
        'updates': timed,
        'seconds': seconds,
        'steps_per_second': steps / seconds,
        'versions': {
            'python': platform.python_version(),
            'culmen': culmen.__version__,
            **{name: importlib.metadata.version(name) for name in ('jax', 'gymnasium', 'numpy')},
        },
    }
    print(json.dumps(output))


if __name__ == '__main__':
    main()
