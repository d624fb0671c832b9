"""Long calls of a learner: what counts as long, what falls in two, and that threads change no bit."""

import contextlib
import os
import threading
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.agents import d4pg
from culmen.agents import dqn
from culmen.agents import sac
from culmen.agents import td3
from culmen.components import policies
from culmen.components.checkpointing import to_paths
from culmen.components.counts import fold_seed
from culmen.components.dispatch import Contexts
from culmen.components.dispatch import unpack_context
from culmen.components.dispatch.threads import num_threads
from culmen.components.dispatch.threads import threaded_call
from culmen.components.learners import Learner
from culmen.core import EnvironmentSpec
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window
from culmen.core.types import LearnerCore
from tests.components.learners.tables import Recorded
from tests.components.learners.tables import Table
from tests.components.learners.tables import random_samples

N = 512
SAMPLES = np.ones((N, 1), np.float32)

needs_two_cores = pytest.mark.skipif(num_threads() < 2, reason='one core')


def product(x, times=1):
    for _ in range(times):
        x = x @ x
    return x


def halves(function, carry=None, samples=SAMPLES):
    carry = jax.eval_shape(lambda: jnp.eye(N) if carry is None else carry)
    found = threaded_call(function, carry, samples, np.zeros(4, np.int32))
    return None if found is None else [list(half) for half in found.halves]


def test_a_call_that_takes_less_than_half_a_millisecond_is_one_program_of_the_caller():
    assert halves(lambda x, s, c: x @ x) == [[0]]
    assert halves(lambda x, s, c: x @ s) is None
    small = jnp.eye(8)
    assert halves(lambda x, s, c: product(x, 50), small, SAMPLES[:8]) is None


def test_results_fall_in_halves_that_share_little():
    def apart(x, s, c):
        a = product(x, 2)
        return {'a': a, 'b': product(x.T, 3), 'sum of a': a.sum()}

    assert halves(apart) == [[1], [0, 2]]
    several = lambda x, s, c: (product(x, 2), product(x.T, 2), product(x + 1, 2), product(x + 2, 2))
    assert sorted(map(len, halves(several))) == [2, 2]


def test_results_that_need_each_other_are_one_program():
    def chain(x, s, c):
        first = product(x, 2)
        return first, product(first, 2)

    assert halves(chain) == [[0, 1]]
    # The longer of the two would have most of the work.
    assert halves(lambda x, s, c: (product(x, 9), product(x.T, 1))) == [[0, 1]]


def test_operations_inside_loops_and_convolutions_count():
    def loop(length):
        step = lambda x, _: (x @ x, None)
        return lambda x, s, c: (jax.lax.scan(step, x, None, length)[0], product(x.T, 4))

    assert sorted(halves(loop(4))) == [[0], [1]]
    assert halves(loop(40)) == [[0, 1]]

    def convolution(x, s, c):
        images = x.reshape(64, 8, 8, 64)
        kernel = jnp.ones((3, 3, 64, 64))
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )

    # 2 x 64 x 8 x 8 x 64 numbers of 3 x 3 x 64 products each, 3.0e8, beside 2.7e8 of one product.
    assert halves(lambda x, s, c: (convolution(x, s, c), x @ x)) == [[0], [1]]


def test_what_is_cheap_to_tell_short_is_not_traced():
    def fail(x, s, c):
        raise AssertionError

    assert halves(fail, jnp.ones(100), np.ones((32, 2))) is None
    with pytest.raises(AssertionError):
        halves(fail)


@pytest.fixture
def on_one_core():
    """This thread may use one core, as under `taskset`."""
    if not hasattr(os, 'sched_setaffinity'):
        pytest.skip('no process can be kept to a core here')
    before = os.sched_getaffinity(0)

    @contextlib.contextmanager
    def kept():
        os.sched_setaffinity(0, {min(before)})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    return kept


SPEC = EnvironmentSpec(
    specs.Array((3,), np.float32),
    specs.BoundedArray((1,), np.float32, -1, 1),
    specs.Array((), np.float32),
    specs.Array((), np.float32),
)
LONG = {'hidden_sizes': (256, 256), 'batch_size': 256, 'min_replay_size': 300}
LONG_AGENTS = {'sac': (sac.SAC, 2), 'd4pg': (d4pg.D4PG, 2), 'td3': (td3.TD3, 1)}


@needs_two_cores
@pytest.mark.slow
@pytest.mark.parametrize('name', ['sac', 'd4pg', pytest.param('td3', marks=pytest.mark.deep)])
def test_an_agent_s_update_in_threads_is_the_one_in_turn_bit_for_bit(name, on_one_core):
    make, number = LONG_AGENTS[name]
    parts = make(**LONG).build(SPEC)
    samples = random_samples(parts, SPEC, 12)
    in_turn, in_threads = (Learner(parts.learner, Recorded(samples), 1, lag=1) for _ in range(2))
    with on_one_core():
        in_turn.run_due(0)
    in_threads.run_due(0)
    assert in_threads.threads == {1: number}
    assert in_threads.num_compilations == 1
    a, b = (learner.get_state() for learner in (in_turn, in_threads))
    assert a['updates'] == b['updates'] == 12
    assert a['held_version'] == b['held_version'] == 10  # at lag 1 the last two wait
    as_one, metrics = one_by_one(parts.learner, samples)
    assert set(a['training_state']) == set(as_one)
    for path, leaf in a['training_state'].items():
        np.testing.assert_array_equal(leaf, b['training_state'][path], path)
        np.testing.assert_allclose(leaf, as_one[path], atol=1e-3, err_msg=path)
    assert a['metrics'] == b['metrics']
    assert set(a['metrics']) == set(metrics)


def one_by_one(core, samples):
    """The training state and metrics after the updates of seed 1, each one program."""
    contexts = Contexts(1, 'learner')
    update = jax.jit(
        lambda state, sample, packed: core.update(state, sample, unpack_context(packed))[:2]
    )
    state = jax.jit(core.init)(jax.random.key(fold_seed(1, 'init', 0)))
    for i, sample in enumerate(samples):
        state, metrics = update(state, sample, contexts.pack(i, 0, i))
    return to_paths(jax.tree_util.tree_map(np.asarray, state)), metrics


def test_small_agents_stay_in_the_calling_thread():
    spec = SPEC._replace(action=specs.DiscreteArray(3))
    parts = dqn.DQN().build(spec)
    learner = Learner(parts.learner, Recorded(random_samples(parts, spec, 1)), 1, lag=1)
    learner.run_due(0)
    assert learner.threads == {1: 0}


@dataclass(frozen=True)
class Products:
    """Does nothing; an update is a product of two matrices. Says in which threads one is made."""

    threads: list
    size: int = N

    def build(self, spec):
        def update(state, sample, context):
            self.threads.append(threading.current_thread())
            return product(state), {'loss': state[0, 0]}, None

        zeros = lambda params, observation: jnp.zeros((len(observation), spec.action.num_values))
        core = policies.greedy(zeros)
        learner = LearnerCore(lambda key: jnp.eye(self.size), update, lambda state: state[0, 0])
        return Parts(core, core, learner, Replay(Window(), 100, 1, self.size, 1.0))


@needs_two_cores
@pytest.mark.parametrize(('size', 'elsewhere'), [(N, True), (8, False)])
def test_long_updates_of_a_run_are_made_in_another_thread(size, elsewhere):
    threads = []  # in which JAX traced an update: it does where it is first made
    culmen.run(
        culmen.Experiment(
            agent=Products(threads, size),
            environment='bsuite/catch/0',
            max_actor_steps=2 * size,
            evaluation=culmen.Evaluation(every=None, episodes=1),
        ),
        progress=False,
    )
    assert any(each is not threading.main_thread() for each in threads) == elsewhere


def waiting_core(gate, fail=False):
    """An update of two halves of 5e8 operations, one of which ends when the gate opens."""

    def wait(x):
        assert gate.wait(60)
        if fail:
            raise ValueError('the lamp is broken')
        return np.asarray(x)

    def update(state, sample, context):
        x = product(state['x'], 2)
        count = jax.pure_callback(wait, jax.ShapeDtypeStruct((), jnp.float32), state['count'] + 1)
        return (
            {'x': x, 'y': product(state['y'], 2), 'count': count},
            {'loss': x.sum() * 0 + count},
            sample[:, 0] * 10,
        )

    def init(key):
        return {'x': jnp.eye(N), 'y': jnp.eye(N), 'count': jnp.float32(0)}

    return LearnerCore(init, update, variables=lambda state: {'count': state['count']})


class LongTable(Table):
    def draw(self):
        draw = super().draw()
        return draw._replace(samples=np.full((N, 1), self.draws, np.float32))


@needs_two_cores
def test_the_caller_goes_on_while_a_long_call_runs_and_gets_the_parameters_of_its_lag():
    gate = threading.Event()
    learner = Learner(waiting_core(gate), LongTable(), 0, lag=1)
    learner.step(0)
    # Were the call waited for, this line would not be reached before the gate gives up.
    version, variables = learner.get_variables(None)
    assert (version, float(variables.unpack()['count'])) == (0, 0.0)
    threading.Timer(0.1, gate.set).start()
    learner.step(0)
    learner.step(0)
    version, variables = learner.get_variables(0)
    assert (version, float(variables.unpack()['count'])) == (1, 1.0)
    assert learner.metrics['loss'] == 3
    learner.step(0)
    assert float(learner.newest_variables['count']) == 4


def test_at_lag_0_one_long_program_stays_in_the_calling_thread():
    def update(state, sample, context):
        x = product(state['x'], 2)
        return {'x': x}, {'loss': x.sum()}, None

    core = LearnerCore(lambda key: {'x': jnp.eye(N)}, update, variables=lambda state: state['x'][0])
    for lag in (0, 1):
        learner = Learner(core, LongTable(), 0, lag=lag)
        learner.step(0)
        learner.check_finite()
        assert learner.threads == {1: lag}


@needs_two_cores
def test_at_lag_0_two_halves_are_waited_for():
    gate = threading.Event()
    learner = Learner(waiting_core(gate), LongTable(), 0)
    learner.step(0)
    threading.Timer(0.1, gate.set).start()
    version, variables = learner.get_variables(0)
    assert (version, float(variables.unpack()['count'])) == (1, 1.0)


@needs_two_cores
def test_calls_of_another_number_of_updates_go_on_from_those_that_still_run():
    gate = threading.Event()
    learner = Learner(waiting_core(gate), LongTable(), 0, lag=1)
    learner.step(0, updates=2)
    learner.step(0)
    threading.Timer(0.1, gate.set).start()
    learner.step(0, updates=2)
    assert float(learner.newest_variables['count']) == 5
    assert learner.threads == {2: 1, 1: 2}


@needs_two_cores
def test_what_a_long_call_raises_reaches_the_caller():
    gate = threading.Event()
    gate.set()
    learner = Learner(waiting_core(gate, fail=True), LongTable(), 0, lag=1)
    learner.step(0)
    learner.step(0)
    with pytest.raises(Exception, match='the lamp is broken'):
        learner.step(0)


@needs_two_cores
def test_a_state_saved_while_a_long_call_runs_goes_on_as_the_unbroken_one():
    gate = threading.Event()
    gate.set()
    tables = LongTable(), LongTable()
    whole, other = (Learner(waiting_core(gate), table, 0, lag=1) for table in tables)
    for _ in range(5):
        whole.step(0)
    for _ in range(3):
        other.step(0)
    resumed = Learner(waiting_core(gate), tables[1], 0, lag=1)
    resumed.set_state(other.get_state())
    for _ in range(2):
        resumed.step(0)
    for a, b in zip(*(leaves(x.get_state()) for x in (whole, resumed)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert tables[0].written == tables[1].written


def leaves(state):
    return jax.tree_util.tree_leaves(
        {key: state[key] for key in ('training_state', 'newest', 'held', 'updates', 'calls')}
    )
