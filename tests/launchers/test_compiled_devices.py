"""The compiled launcher on several devices: as on one but for rounding."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group('devices')]

ROOT = pathlib.Path(__file__).parents[2]
DEVICES = 4

# A process has the devices that it starts with.
OBSERVE = """
import dataclasses, json, sys
import jax, numpy as np
import culmen
from culmen.agents import dqn, ppo
from culmen.launchers import compiled, compiled_many
from culmen.launchers.results import Refused

AGENTS = {
    'dqn': dqn.DQN(min_replay_size=100, priority_exponent=0.6, hidden_sizes=(16,), batch_size=8,
                   samples_per_insert=1.0),
    'ppo': ppo.PPO(unroll_length=8, batch_size=8, num_minibatches=2, hidden_sizes=(16,)),
}

def experiment(agent, **changes):
    settings = {'max_actor_steps': 800, 'num_environments': 8,
                'evaluation': culmen.Evaluation(400, 4)}
    return culmen.Experiment(agent, 'gymnax/CartPole-v1', **{**settings, **changes})

def flat(result):
    return np.concatenate([np.ravel(x) for x in jax.tree_util.tree_leaves(result.params)])

def apart(a, b):
    return float(np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b)))

seen = {}
for name, agent in AGENTS.items():
    one = compiled.run(experiment(agent), progress=False)
    folder = f'{sys.argv[1]}/{name}'
    short = experiment(agent, max_actor_steps=400)
    compiled.run(short, folder, device=jax.devices(), progress=False)
    several = compiled.run(experiment(agent), folder, device=jax.devices(), progress=False)
    plan = compiled.make_plan(experiment(agent), devices=jax.devices())
    carry = plan.loop.begin(0)
    for _ in range(2):
        carry, _ = plan.loop.run(carry, 40)
    runs = [experiment(agent, seed=seed) for seed in range(3)]
    many = compiled_many.run_many(runs, device=jax.devices(), progress=False)
    seen[name] = {
        'resumed_at': several.summary['resumed_at'],
        'updates': one.summary['learner_steps'],
        'difference': apart(several, one),
        'evaluations': [r.summary['evaluation']['return_mean'] for r in (one, several, many[0])],
        'difference_of_many': apart(many[0], one),
        'compilations': plan.loop.num_compilations,
        'lanes': [list(x.data.shape) for x in carry.timestep.reward.addressable_shards],
    }
try:
    compiled.run(experiment(AGENTS['dqn'], num_environments=6), device=jax.devices())
except Refused as error:
    seen['refused'] = str(error)
print(json.dumps(seen))
"""


@pytest.fixture(scope='module')
def seen(tmp_path_factory):
    flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={DEVICES}'
    # Its runs are of few programs: each is compiled once.
    kept = {
        'JAX_COMPILATION_CACHE_DIR': str(tmp_path_factory.mktemp('programs')),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '0',
    }
    done = subprocess.run(
        [sys.executable, '-c', OBSERVE, str(tmp_path_factory.mktemp('runs'))],
        env={**os.environ, **kept, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'},
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize('name', ['dqn', 'ppo'])
def test_a_run_is_that_of_one_device(seen, name):
    assert seen[name]['updates'] > 10
    assert seen[name]['resumed_at'] >= 400
    assert seen[name]['difference'] <= 1e-4
    assert seen[name]['difference_of_many'] <= 1e-4
    assert len(set(seen[name]['evaluations'])) == 1
    assert seen[name]['compilations'] == 1
    assert seen[name]['lanes'] == [[2]] * DEVICES


def test_environments_that_devices_can_not_share_are_refused(seen):
    assert seen['refused'] == 'num_environments must be a multiple of the 4 devices, got 6.'
