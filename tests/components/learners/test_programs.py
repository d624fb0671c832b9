"""Long calls of a learner: what counts as long, what falls in two, and that threads change no bit."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import culmen
from culmen.agents import d4pg
from culmen.agents import dqn
from culmen.agents import sac
from culmen.agents import td3
from culmen.components.learners import Learner
from culmen.components.learners import programs
from culmen.components.learners.programs import InThreads
from culmen.components.learners.programs import in_threads
from culmen.components.learners.programs import num_threads
from culmen.core.types import LearnerCore
from tests.components.learners.test_learner import Table

N = 512
SAMPLES = np.ones((N, 1), np.float32)

needs_two_cores = pytest.mark.skipif(num_threads() < 2, reason='one core')


def product(x, times=1):
    for _ in range(times):
        x = x @ x
    return x


def halves(function, carry=None, samples=SAMPLES):
    carry = jax.eval_shape(lambda: jnp.eye(N) if carry is None else carry)
    found = in_threads(function, carry, samples, np.zeros(4, np.int32))
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


LONG = {'hidden_sizes': (256, 256), 'batch_size': 256, 'min_replay_size': 300}
LONG_AGENTS = {
    'sac': (sac.SAC(**LONG, random_steps=300, samples_per_insert=256.0), 2),
    'd4pg': (d4pg.D4PG(**LONG, samples_per_insert=256.0), 2),
    'td3': (td3.TD3(**LONG, random_steps=300, samples_per_insert=256.0), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', LONG_AGENTS)
def test_an_agent_s_update_in_threads_is_the_one_in_turn_bit_for_bit(name, monkeypatch):
    agent, number = LONG_AGENTS[name]
    in_turn = trained(agent, 1, monkeypatch)
    in_threads = trained(agent, 2, monkeypatch)
    (program,) = in_threads._programs.values()
    assert isinstance(program, InThreads)
    assert len(program.halves) == number
    assert in_threads.num_compilations == 1
    monkeypatch.setattr(programs, '_LONG', np.inf)
    as_one = trained(agent, 2, monkeypatch)
    a, b, c = (learner.get_state() for learner in (in_turn, in_threads, as_one))
    assert a['updates'] == b['updates'] == c['updates'] > 25
    assert a['held_version'] == b['held_version'] == c['held_version']
    for path, leaf in a['training_state'].items():
        np.testing.assert_array_equal(leaf, b['training_state'][path], path)
        np.testing.assert_allclose(leaf, c['training_state'][path], atol=1e-3, err_msg=path)
    assert a['metrics'] == b['metrics']
    assert set(a['metrics']) == set(c['metrics'])


def trained(agent, threads, monkeypatch, environment='gymnasium/Pendulum-v1', steps=330):
    monkeypatch.setattr(programs, 'num_threads', lambda: threads)
    made = []
    begin = Learner.__init__
    monkeypatch.setattr(
        Learner, '__init__', lambda self, *a, **k: made.append(self) or begin(self, *a, **k)
    )
    culmen.run(
        culmen.Experiment(
            agent=agent,
            environment=environment,
            seed=1,
            max_actor_steps=steps,
            evaluation=culmen.Evaluation(every=None, episodes=1),
        ),
        progress=False,
    )
    monkeypatch.undo()
    return made[0]


def test_small_agents_stay_in_the_calling_thread(monkeypatch):
    learner = trained(dqn.DQN(), 2, monkeypatch, 'bsuite/catch/0', 1_100)
    (program,) = learner._programs.values()
    assert not isinstance(program, InThreads)


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
    learner.step()
    # Were the call waited for, this line would not be reached before the gate gives up.
    version, variables = learner.get_variables(None)
    assert (version, float(variables.unpack()['count'])) == (0, 0.0)
    threading.Timer(0.1, gate.set).start()
    learner.step()
    learner.step()
    version, variables = learner.get_variables(0)
    assert (version, float(variables.unpack()['count'])) == (1, 1.0)
    assert learner.metrics['loss'] == 3
    learner.step()
    assert float(learner.newest_variables['count']) == 4


def test_at_lag_0_one_long_program_stays_in_the_calling_thread():
    def update(state, sample, context):
        x = product(state['x'], 2)
        return {'x': x}, {'loss': x.sum()}, None

    core = LearnerCore(lambda key: {'x': jnp.eye(N)}, update, variables=lambda state: state['x'][0])
    for lag in (0, 1):
        learner = Learner(core, LongTable(), 0, lag=lag)
        learner.step()
        learner.check_finite()
        (program,) = learner._programs.values()
        assert isinstance(program, InThreads) == (lag == 1)


@needs_two_cores
def test_at_lag_0_two_halves_are_waited_for():
    gate = threading.Event()
    learner = Learner(waiting_core(gate), LongTable(), 0)
    learner.step()
    threading.Timer(0.1, gate.set).start()
    version, variables = learner.get_variables(0)
    assert (version, float(variables.unpack()['count'])) == (1, 1.0)


@needs_two_cores
def test_calls_of_another_number_of_updates_go_on_from_those_that_still_run():
    gate = threading.Event()
    learner = Learner(waiting_core(gate), LongTable(), 0, lag=1)
    learner.step(2)
    learner.step(1)
    threading.Timer(0.1, gate.set).start()
    learner.step(2)
    assert float(learner.newest_variables['count']) == 5
    assert [len(program.halves) for program in learner._programs.values()] == [1, 2]


@needs_two_cores
def test_what_a_long_call_raises_reaches_the_caller():
    gate = threading.Event()
    gate.set()
    learner = Learner(waiting_core(gate, fail=True), LongTable(), 0, lag=1)
    learner.step()
    learner.step()
    with pytest.raises(Exception, match='the lamp is broken'):
        learner.step()


@needs_two_cores
def test_a_state_saved_while_a_long_call_runs_goes_on_as_the_unbroken_one():
    gate = threading.Event()
    gate.set()
    whole = Learner(waiting_core(gate), LongTable(), 0, lag=1)
    other = Learner(waiting_core(gate), LongTable(), 0, lag=1)
    for _ in range(5):
        whole.step()
    for _ in range(3):
        other.step()
    state, table = other.get_state(), other._table
    resumed = Learner(waiting_core(gate), table, 0, lag=1)
    resumed.set_state(state)
    for _ in range(2):
        resumed.step()
    for a, b in zip(*(leaves(x.get_state()) for x in (whole, resumed)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole._table.written == table.written


def leaves(state):
    return jax.tree_util.tree_leaves(
        {key: state[key] for key in ('training_state', 'newest', 'held', 'updates', 'calls')}
    )
