"""The learner on several devices: as on one but for rounding, for every agent.

A process has the devices that it starts with, so one process of four makes the updates of the rows
that it is asked for and prints what it saw; the tests are about that.
"""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from culmen.components.actors import Actor
from culmen.components.keys import Contexts
from culmen.components.learners import Learner
from culmen.core.specs import leaf_paths
from tests.agents import registry
from tests.agents import streams

ROOT = pathlib.Path(__file__).parents[3]
DEVICES = 4
UPDATES = 100
NAMES = [row.name for row in registry.AGENTS]
# What is the worker's own and not the agent's is seen once for each kind of Experience.
KINDS = ('dqn', 'impala', 'demonstrated')

# One worker of the test run asks the process of several devices.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group('devices')]


class Devices:
    """A process of four devices that says what it sees of a row, once for all the row's tests."""

    def __init__(self, errors: Any) -> None:
        flags = (
            f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={DEVICES}'
        )
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'tests.components.learners.test_devices'],
            cwd=ROOT,
            env={**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        self._errors = errors
        self._seen: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._seen:
            print(name, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
            assert answer, pathlib.Path(self._errors.name).read_text()
            self._seen[name] = json.loads(answer)
        return self._seen[name]


@pytest.fixture(scope='module')
def seen(tmp_path_factory) -> Iterator[Devices]:
    """What a process of four devices says, by the row's name."""
    with open(tmp_path_factory.mktemp('devices') / 'errors', 'w') as errors:
        devices = Devices(errors)
        yield devices
        devices.process.communicate()


@pytest.mark.parametrize('name', NAMES)
def test_parameters_are_those_of_one_device(seen, name):
    assert seen[name]['moved'] > 0.01  # of their norm: something was learned
    assert seen[name]['difference'] <= 1e-5


@pytest.mark.parametrize('name', NAMES)
def test_every_device_holds_its_part(seen, name):
    assert seen[name]['batch'] == [[seen[name]['windows'] // DEVICES]] * DEVICES
    assert seen[name]['windows'] in (4, 8)  # from all tables
    assert seen[name]['sharded_leaves'] > 5
    assert seen[name]['state_devices'] == DEVICES
    assert seen[name]['state_is_whole_everywhere']
    assert seen[name]['all_reduces'] > 0  # gradients meet; nothing is computed four times over
    assert seen[name]['compilations'] == 1


@pytest.mark.parametrize('name', KINDS)
def test_calls_of_two_updates(seen, name):
    assert seen[name]['batch_of_calls_of_two'] == [[2, 2]] * DEVICES
    assert seen[name]['difference_of_calls_of_two'] <= 1e-5


@pytest.mark.parametrize('name', KINDS)
def test_an_actor_compiles_once_wherever_it_is_placed(seen, name):
    assert seen[name]['actor_compilations'] == seen[name]['placed_actor_compilations'] == 1


@pytest.mark.parametrize('name', KINDS)
def test_a_restored_learner_goes_on_the_same(seen, name):
    assert seen[name]['restored_is_equal']
    assert seen[name]['restored_compilations'] == 1


@pytest.mark.parametrize('name', KINDS)
def test_a_batch_that_does_not_split_is_refused_before_any_compute(seen, name):
    size, path = seen[name]['first_batch']
    words = f'batch_size must be a multiple of the 4 devices, got {size - 1} ({path} of a sample).'
    assert seen[name]['refused'] == {'metric_names': words, 'step': words, 'updates': 0}


# In the process of several devices.


def observe(row: registry.Row) -> dict[str, Any]:
    """Makes the updates of one row on one device and on all."""
    core = row.agent.build(row.spec).learner
    drawn = streams.samples(row, UPDATES)

    def trained(devices: Any, updates_per_call: int = 1) -> Learner:
        learner = Learner(
            core, streams.Samples(drawn), 0, devices=devices, updates_per_call=updates_per_call
        )
        for _ in range(UPDATES // updates_per_call):
            learner.step(updates_per_call)
        return learner

    one, several = trained(None), trained(jax.devices())
    initial = flat(Learner(core, streams.Samples(drawn), 0).newest_variables)
    final = flat(one.newest_variables)

    def relative(learner: Learner) -> float:
        return float(np.linalg.norm(flat(learner.newest_variables) - final) / np.linalg.norm(final))

    sharded = several._shard(drawn[0], 1)
    compiled = (
        several._programs[1]._compiled.lower(several._carry, sharded, streams.packed(0)).compile()
    )
    state = jax.tree_util.tree_leaves((several._carry, several.newest_variables))
    seen = {
        'moved': float(np.linalg.norm(final - initial) / np.linalg.norm(final)),
        'difference': relative(several),
        'windows': sum(len(part.probability) for part in streams.of_tables(drawn[0])),
        'batch': shares(sharded),
        'sharded_leaves': sum(
            len(leaf.addressable_shards) == DEVICES and not leaf.sharding.is_fully_replicated
            for leaf in jax.tree_util.tree_leaves(sharded)
        ),
        'state_devices': min(len(leaf.sharding.device_set) for leaf in state),
        'state_is_whole_everywhere': all(leaf.sharding.is_fully_replicated for leaf in state),
        'all_reduces': compiled.as_text().count('all-reduce'),
        'compilations': several.num_compilations,
    }
    if row.name not in KINDS:
        return seen
    by_two = trained(jax.devices(), 2)
    two = jax.tree_util.tree_map(lambda x: np.stack([x, x]), drawn[0])
    path, first = leaf_paths(drawn[0])[0]
    return {
        **seen,
        'batch_of_calls_of_two': shares(by_two._shard(two, 2)),
        'difference_of_calls_of_two': relative(by_two),
        'actor_compilations': act(row, several, None),
        'placed_actor_compilations': act(row, several, jax.devices()[1]),
        **restored(core, drawn, several),
        'first_batch': (len(first), path),
        'refused': refused(core, drawn[0]),
    }


def act(row: registry.Row, learner: Learner, device: Any) -> int:
    """How often the policy compiles in three ticks, each with new variables."""
    core = row.agent.build(row.spec).actor
    lanes = streams.lanes(4)
    actor = Actor(core, learner, lanes, Contexts(0, 'actor', 0), 0, device=device)
    stream = streams.random_stream(row.spec, 4)
    for _ in range(3):
        actor.select_action(next(stream))
        learner.step()
    return actor.num_compilations


def restored(core: Any, drawn: Any, several: Learner) -> dict[str, Any]:
    """Whether a learner put into the state of another makes the same updates."""
    other = Learner(core, streams.Samples(drawn), 0, devices=jax.devices())
    other._table.draws = several._table.draws
    other.set_state(several.get_state())
    for learner in (several, other):
        for _ in range(3):
            learner.step()
    return {
        'restored_is_equal': bool(
            (flat(several.newest_variables) == flat(other.newest_variables)).all()
        ),
        'restored_compilations': other.num_compilations,
    }


def shares(sample: Any) -> list[list[int]]:
    """What each device holds of a batch, of all tables together: the axes of its probabilities."""
    probabilities = [part.probability.addressable_shards for part in streams.of_tables(sample)]
    shapes = [[shard.data.shape for shard in shards] for shards in zip(*probabilities, strict=True)]
    return [[*held[0][:-1], sum(shape[-1] for shape in held)] for held in shapes]


def refused(core: Any, sample: Any) -> dict[str, Any]:
    """What is said of a batch that is one too short."""
    short = jax.tree_util.tree_map(lambda x: x[:-1] if np.ndim(x) else x, sample)
    learner = Learner(core, streams.Samples((short,)), 0, devices=jax.devices())
    said: dict[str, Any] = {}
    spec = jax.tree_util.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), short)
    for name, call in (
        ('metric_names', lambda: learner.metric_names(spec)),
        ('step', learner.step),
    ):
        try:
            call()
        except ValueError as error:
            said[name] = str(error)
    return {**said, 'updates': learner.learner_steps}


def flat(params: Any) -> np.ndarray:
    """All parameters as one vector."""
    leaves = jax.tree_util.tree_leaves(params)
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])


def main() -> None:
    """Reads names of rows, and prints what was seen of each as one line of JSON."""
    assert jax.device_count() == DEVICES
    jax.config.update('jax_numpy_rank_promotion', 'raise')
    rows = {row.name: row for row in registry.AGENTS}
    for line in sys.stdin:
        print(json.dumps(observe(rows[line.strip()])), flush=True)


if __name__ == '__main__':
    main()
