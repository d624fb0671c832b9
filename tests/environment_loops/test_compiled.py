"""The compiled loop: the host's loop at lag 0, in one program."""

import jax
import numpy as np
import pytest

import culmen
from culmen.agents import dqn
from culmen.components import environments
from culmen.components import wide
from culmen.components.environments import functional
from culmen.core import Lanes
from culmen.core import Replay
from culmen.core import Window
from culmen.core.specs import make_environment_spec
from culmen.environment_loops.compiled import CompiledLoop
from culmen.environment_loops.compiled import Sums
from culmen.environment_loops.compiled import _sum
from culmen.launchers import compiled
from tests.components.environments import test_functional
from tests.environment_loops import telling

pytestmark = pytest.mark.slow

SMALL = dqn.DQN(
    hidden_sizes=(8,), n_step=2, min_replay_size=20, replay_capacity=60, batch_size=4,
    samples_per_insert=2.0, priority_exponent=0.6,
)  # fmt: skip


def make(agent=SMALL, num_lanes=3):
    environment = environments.make('jax/catch', 0, rows=4, columns=3)
    parts = agent.build(make_environment_spec(environment))
    lanes = Lanes(np.arange(num_lanes, dtype=np.int32), num_lanes)
    return CompiledLoop(environment.functions, parts, lanes)


@pytest.fixture(scope='module')
def loop():
    return make()


def equal(a, b):
    leaves = map(jax.tree_util.tree_leaves, (a, b))
    return all(np.array_equal(x, y) for x, y in zip(*leaves, strict=True))


def column(result, label, name):
    return result.logs[label][name].tolist()


@pytest.mark.slow
@pytest.mark.parametrize('name', telling.EXPERIENCES)
def test_it_is_the_loop_of_the_host_at_lag_0(name):
    experience = telling.EXPERIENCES[name]
    host, of_host = telling.train(culmen.run, experience, 200)
    told, of_device = telling.train(compiled.run, experience, 200)
    assert host['updates'] == told['updates'] > 5
    np.testing.assert_allclose(told['told'], host['told'], rtol=1e-5)
    for field in ('actor_steps', 'learner_steps', 'episodes'):
        assert of_device.summary[field] == of_host.summary[field]
    for label in ('actor', 'evaluator', 'learner'):
        for name in of_host.logs[label].columns:
            if 'second' not in name:
                np.testing.assert_allclose(
                    column(of_device, label, name), column(of_host, label, name), rtol=1e-5
                )
    assert of_device.summary['evaluation'] == of_host.summary['evaluation']


@pytest.mark.slow
def test_updates_end_at_their_budget():
    told, result = telling.train(
        compiled.run, telling.unroll(), None, max_learner_steps=7, max_actor_steps=None
    )
    assert told['updates'] == result.summary['learner_steps'] == 7
    host, of_host = telling.train(
        culmen.run, telling.unroll(), None, max_learner_steps=7, max_actor_steps=None
    )
    assert of_host.summary['actor_steps'] == result.summary['actor_steps']
    np.testing.assert_allclose(told['told'], host['told'], rtol=1e-5)


def test_where_it_is_cut_changes_no_bit_and_nothing_compiles_twice(loop):
    whole, heard = loop.run(loop.begin(5), 60)
    assert heard.ticks == 60
    pieces = loop.begin(5)
    ticks, actor_steps, updates, episodes = 0, 0, 0, []
    for size in (1, 7, 20, 32):
        pieces, part = loop.run(pieces, size)
        episodes += [(ticks + tick, episode) for tick, episode in part.episodes()]
        ticks += part.ticks
        actor_steps += part.actor_steps
        updates += part.updates
    assert equal(whole, pieces)
    assert (ticks, actor_steps, updates) == (60, heard.actor_steps, heard.updates)
    assert updates > 10
    assert episodes == list(heard.episodes())
    assert loop.num_compilations == 1
    other, _ = loop.run(loop.begin(6), 60)
    assert not equal(whole.training_state, other.training_state)
    assert loop.num_compilations == 1


def test_counts_are_steps_and_not_ticks(loop):
    carry, heard = loop.run(loop.begin(0), 40)
    # Episodes of three steps: of each four ticks after the first one is FIRST.
    assert heard.ticks == 40
    assert heard.actor_steps == 3 * 30 == wide.as_int(carry.actor_steps)
    assert heard.actor_steps_by_tick().tolist()[:6] == [3, 6, 9, 9, 12, 15]
    assert wide.as_int(carry.ticks) == 40
    assert heard.updates == wide.as_int(carry.learner_steps) == heard.updates_by_tick()[-1]
    assert [episode.episode_length for _, episode in heard.episodes()] == [3] * 30
    # (items - 20) * 2 / 4, where items are all windows that have begun and ended: those of LAST's
    # row come a tick later.
    assert heard.updates == (90 - 20) // 2


@pytest.mark.parametrize(
    ('limits', 'ticks', 'actor_steps', 'updates'),
    [
        ((11, None, None), 11, 27, None),
        ((99, 25, None), 11, 27, None),
        ((99, None, 6), None, None, 6),
    ],
)
def test_a_call_ends_at_the_first_limit(loop, limits, ticks, actor_steps, updates):
    _, heard = loop.run(loop.begin(0), *limits)
    assert ticks in (None, heard.ticks)
    assert actor_steps in (None, heard.actor_steps)
    assert updates in (None, heard.updates)


def test_more_than_a_report_holds_is_not_run(loop):
    _, heard = loop.run(loop.begin(0), loop.max_ticks + 5, 10**12)
    assert heard.ticks == loop.max_ticks


def test_counts_that_32_bits_can_not_hold_go_on(loop):
    carry = loop.begin(0)
    begun = 2**32 - 4
    carry = carry._replace(actor_steps=jax.tree_util.tree_map(jax.numpy.asarray, wide.wide(begun)))
    carry, heard = loop.run(carry, 10)
    assert wide.as_int(carry.actor_steps) == begun + heard.actor_steps > 2**32


def test_returns_are_summed_beyond_single_precision():
    rewards = np.array([1e8, 0.1, 0.1, -1e8, 0.25], np.float32)
    sums = Sums(*(np.zeros(1, np.float32) for _ in range(2)), np.zeros(1, np.int32))
    compute = jax.jit(_sum)
    for i, reward in enumerate(rewards):
        timestep = test_functional.timestep(2 if i == 4 else 1, reward)
        sums, ended = compute(sums, timestep)
    exact = np.sum(rewards, dtype=np.float64)
    assert abs(float(ended.high[0]) + float(ended.low[0]) - exact) < 1e-6
    assert ended.length.tolist() == [5]


def test_an_evaluation_is_that_of_the_host_and_compiles_once():
    from culmen.environment_loops.compiled import CompiledEvaluator
    from culmen.environment_loops.evaluation import Evaluator

    catch = environments.make('jax/catch', 0, rows=4, columns=3).functions
    spec = catch.spec()
    core = telling.Telling(telling.unroll()).build(spec).evaluator
    host = Evaluator(core, lambda seed: functional.DmEnvironment(catch, seed), spec, 3, 21)
    device = CompiledEvaluator(core, catch, 21).of(3)
    for number in (0, 4):
        params = {'updates': np.int32(number), 'told': np.float32(0)}
        expected, actual = host.evaluate(params, number), device.evaluate(params, number)
        np.testing.assert_array_equal(actual.returns, expected.returns)
        np.testing.assert_array_equal(actual.lengths, expected.lengths)
        assert len(set(actual.returns)) > 1
    assert device.num_compilations == 1


def test_what_an_update_may_not_do_is_named():
    loop = make(telling.Telling(Replay(Window(), 20, 5, 2, 1.0)))
    update = loop._parts.learner.update

    def grow(state, sample, context):
        state, metrics, _ = update(state, sample, context)
        return {**state, 'told': state['told'].astype(np.float16)}, metrics, None

    loop._parts = loop._parts._replace(learner=loop._parts.learner._replace(update=grow))
    with pytest.raises(ValueError, match=r'training_state/told as float32\[\], got float16'):
        loop.run(loop.begin(0), 5)


def test_a_nest_of_rewards_is_refused():
    environment = environments.make('jax/catch', 0)
    spec = make_environment_spec(environment)
    parts = SMALL.build(spec)

    class Two:
        def spec(self):
            return spec._replace(reward={'a': spec.reward, 'b': spec.reward})

    with pytest.raises(ValueError, match='reward must be one number in a compiled program'):
        CompiledLoop(Two(), parts, Lanes(np.arange(2), 2))
