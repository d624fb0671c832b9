"""The Culmen side of agent_speed.py: one run of `culmen.run`, one JSON line."""

import json
import sys
from typing import Any

from dqn_speed import OF_CULMEN
from dqn_speed import tell
from dqn_speed_culmen import Clock
from dqn_speed_culmen import Parts


def main() -> None:
    task = json.loads(sys.argv[1])

    import culmen
    from culmen.agents import crossq
    from culmen.agents import ppo
    from culmen.agents import qr_dqn
    from culmen.agents import sac

    settings = dict(task['settings'])
    name, environment = settings.pop('agent'), settings.pop('environment')
    num_environments = settings.pop('num_environments')
    settings['hidden_sizes'] = tuple(settings['hidden_sizes'])
    agent: Any
    if 'critic_hidden_sizes' in settings:
        settings['critic_hidden_sizes'] = tuple(settings['critic_hidden_sizes'])
    if name in ('sac', 'crossq'):
        agent = {'sac': sac.SAC, 'crossq': crossq.CrossQ}[name](
            **settings,
            random_steps=settings['min_replay_size'],
            samples_per_insert=float(settings['batch_size']),
        )
    elif name == 'qr_dqn':
        agent = qr_dqn.QRDQN(
            **settings,
            n_step=1,
            double=False,
            optimizer_epsilon=0.01 / settings['batch_size'],  # as sb3-contrib's Adam
            samples_per_insert=float(settings['batch_size']),
        )
    else:
        agent = ppo.PPO(**settings, batch_size=None)
    total = task['warm_up'] + task['steps'] + num_environments
    experiment = culmen.Experiment(
        agent=agent,
        environment=environment,
        seed=task['seed'],
        max_actor_steps=total,
        num_environments=num_environments,
        evaluation=culmen.Evaluation(every=None, episodes=1),
    )
    clock = Clock(task['warm_up'], Parts())
    result = culmen.run(experiment, observers=[clock], progress=False)
    steps, seconds = clock.steps - task['warm_up'], clock.end - clock.begin
    updates = result.summary['learner_steps']
    if name != 'ppo':
        due = total - settings['min_replay_size']
        timed = steps
    else:
        unroll = settings['unroll_length'] * num_environments
        due = (
            result.summary['actor_steps'] + result.summary['episodes']
        ) // unroll  # LAST is a row
        timed = round(updates * steps / result.summary['actor_steps'])
    assert abs(updates - due) <= 1, (updates, due)
    tell(steps, timed, seconds, OF_CULMEN)


if __name__ == '__main__':
    main()
