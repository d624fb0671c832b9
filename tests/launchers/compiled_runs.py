"""Small runs of the compiled launcher, and how they are compared and stopped: for its tests."""

import jax
import numpy as np
import pytest

import culmen
from culmen.agents import dqn
from culmen.launchers import command_line

CATCH = culmen.environment('jax/catch', rows=4, columns=3)
SMALL = dqn.DQN(
    hidden_sizes=(8,), n_step=2, min_replay_size=20, replay_capacity=60, batch_size=4,
    samples_per_insert=0.5, priority_exponent=0.6,
)  # fmt: skip


def experiment(**changes):
    settings = {
        'agent': SMALL,
        'environment': CATCH,
        'max_actor_steps': 1300,
        'num_environments': 3,
        'evaluation': culmen.Evaluation(every=500, episodes=4),
        'checkpoint': culmen.Checkpoint(every=200),
        'seed': 2,
    }
    return culmen.Experiment(**{**settings, **changes})


def without_time(frame):
    return frame[[name for name in frame.columns if 'second' not in name]]


def assert_same(a, b):
    for x, y in zip(*map(jax.tree_util.tree_leaves, (a.params, b.params)), strict=True):
        np.testing.assert_array_equal(x, y)
    for label in ('actor', 'learner', 'evaluator'):
        assert without_time(a.logs[label]).equals(without_time(b.logs[label])), label


def train(*arguments, agent='dqn'):
    """The exit code of a short run of an agent with DQN's settings, from the command line."""
    command = [
        'train', agent, '--environment', 'jax/catch', '--launcher', 'compiled', '--steps', '300',
        '--evaluation-episodes', '2', '--agent.hidden_sizes', '8', '--agent.min_replay_size', '50',
        '--agent.batch_size', '4', '--agent.samples_per_insert', '1', '--agent.replay_capacity', '90',
    ]  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        command_line.main([*command, *map(str, arguments)])
    return caught.value.code


class StopsAt:
    """A logger that stops its run after so many steps."""

    def __init__(self, steps, stop):
        self.steps = steps
        self.stop = stop

    def write(self, label, row):
        if label == 'actor' and row['actor_steps'] > self.steps:
            self.steps = float('inf')
            self.stop()

    def flush(self):
        pass

    def close(self):
        pass
