"""The compiled loop is the loop of the host at lag 0; the compiled evaluation is that of the host."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import culmen
from culmen.agents import dqn
from culmen.components import environments
from culmen.components import policies
from culmen.components.counts import wide
from culmen.components.environments import functional
from culmen.core import Lanes
from culmen.core import Replay
from culmen.core import Window
from culmen.core.specs import make_environment_spec
from culmen.environment_loops.compiled import CompiledEvaluator
from culmen.environment_loops.compiled import CompiledLoop
from culmen.environment_loops.compiled import EvaluationRequest
from culmen.environment_loops.evaluation import Evaluator
from culmen.launchers import compiled
from tests.components.environments import counting
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
    whole, report = loop.run(loop.begin(5), 60)
    assert report.ticks == 60
    pieces = loop.begin(5)
    ticks, actor_steps, updates, episodes = 0, 0, 0, []
    for size in (1, 7, 20, 32):
        pieces, part = loop.run(pieces, size)
        episodes += [(ticks + tick, episode) for tick, episode in part.episodes()]
        ticks += part.ticks
        actor_steps += part.actor_steps
        updates += part.updates
    assert equal(whole, pieces)
    assert (ticks, actor_steps, updates) == (60, report.actor_steps, report.updates)
    assert updates > 10
    assert episodes == list(report.episodes())
    assert loop.num_compilations == 1
    other, _ = loop.run(loop.begin(6), 60)
    assert not equal(whole.training_state, other.training_state)
    assert loop.num_compilations == 1


def stack(carries):
    return jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *carries)


def close(a, b):
    for x, y in zip(*map(jax.tree_util.tree_leaves, (a, b)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


# A run that has reached its limit waits for the others, with a window or an update half done.
LIMITS = [
    [(13, None), (29, None), (0, 0)],
    [(2, None), (None, 3), (40, None)],
    [(0, 0), (31, 2), (17, None)],
]


@pytest.mark.parametrize('name', [*telling.EXPERIENCES, 'prioritised'])
def test_runs_side_by_side_are_those_alone(name):
    agent = SMALL if name == 'prioritised' else telling.Telling(telling.EXPERIENCES[name])
    loop = make(agent)
    alone = [loop.begin(seed) for seed in range(3)]
    together = stack(alone)
    for limits in LIMITS:
        together, report = loop.run_all(together, 50, limits)
        for run, limit in enumerate(limits):
            if limit == (0, 0):
                assert (report[run].ticks, report[run].actor_steps, report[run].updates) == (
                    0,
                    0,
                    0,
                )
                continue
            alone[run], told = loop.run(alone[run], 50, *limit)
            assert report[run].ticks == told.ticks > 0
            assert list(report[run].episodes()) == list(told.episodes())
            np.testing.assert_array_equal(
                report[run].actor_steps_by_tick(), told.actor_steps_by_tick()
            )
            np.testing.assert_array_equal(report[run].updates_by_tick(), told.updates_by_tick())
            close(report[run].metrics(told.ticks - 1), told.metrics(told.ticks - 1))
        for run in range(3):
            close(jax.tree_util.tree_map(lambda leaf: leaf[run], together), alone[run])  # noqa: B023
    assert max(wide.as_int(carry.learner_steps) for carry in alone) > 3
    assert loop.num_compilations == 2


def test_runs_side_by_side_have_settings_of_their_own():
    rates = (1e-4, 1e-2, 1e-3)
    environment = environments.make('jax/catch', 0, rows=4, columns=3)
    spec = make_environment_spec(environment)
    rebuild = lambda settings: dataclasses.replace(SMALL, **settings).build(spec)
    lanes = Lanes(np.arange(3, dtype=np.int32), 3)
    loop = CompiledLoop(environment.functions, SMALL.build(spec), lanes, rebuild)
    begun = [loop.begin(5, {'learning_rate': rate}) for rate in rates]
    together, _ = loop.run_all(stack(begun), 40, [(None, None)] * 3)
    for run, rate in enumerate(rates):
        swept = jax.tree_util.tree_map(lambda leaf: leaf[run], together)  # noqa: B023
        alone = make(dataclasses.replace(SMALL, learning_rate=rate))
        carry, _ = alone.run(alone.begin(5), 40)
        close(swept._replace(settings={}), carry)


def test_evaluations_side_by_side_are_those_alone():
    environment = environments.make('jax/catch', 0, rows=4, columns=3)
    parts = SMALL.build(make_environment_spec(environment))
    evaluator = CompiledEvaluator(parts.evaluator, environment.functions, 7)
    params = [
        parts.learner.variables(parts.learner.init(jax.random.key(seed))) for seed in range(3)
    ]
    together = evaluator.evaluate_all(
        [
            EvaluationRequest(each, number=4, actor_steps=9, learner_steps=0, seed=seed)
            for seed, each in enumerate(params)
        ]
    )
    for seed, (each, result) in enumerate(zip(params, together, strict=True)):
        alone = evaluator.of(seed).evaluate(each, 4, 9, 0)
        assert result.returns.tolist() == alone.returns.tolist()
        assert result.lengths.tolist() == alone.lengths.tolist()
    assert evaluator.num_compilations == 2


def test_counts_are_steps_and_not_ticks(loop):
    carry, report = loop.run(loop.begin(0), 40)
    # Episodes of three steps: of each four ticks after the first one is FIRST.
    assert report.ticks == 40
    assert report.actor_steps == 3 * 30 == wide.as_int(carry.actor_steps)
    assert report.actor_steps_by_tick().tolist()[:6] == [3, 6, 9, 9, 12, 15]
    assert wide.as_int(carry.ticks) == 40
    assert report.updates == wide.as_int(carry.learner_steps) == report.updates_by_tick()[-1]
    assert [episode.episode_length for _, episode in report.episodes()] == [3] * 30
    # (items - 20) * 2 / 4, where items are all windows that have begun and ended: those of LAST's
    # row come a tick later.
    assert report.updates == (90 - 20) // 2


@pytest.mark.parametrize(
    ('limits', 'ticks', 'actor_steps', 'updates'),
    [
        ((11, None, None), 11, 27, None),
        ((99, 25, None), 11, 27, None),
        ((99, None, 6), None, None, 6),
    ],
)
def test_a_call_ends_at_the_first_limit(loop, limits, ticks, actor_steps, updates):
    _, report = loop.run(loop.begin(0), *limits)
    assert ticks in (None, report.ticks)
    assert actor_steps in (None, report.actor_steps)
    assert updates in (None, report.updates)


def test_more_than_a_report_holds_is_not_run(loop):
    _, report = loop.run(loop.begin(0), loop.max_ticks() + 5, 10**12)
    assert report.ticks == loop.max_ticks()


def test_counts_that_32_bits_can_not_hold_go_on(loop):
    carry = loop.begin(0)
    begun = 2**32 - 4
    carry = carry._replace(actor_steps=jax.tree_util.tree_map(jax.numpy.asarray, wide.wide(begun)))
    carry, report = loop.run(carry, 10)
    assert wide.as_int(carry.actor_steps) == begun + report.actor_steps > 2**32


def test_returns_are_summed_beyond_single_precision():
    rewards = np.array([1e8, 0.1, 0.1, -1e8, 0.25], np.float32)
    step = lambda key, n, action: (
        n + 1, functional.Outcome(n + 1, jnp.asarray(rewards)[n], n + 1 == len(rewards))
    )  # fmt: skip
    environment = functional.Functional(counting.SPEC, counting.begin, step)
    result = CompiledEvaluator(policies.greedy(two_zeros), environment, 2).evaluate((), 0, 0, 0)
    np.testing.assert_allclose(result.returns, np.sum(rewards, dtype=np.float64), atol=1e-6)
    assert result.lengths.tolist() == [5, 5]


def two_zeros(params, observation):
    return jnp.zeros((len(observation), 2))


def test_an_evaluation_is_that_of_the_host_and_compiles_once():
    catch = environments.make('jax/catch', 0, rows=4, columns=3).functions
    spec = catch.spec()
    core = telling.Telling(telling.unroll()).build(spec).evaluator
    host = Evaluator(core, lambda seed: functional.DmEnvironment(catch, seed), spec, 3, 21)
    device = CompiledEvaluator(core, catch, 21).of(3)
    for number in (0, 4):
        params = {'updates': np.int32(number), 'told': np.float32(0)}
        expected, actual = (
            host.evaluate(params, number, 0, 0),
            device.evaluate(params, number, 0, 0),
        )
        np.testing.assert_array_equal(actual.returns, expected.returns)
        np.testing.assert_array_equal(actual.lengths, expected.lengths)
        assert len(set(actual.returns)) > 1
    assert device.num_compilations == 1


def test_what_an_update_may_not_do_is_named():
    class Shrinking(telling.Telling):
        def build(self, spec):
            parts = super().build(spec)

            def update(state, sample, context):
                state, metrics, _ = parts.learner.update(state, sample, context)
                return {**state, 'told': state['told'].astype(np.float16)}, metrics, None

            return parts._replace(learner=parts.learner._replace(update=update))

    with pytest.raises(ValueError, match=r'training_state/told as float32\[\], got float16'):
        make(Shrinking(Replay(Window(), 20, 5, 2, 1.0)))


def test_a_nest_of_rewards_is_refused():
    environment = environments.make('jax/catch', 0)
    spec = make_environment_spec(environment)
    parts = SMALL.build(spec)

    class Two:
        def spec(self):
            return spec._replace(reward={'a': spec.reward, 'b': spec.reward})

    with pytest.raises(ValueError, match='reward must be one number in a compiled program'):
        CompiledLoop(Two(), parts, Lanes(np.arange(2), 2))
