"""The actor worker: its state is taken over by each call, whatever else holds the same arrays."""

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.actors import Actor
from culmen.components.dispatch import Contexts
from culmen.components.dispatch import pack
from culmen.core.types import MID
from culmen.core.types import ActorCore
from culmen.core.types import Lanes
from culmen.core.types import TimeStep
from culmen.environment_loops.evaluation import Held

LANES = 2


def timestep(value):
    step_type, zeros = np.full(LANES, MID, np.int32), np.zeros(LANES, np.float32)
    return TimeStep(step_type, zeros, zeros + 1, np.full((LANES, 3), value, np.float32))


def actor(init, select_action, params, writer=None):
    lanes = Lanes(np.arange(LANES, dtype=np.int32), LANES)
    core = ActorCore(init, select_action)
    return Actor(core, Held(params), lanes, Contexts(0, 'actor', 0), 0, writer)


class Writer:
    """Keeps what a table would get."""

    def __init__(self):
        self.extras = []

    def observe(self, timestep):
        pass

    def act(self, action, extras, version):
        self.extras.append(extras)


def test_a_memory_is_written_in_place():
    rows = 1000

    def init(key, lanes):
        return {'memory': jnp.zeros((LANES, rows, 3)), 'count': jnp.zeros(LANES, jnp.int32)}

    def select_action(params, timestep, state, context):
        lanes = jnp.arange(LANES)
        memory = state['memory'].at[lanes, state['count']].set(timestep.observation)
        return state['count'], {'memory': memory, 'count': state['count'] + 1}, ()

    worker = actor(init, select_action, {'w': jnp.zeros(3)})
    worker.select_action(timestep(1.0), 0)
    for number in (2.0, 3.0):
        before = worker.core_state['memory']
        worker.select_action(timestep(number), 0)
        assert before.is_deleted()
    np.testing.assert_array_equal(worker.core_state['memory'][:, :4, 0], [[1, 2, 3, 0]] * LANES)
    # What was saved stays as it was, and a restored state is taken over too.
    saved = worker.get_state()
    worker.select_action(timestep(4.0), 0)
    assert [leaf.max() for path, leaf in saved['state'].items() if 'memory' in path] == [3.0]
    worker.set_state(saved)
    restored = worker.core_state['memory']
    action = worker.select_action(timestep(5.0), 0)
    assert restored.is_deleted()
    assert action.tolist() == [3, 3]
    np.testing.assert_array_equal(worker.core_state['memory'][:, :4, 0], [[1, 2, 3, 5]] * LANES)
    assert [leaf.max() for path, leaf in saved['state'].items() if 'memory' in path] == [3.0]


def test_a_state_may_share_arrays_with_params_the_time_step_the_extras_and_itself():
    params = {'w': jnp.arange(float(LANES))}

    def init(key, lanes):
        zeros = jnp.zeros(LANES)
        return zeros, zeros, zeros, jnp.zeros((LANES, 3))

    def select_action(params, timestep, state, context):
        sums = state[0] + params['w'] + timestep.observation[:, 0]
        extras = {'entered': state, 'sums': sums, 'seen': state[3]}
        return sums, (sums, sums, params['w'], timestep.observation), extras

    writer = Writer()
    worker = actor(init, select_action, params, writer)
    steps = [timestep(float(i)) for i in range(4)]
    actions = [worker.select_action(step, 0).tolist() for step in steps]
    assert actions == [[0, 1], [1, 3], [3, 6], [6, 10]]
    np.testing.assert_array_equal(params['w'], [0, 1])
    for i, extras in enumerate(writer.extras):
        np.testing.assert_array_equal(extras['sums'], actions[i])
        np.testing.assert_array_equal(extras['entered'][1], actions[i - 1] if i else [0, 0])
        np.testing.assert_array_equal(extras['seen'], np.full((LANES, 3), max(i - 1, 0)))
        np.testing.assert_array_equal(steps[i].observation, np.full((LANES, 3), i))


def test_it_is_compiled_once_whatever_the_types_of_its_first_state():
    def select_action(params, timestep, state, context):
        return state, state + params['w'], ()

    # A sum of Python numbers is weakly typed; what a call gives is not.
    worker = actor(
        lambda key, lanes: jax.vmap(lambda _: 1.0 + 1)(jnp.arange(LANES)),
        select_action,
        {'w': jnp.float32(1.0)},
    )
    for _ in range(3):
        worker.select_action(timestep(0.0), 0)
    worker.set_state(worker.get_state())
    assert worker.select_action(timestep(0.0), 0).tolist() == [5.0, 5.0]
    assert worker.num_compilations == 1


def test_a_small_state_that_stays_as_it_is_is_kept():
    def select_action(params, timestep, state, context):
        kept, count = state
        action = kept + count
        return action, (kept, count + params['step']), ()

    def stay(params, timestep, state, context):
        return state[0] + state[1], state, ()

    def init(key, lanes):
        return lanes.index.astype(jnp.float32), jnp.zeros(LANES)

    worker = actor(init, stay, {})
    before = worker.core_state
    for _ in range(3):
        assert worker.select_action(timestep(0.0), 0).tolist() == [0.0, 1.0]
        assert worker.core_state is before
    # One leaf that changes is enough for the state to be given back.
    worker = actor(init, select_action, {'step': jnp.float32(2.0)})
    actions = [worker.select_action(timestep(0.0), 0).tolist() for _ in range(3)]
    assert actions == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    assert worker.num_compilations == 1


def test_arrays_of_the_same_shapes_may_be_another_tree():
    def select_action(params, timestep, state, context):
        return jnp.full(LANES, sum(params['w'])), state, ()

    source = Held(pack({'w': jnp.ones(2), 'x': jnp.zeros(3)}))
    worker = actor(lambda key, lanes: (), select_action, None)
    worker.restart(source, Contexts(0, 'actor', 0), 0)
    np.testing.assert_array_equal(worker.select_action(timestep(1.0), 0), [2, 2])
    for params in (pack({'w': jnp.ones(3), 'x': jnp.zeros(2)}), {'w': jnp.ones(3)}):
        worker.restart(Held(params), Contexts(0, 'actor', 0), 0)
        np.testing.assert_array_equal(worker.select_action(timestep(1.0), 0), [3, 3])
