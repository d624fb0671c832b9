"""Runs for tests: one small experiment an environment family, and what to compare of two runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.agents import dqn
from culmen.components import environments
from culmen.launchers import configs

SMALL = {
    'hidden_sizes': (16,), 'min_replay_size': 50, 'replay_capacity': 300, 'batch_size': 8, 'n_step': 2,
    'samples_per_insert': 8.0, 'epsilon_decay_steps': 300, 'priority_exponent': 0.6,
}  # fmt: skip


def experiment(environment, steps=600, **changes):
    """A small run with evaluations and checkpoints that fall on different steps."""
    settings = {
        'agent': dqn.DQN(**SMALL),
        'environment': environment,
        'max_actor_steps': steps,
        'seed': 3,
        'evaluation': culmen.Evaluation(every=steps // 4, episodes=2),
        'checkpoint': culmen.Checkpoint(every=steps // 6),
    }
    return culmen.Experiment(**{**settings, **changes})


def balance(seed):
    """dm_control's cartpole with three actions, in episodes of 40 steps."""
    inner = environments.make(
        'dm_control/cartpole/balance', seed, flatten_observation=True, step_limit=40
    )
    return Discretised(inner)


class Discretised(environments.Wrapper):
    """Actions -1, 0 and 1 of a continuous environment with one."""

    def step(self, action):
        return super().step(np.full(1, float(action) - 1, self._environment.action_spec().dtype))

    def action_spec(self):
        return specs.DiscreteArray(3, np.int32, 'action')


def numbers(result):
    """All that must not differ between a run and the same run broken and resumed."""
    logs = {
        label: frame[[c for c in frame if 'time' not in c and 'second' not in c]]
        for label, frame in result.logs.items()
    }
    summary = {
        k: v
        for k, v in result.summary.items()
        if k not in ('steps_per_second', 'resumed_at', 'workdir')
    }
    return logs, summary, result.params


def assert_same(a, b):
    """Two results are equal, bit for bit."""
    import jax

    (logs_a, summary_a, params_a), (logs_b, summary_b, params_b) = numbers(a), numbers(b)
    assert summary_a == summary_b
    assert set(logs_a) == set(logs_b) == {'actor', 'learner', 'evaluator'}
    for label in logs_a:
        acted = label != 'actor' or a.summary['launcher'] != 'offline'
        assert (len(logs_a[label]) > 0) == acted, label
        assert logs_a[label].equals(logs_b[label]), label
    leaves_a, leaves_b = jax.tree_util.tree_leaves(params_a), jax.tree_util.tree_leaves(params_b)
    assert leaves_a
    for x, y in zip(leaves_a, leaves_b, strict=True):
        np.testing.assert_array_equal(x, y)


class Signaller:
    """Sends SIGTERM to its own process at a tick."""

    def __init__(self, at):
        self._left = at

    def observe(self, timestep, action):
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    def get_metrics(self, lane):
        return {}


class Held(Signaller):
    """Lets its run go no further than a tick, until somebody kills it."""

    def observe(self, timestep, action):
        self._left -= 1
        while self._left == 0:
            time.sleep(60)


def main(config, workdir, record=None):
    """Runs a config up to its half, and waits there to be killed; in a process of its own."""
    experiment = configs.from_json(json.loads(Path(config).read_text()), trust=True)
    held = Held(experiment.max_actor_steps // 2)
    culmen.run(experiment, workdir, progress=False, observers=[held], record=record)


def start(experiment, workdir, *record):
    """Begins the first half of a run in a process of its own. Args: record: a folder, if any."""
    config = workdir.parent / f'{workdir.name}.json'
    config.write_text(
        json.dumps(configs.to_json(experiment, launcher='local', replay='in_process'))
    )
    return subprocess.Popen(
        [
            sys.executable,
            '-m',
            'tests.integration.runs',
            str(config),
            str(workdir),
            *map(str, record),
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def kill_after_checkpoints(process, workdir, count=1):
    """Kills a run in another process once it has so many checkpoints."""
    while len(list(workdir.glob('checkpoints/0*'))) < count:
        if process.poll() is not None:
            pytest.fail(f'the run ended early: {process.stdout.read().decode()}')
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (workdir / 'result.json').exists(), 'the run was over before it was killed'


FIVE_RUNS = """
import contextlib, gc, io, json, os, re, socket, sys, threading
import jax, culmen
from tests.integration import runs

ports = []

def entries(folder):
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0

def one(number):
    experiment = runs.experiment('bsuite/catch/0', 150)
    with contextlib.redirect_stderr(io.StringIO()) as told:
        culmen.run(experiment, f'{sys.argv[1]}/{number}', progress=False, replay=sys.argv[2])
    ports.extend(re.findall(r'listens on port (\\d+)', told.getvalue()))
    gc.collect()
    threads = threading.active_count(), entries('/proc/self/task')
    executables = len(jax.devices()[0].client.live_executables())
    return *threads, entries('/proc/self/fd'), len(jax.live_arrays()), executables

def answers(port):
    try:
        socket.create_connection(('localhost', port), timeout=1).close()
    except OSError:
        return False
    return True

one(0)
counts = [one(number) for number in range(1, 6)]
print(json.dumps([counts, ports, [port for port in ports if answers(port)]]))
"""


def five_runs(folder, replay):
    """What each of five runs after a first one leaves open, all their ports, and those that answer still.

    In a process of its own: what other tests left may go away between two runs.
    """
    command = [sys.executable, '-c', FIVE_RUNS, str(folder), replay]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == '__main__':
    main(*sys.argv[1:])
