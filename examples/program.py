"""The same experiment in one process and as a program of nodes. `python examples/program.py` trains it.

Needs Launchpad (Python 3.10 on Linux x86-64): pip install 'culmen[launchpad,environments]'. An argument
chooses how it runs: local, threads or processes (the default).
"""

import sys

import culmen
from culmen.agents import dqn

experiment = culmen.Experiment(
    agent=dqn.DQN(),
    environment='bsuite/catch/0',
    max_actor_steps=5_000,
    evaluation=culmen.Evaluation(every=1_000, episodes=20),
    seed=1,
)


def run(launcher: str) -> culmen.Result:
    """Trains in one process, or with two actors, a learner, a replay and an evaluator."""
    if launcher == 'local':
        return culmen.run(experiment)
    program = culmen.launchers.launchpad.make_program(experiment, num_actors=2)
    return culmen.launchers.launchpad.launch(program, backend=launcher)


if __name__ == '__main__':
    result = run(*(sys.argv[1:] or ['processes']))
    print(result)
    print(result.logs['evaluator'][['actor_steps', 'learner_steps', 'episode_return']])
