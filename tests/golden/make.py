"""Writes golden workdirs: small runs of each kind of agent in each launcher, for every later version to read.

    python tests/golden/make.py 0.2.0                              # of this checkout, for a release
    PYTHONPATH=/path/of/a/checkout python tests/golden/make.py 2e99193 --only 'compiled-*'

A set is a folder here, named by the version that wrote it, and stays as it was written. Each workdir is
`LAUNCHER-KIND`; `recording` is what Datasets read, named relative to the set. tests/launchers/test_golden.py
loads each of them, evaluates it and goes on with it. Launchpad's and Reverb's need Python 3.10. What runs
here uses only what stays: `culmen.run`, the launchers' `run`, agents, and an environment of Culmen's own.
"""

import argparse
import fnmatch
import os
import pathlib
import shutil
import signal
import tempfile
from typing import Any

import culmen
from culmen import launchers
from culmen.agents import bc
from culmen.agents import dqn
from culmen.agents import ppo
from culmen.agents import r2d2
from culmen.agents import wrappers

STEPS = 48
RECORDING = 'recording'

SMALL = {
    'hidden_sizes': (4,), 'min_replay_size': 8, 'replay_capacity': 40, 'batch_size': 4,
    'samples_per_insert': 2.0, 'epsilon_decay_steps': 20,
}  # fmt: skip
REPLAY = dqn.DQN(**SMALL)
AGENTS = {
    'replay': REPLAY,
    'prioritised': dqn.DQN(**SMALL, n_step=2, priority_exponent=0.6),
    'sequence': r2d2.R2D2(
        **{**SMALL, 'replay_capacity': 12, 'min_replay_size': 4},
        core_size=3, burn_in_length=1, sequence_length=3, sequence_period=2, n_step=2,
    ),
    'queue': ppo.PPO(
        hidden_sizes=(4,), unroll_length=4, batch_size=4, num_epochs=1, num_minibatches=2
    ),
    'dataset': bc.BC(RECORDING, hidden_sizes=(4,), batch_size=4),
    'tables': wrappers.Demonstrated(REPLAY, RECORDING, ratio=0.5),
    'wrapper': wrappers.Normalised(REPLAY),
}  # fmt: skip
LIVE = ('replay', 'prioritised', 'sequence', 'queue', 'wrapper')
KINDS = {
    'local': (*LIVE, 'tables'),
    'reverb': ('replay', 'prioritised', 'sequence', 'queue'),
    'compiled': LIVE,
    'offline': ('dataset',),
    'threads': ('replay', 'sequence', 'queue'),
    'processes': ('prioritised', 'queue'),
}


def experiment(kind: str, **changes: Any) -> culmen.Experiment:
    """A run of two lanes of a small Catch, whose episodes take three steps."""
    settings: dict[str, Any] = {
        'environment': culmen.environment('jax/catch', rows=4, columns=3),
        'max_actor_steps': STEPS,
        'num_environments': 2,
        'evaluation': culmen.Evaluation(every=20, episodes=2),
        'checkpoint': culmen.Checkpoint(every=1_000),  # the last alone: a set stays small
        'seed': 1,
    }
    if kind == 'dataset':
        settings |= {'max_actor_steps': None, 'max_learner_steps': STEPS, 'num_environments': 1}
    return culmen.Experiment(AGENTS[kind], **(settings | changes))


class Stopper:
    """A logger that sends SIGTERM to its own process at the first evaluation."""

    def __init__(self) -> None:
        self._sent = False

    def write(self, label: str, row: Any) -> None:
        """Takes a row of a log."""
        if label == 'evaluator' and not self._sent:
            self._sent = True
            os.kill(os.getpid(), signal.SIGTERM)

    def flush(self) -> None:
        """Keeps nothing."""

    def close(self) -> None:
        """Holds nothing."""


def make(name: str) -> None:
    """Runs what a workdir's name says, in the current folder."""
    launcher, kind = name.split('-')
    if kind == 'stopped':
        run = culmen.run if launcher == 'local' else launchers.compiled.run
        run(experiment('replay'), name, loggers=[Stopper()], progress=False)
    elif kind == 'recorded':
        culmen.run(experiment('replay'), name, record=RECORDING, progress=False)
    elif launcher == 'many':
        experiments = [experiment(kind, seed=seed) for seed in (1, 2)]
        folders = [f'{name}/seed-{each.seed}' for each in experiments]
        launchers.compiled_many.run_many(experiments, folders, as_one=True, progress=False)
    elif launcher == 'local':
        culmen.run(experiment(kind), name, progress=False)
    elif launcher == 'reverb':
        culmen.run(experiment(kind), name, replay='reverb', progress=False)
    elif launcher in ('compiled', 'offline'):
        getattr(launchers, launcher).run(experiment(kind), name, progress=False)
    else:
        launchpad = launchers.launchpad
        program = launchpad.make_program(experiment(kind), name, num_actors=2)
        launchpad.launch(program, launcher, progress=False)


def main() -> None:
    """Makes the workdirs that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('version', help='names the set: a version, or a short revision')
    parser.add_argument('--only', default='*', metavar='PATTERN', help="names: 'compiled-*'")
    options = parser.parse_args()
    names = ['local-recorded', 'local-stopped', 'compiled-stopped', 'many-replay']
    names += [f'{launcher}-{kind}' for launcher, kinds in KINDS.items() for kind in kinds]
    names = [name for name in names if fnmatch.fnmatch(name, options.only)]
    goal = pathlib.Path(__file__).parent / options.version
    goal.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # config.json and result.json name folders relative to the set
        if (goal / RECORDING).exists():
            shutil.copytree(goal / RECORDING, RECORDING)
        for name in names:
            make(name)
            print(name, sum(path.stat().st_size for path in pathlib.Path(name).rglob('*')))
        for folder in pathlib.Path('.').iterdir():
            shutil.rmtree(goal / folder, ignore_errors=True)
            shutil.copytree(folder, goal / folder)


if __name__ == '__main__':
    main()
