"""The Culmen side of sac_speed.py: one run of `culmen.run`, one JSON line."""

import argparse
import importlib.metadata
import json
import platform

from dqn_speed_culmen import Clock
from dqn_speed_culmen import Parts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--settings', type=json.loads, required=True)
    parser.add_argument('--warm-up', type=int, required=True)
    parser.add_argument('--steps', type=int, required=True)
    parser.add_argument('--seed', type=int, required=True)
    arguments = parser.parse_args()

    import culmen
    from culmen.agents import sac

    settings = dict(arguments.settings)
    environment = settings.pop('environment')
    settings['hidden_sizes'] = tuple(settings['hidden_sizes'])
    total = arguments.warm_up + arguments.steps + 1
    experiment = culmen.Experiment(
        agent=sac.SAC(
            **settings,
            random_steps=settings['min_replay_size'],
            samples_per_insert=float(settings['batch_size']),
        ),
        environment=environment,
        seed=arguments.seed,
        max_actor_steps=total,
        evaluation=culmen.Evaluation(every=None, episodes=1),
    )
    clock = Clock(arguments.warm_up, Parts())
    result = culmen.run(experiment, observers=[clock], progress=False)
    steps, seconds = clock.steps - arguments.warm_up, clock.end - clock.begin
    updates = result.summary['learner_steps']
    assert abs(updates - (total - settings['min_replay_size'])) <= 1, updates
    output = {
        'steps': steps,
        'updates': steps,
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
