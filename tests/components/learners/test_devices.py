"""Updates on several devices, as on one but for rounding, and the learner that shards its batches.

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
from culmen.components.dispatch import Contexts
from culmen.components.learners import Learner
from culmen.core.specs import leaf_paths
from tests.agents import registry
from tests.agents import streams
from tests.agents import subject

ROOT = pathlib.Path(__file__).parents[3]
DEVICES = 4
UPDATES = 10
# What is the worker's own and not the agent's is seen once for each kind of Experience.
KINDS = ('dqn', 'ppo', 'demonstrated')
KIND_ROWS = pytest.mark.parametrize(
    'row',
    [pytest.param(registry.of(name), marks=pytest.mark.kind) for name in KINDS],
    ids=lambda row: row.name,
)
ROWS = pytest.mark.parametrize(
    'row', registry.one_of_each_family(registry.AGENTS), ids=lambda row: row.name
)

pytestmark = pytest.mark.slow


class Devices:
    """A process of four devices that says what it sees of a row, once for all the row's tests."""

    def __init__(self, errors: Any) -> None:
        flags = (
            f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={DEVICES}'
        )
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'tests.components.learners.test_devices'],
            cwd=ROOT,
            env={
                **os.environ,
                'XLA_FLAGS': flags,
                'JAX_PLATFORMS': 'cpu',
                # What was compiled for one device serves here too: this process waits meanwhile.
                'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
                'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            },
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


@pytest.fixture(scope='session')
def seen(tmp_path_factory) -> Iterator[Devices]:
    """What a process of four devices says, by the row's name."""
    with open(tmp_path_factory.mktemp('devices') / 'errors', 'w') as errors:
        devices = Devices(errors)
        yield devices
        devices.process.communicate()


@ROWS
def test_an_update_is_that_of_one_device(seen, row):
    assert seen[row.name]['moved'] > 1e-4  # of their norm: something was learned
    assert seen[row.name]['difference'] <= 1e-5
    assert seen[row.name]['state_is_whole_everywhere']
    # Gradients meet, and nothing is computed four times over.
    assert seen[row.name]['all_reduces'] > 0
    assert seen[row.name]['share_of_operations'] < 0.95


@KIND_ROWS
def test_the_learner_gives_every_device_its_part(seen, row):
    assert seen[row.name]['windows'] in (4, 8)  # from all tables
    assert seen[row.name]['batch'] == seen[row.name]['windows'] // DEVICES
    assert seen[row.name]['difference_of_learner'] <= 1e-5
    assert seen[row.name]['compilations'] == 1


@KIND_ROWS
def test_calls_of_two_updates(seen, row):
    assert seen[row.name]['batch_of_calls_of_two'] == seen[row.name]['batch']
    assert seen[row.name]['difference_of_calls_of_two'] <= 1e-5


@KIND_ROWS
def test_an_actor_compiles_once_wherever_it_is_placed(seen, row):
    assert seen[row.name]['actor_compilations'] == seen[row.name]['placed_actor_compilations'] == 1


@KIND_ROWS
def test_a_restored_learner_goes_on_the_same(seen, row):
    assert seen[row.name]['restored_is_equal']
    assert seen[row.name]['restored_compilations'] == 1


@KIND_ROWS
def test_a_batch_that_does_not_split_is_refused_before_any_compute(seen, row):
    size, path = seen[row.name]['first_batch']
    words = f'batch_size must be a multiple of the 4 devices, got {size - 1} ({path} of a sample).'
    assert seen[row.name]['refused'] == {'metric_names': words, 'step': words, 'updates': 0}


# In the process of several devices.


def observe(row: registry.Row) -> dict[str, Any]:
    """Makes the updates of one row on one device and on all."""
    agent = subject.of(row)
    drawn = agent.samples(UPDATES)
    one = agent.state
    for i, sample in enumerate(drawn):
        one = agent.update(one, sample, i, i, i)[0]
    initial, final = flat(agent.params), flat(agent.parts.learner.variables(one))

    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ('batch',))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    parted = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('batch'))

    def shard(sample: Any) -> Any:
        return jax.tree_util.tree_map(
            lambda leaf: jax.device_put(leaf, parted if np.ndim(leaf) else whole), sample
        )

    state = jax.device_put(agent.state, whole)
    context = jax.device_put(streams.packed(0), whole)
    compiled = agent.lowered_update(state, shard(drawn[0]), context).compile()
    for i, sample in enumerate(drawn):
        state = compiled(state, shard(sample), jax.device_put(streams.packed(i, i, i), whole))[0]
        state = jax.device_put(state, whole)
    alone = agent.lowered_update(agent.state, drawn[0], streams.packed(0)).compile()
    seen = {
        'moved': float(np.linalg.norm(final - initial) / np.linalg.norm(final)),
        'difference': distance(agent.parts.learner.variables(state), final),
        'state_is_whole_everywhere': all(
            leaf.sharding.is_fully_replicated for leaf in jax.tree_util.tree_leaves(state)
        ),
        'all_reduces': compiled.as_text().count('all-reduce'),
        'share_of_operations': operations(compiled) / operations(alone),
    }
    return {**seen, **observe_learner(row, drawn)} if row.name in KINDS else seen


def observe_learner(row: registry.Row, drawn: Any) -> dict[str, Any]:
    """What a Learner on all devices does."""
    core = row.agent.build(row.spec).learner
    held: list[int] = []

    def update(state: Any, sample: Any, context: Any) -> Any:
        for part in streams.of_tables(sample):
            shape = part.probability.shape
            jax.debug.inspect_array_sharding(
                part.probability,
                callback=lambda sharding, shape=shape: held.append(sharding.shard_shape(shape)[0]),
            )
        return core.update(state, sample, context)

    looked_at = core._replace(update=update)

    def trained(updates_per_call: int = 1) -> tuple[Learner, int]:
        held.clear()
        learner = Learner(
            looked_at,
            streams.Samples(drawn),
            subject.SEED,
            devices=jax.devices(),
            updates_per_call=updates_per_call,
        )
        for _ in range(UPDATES // updates_per_call):
            learner.step(0, updates=updates_per_call)
        return learner, sum(held)

    one = Learner(core, streams.Samples(drawn), subject.SEED)
    for _ in range(UPDATES):
        one.step(0)
    final = flat(one.newest_variables)
    (several, batch), (by_two, batch_of_two) = trained(), trained(2)
    path, first = leaf_paths(drawn[0])[0]
    return {
        'windows': sum(len(part.probability) for part in streams.of_tables(drawn[0])),
        'batch': batch,
        'difference_of_learner': distance(several.newest_variables, final),
        'compilations': several.num_compilations,
        'batch_of_calls_of_two': batch_of_two,
        'difference_of_calls_of_two': distance(by_two.newest_variables, final),
        'actor_compilations': act(row, several, None),
        'placed_actor_compilations': act(row, several, jax.devices()[1]),
        **restored(core, drawn, several),
        'first_batch': (len(first), path),
        'refused': refused(core, drawn[0]),
    }


def distance(params: Any, final: np.ndarray) -> float:
    """How far parameters are from others, relative to their norm."""
    return float(np.linalg.norm(flat(params) - final) / np.linalg.norm(final))


def operations(compiled: Any) -> float:
    """The operations of a compiled program on each device."""
    analysis = compiled.cost_analysis()
    return float((analysis[0] if isinstance(analysis, list) else analysis)['flops'])


def act(row: registry.Row, learner: Learner, device: Any) -> int:
    """How often the policy compiles in three ticks, each with new variables."""
    core = row.agent.build(row.spec).actor
    lanes = streams.lanes(4)
    actor = Actor(core, learner, lanes, Contexts(0, 'actor', 0), 0, device=device)
    stream = streams.random_stream(row.spec, 4)
    for _ in range(3):
        actor.select_action(next(stream), 0)
        learner.step(0)
    return actor.num_compilations


def restored(core: Any, drawn: Any, several: Learner) -> dict[str, Any]:
    """Whether a learner put into the state of another makes the same updates."""
    table = streams.Samples(drawn)
    table.draws = several.learner_steps
    other = Learner(core, table, subject.SEED, devices=jax.devices())
    other.set_state(several.get_state())
    for learner in (several, other):
        for _ in range(3):
            learner.step(0)
    return {
        'restored_is_equal': bool(
            (flat(several.newest_variables) == flat(other.newest_variables)).all()
        ),
        'restored_compilations': other.num_compilations,
    }


def refused(core: Any, sample: Any) -> dict[str, Any]:
    """What is said of a batch that is one too short."""
    short = jax.tree_util.tree_map(lambda x: x[:-1] if np.ndim(x) else x, sample)
    learner = Learner(core, streams.Samples((short,)), 0, devices=jax.devices())
    said: dict[str, Any] = {}
    spec = jax.tree_util.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), short)
    for name, call in (
        ('metric_names', lambda: learner.metric_names(spec)),
        ('step', lambda: learner.step(0)),
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
        subject.forget()
        jax.clear_caches()


if __name__ == '__main__':
    main()
