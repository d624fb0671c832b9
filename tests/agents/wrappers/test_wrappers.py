"""What is an agent around another's own: statistics by hand, each option, what the base sees."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import dqn
from culmen.agents import ppo
from culmen.agents import wrappers
from culmen.agents.wrappers import parts as wrapper_parts
from culmen.core import LAST
from culmen.core import Dataset
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.agent import Parts
from culmen.core.types import ActorCore
from culmen.core.types import LearnerCore
from culmen.core.types import Sample
from culmen.core.types import Steps
from tests.agents import recorded
from tests.agents import registry
from tests.agents import streams
from tests.agents import subject


@dataclasses.dataclass(frozen=True)
class Mirror:
    """A base that shows what it is given: its state is the last sample, its action what it observed."""

    experience: object = Replay(Window(length=2), 100, 1, 4, 4.0)
    prioritised: bool = False

    def build(self, spec):
        def select_action(params, timestep, state, context):
            action = jnp.zeros(timestep.step_type.shape, jnp.int32)
            return action, state, {'saw': timestep.observation, 'paid': timestep.reward}

        def update(state, sample, context):
            priorities = jnp.arange(4.0) if self.prioritised else None
            return sample, {'loss': jnp.float32(jnp.nan)}, priorities

        actor = ActorCore(lambda key, lanes: (), select_action)
        learner = LearnerCore(lambda key: (), update, lambda state: state)
        return Parts(actor, actor, learner, self.experience)


SPEC = registry.discrete_spec(shape=(1,))


def sample_of(rewards, observations, extras=(), masked=()):
    """One window of a lane, its rewards and observations given; the transitions named are not real."""
    length = len(rewards) - 1
    mask = np.ones((1, length), bool)
    mask[0, list(masked)] = False
    steps = Steps(
        step_type=jnp.ones((1, length + 1), jnp.int32),
        reward=jnp.asarray([rewards], jnp.float32),
        discount=jnp.ones((1, length + 1)),
        observation=jnp.asarray(observations, jnp.float32).reshape(1, -1, 1),
        action=jnp.zeros((1, length), jnp.int32),
        extras=extras,
        mask=jnp.asarray(mask),
    )
    return Sample(steps, jnp.ones(1), jnp.int32(1), *jnp.zeros((2, 1), jnp.int32))


# Moments.


def test_moments_are_those_of_all_values_that_count():
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, (5, 40, 2)).astype(np.float32)
    real = rng.random((5, 40)) < 0.7
    moments = wrapper_parts.initial_moments([(2,)])
    for value, each in zip(values, real, strict=True):
        moments = wrapper_parts.update_moments(moments, [value], [each])
    assert moments.seen[0] == real.sum()
    np.testing.assert_allclose(moments.mean[0], values[real].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance[0], values[real].var(axis=0), rtol=1e-4)
    nothing = wrapper_parts.update_moments(moments, [values[0]], [np.zeros(40, bool)])
    streams.assert_trees_equal(nothing, moments)


# Normalised.


def test_a_sample_is_normalised_by_the_statistics_before_its_update():
    parts = wrappers.Normalised(Mirror(), epsilon=1e-12).build(SPEC)
    state = parts.learner.init(jax.random.key(0))
    state, metrics, _ = parts.learner.update(
        state, sample_of([0, 0, 0], [1, 3, 5]), streams.context(0)
    )
    np.testing.assert_array_equal(state.base.steps.observation[0, :, 0], [1, 3, 5])
    np.testing.assert_allclose(state.moments.mean[0], [3.0], rtol=1e-6)
    np.testing.assert_allclose(metrics['observation_deviation'], (8 / 3) ** 0.5, rtol=1e-6)
    state, _, _ = parts.learner.update(state, sample_of([0, 0, 0], [3, 5, 9]), streams.context(1))
    by_hand = (np.array([3, 5, 9]) - 3) / (8 / 3) ** 0.5
    np.testing.assert_allclose(state.base.steps.observation[0, :, 0], by_hand, rtol=1e-5)


def test_actors_and_evaluators_see_by_the_same_statistics_and_change_none():
    parts = wrappers.Normalised(Mirror()).build(SPEC)
    state = parts.learner.init(jax.random.key(0))
    state, _, _ = parts.learner.update(state, sample_of([0, 0, 0], [1, 3, 5]), streams.context(0))
    params = parts.learner.variables(state)
    timestep = streams.first_timestep(SPEC, 2)._replace(observation=np.float32([[3.0], [5.0]]))
    for core in (parts.actor, parts.evaluator):
        _, after, extras = core.select_action(params, timestep, (), streams.context(0))
        np.testing.assert_allclose(extras['saw'][:, 0], [0, 2 / (8 / 3) ** 0.5], atol=1e-6)
        assert after == ()


def test_time_steps_that_are_not_real_do_not_count():
    parts = wrappers.Normalised(Mirror()).build(SPEC)
    state = parts.learner.init(jax.random.key(0))
    sample = sample_of([0, 0, 0], [1, 3, 1e6], masked=[1])
    state, _, _ = parts.learner.update(state, sample, streams.context(0))
    np.testing.assert_allclose(state.moments.mean[0], [2.0], rtol=1e-6)
    both_ends = Window(length=2, ends=('observation',))
    parts = wrappers.Normalised(Mirror(dataclasses.replace(Mirror().experience, window=both_ends)))
    learner = parts.build(SPEC).learner
    steps = sample.steps._replace(observation=jnp.array([[[1.0], [3.0]]]))
    state, _, _ = learner.update(learner.init(0), sample._replace(steps=steps), streams.context(0))
    np.testing.assert_allclose(state.moments.mean[0], [2.0], rtol=1e-6)


def test_the_options_of_normalised():
    wide = sample_of([0, 0, 0], [1, 3, 5]), sample_of([0, 0, 0], [3, 3, 99])

    def seen(**changes):
        parts = wrappers.Normalised(Mirror(), **changes).build(SPEC)
        state = parts.learner.init(jax.random.key(0))
        for sample in wide:
            state, _, _ = parts.learner.update(state, sample, streams.context(0))
        return float(state.base.steps.observation[0, 2, 0])

    assert seen() == 10.0
    assert seen(max_deviation=3.0) == 3.0
    np.testing.assert_allclose(
        seen(max_deviation=1e3, epsilon=8 / 3), 96 / (16 / 3) ** 0.5, rtol=1e-5
    )


def test_what_is_no_float_is_passed_on():
    with pytest.raises(ValueError, match='Normalised needs floats to observe'):
        image = registry.specs.BoundedArray((3,), np.uint8, 0, 255)
        wrappers.Normalised(Mirror()).build(SPEC._replace(observation=image))
    spec = registry.legal_spec()
    parts = wrappers.Normalised(Mirror()).build(spec)
    params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
    timestep = next(streams.random_stream(spec, 4))
    _, _, extras = parts.actor.select_action(params, timestep, (), streams.context(0))
    np.testing.assert_array_equal(
        extras['saw']['legal_actions'], timestep.observation['legal_actions']
    )


# RewardScaled.


def test_the_actor_keeps_the_discounted_sum_of_an_episode():
    parts = wrappers.RewardScaled(Mirror(), discount=0.5).build(SPEC)
    params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
    state = parts.actor.init(jax.random.key(0), streams.lanes(1))
    sums = []
    for kind, reward in ((0, 0.0), (1, 1.0), (1, 2.0), (LAST, 4.0), (0, 0.0), (1, 8.0)):
        timestep = streams.first_timestep(SPEC, 1)._replace(
            step_type=np.array([kind], np.int32), reward=np.array([reward], np.float32)
        )
        _, state, extras = parts.actor.select_action(params, timestep, state, streams.context(0))
        sums.append(float(extras['return'][0]))
        assert set(extras) == {'base', 'return'}
    assert sums == [0.0, 1.0, 2.5, 5.25, 0.0, 8.0]


def test_who_acts_sees_rewards_as_the_learner_does():
    parts = wrappers.RewardScaled(Mirror(), epsilon=1.0, max_reward=5.0).build(SPEC)
    variables = parts.learner.variables(parts.learner.init(jax.random.key(0)))
    variables = variables._replace(moments=variables.moments._replace(variance=(jnp.array(3.0),)))
    for core in (parts.actor, parts.evaluator):
        state = core.init(jax.random.key(0), streams.lanes(3))
        timestep = streams.first_timestep(SPEC, 3)._replace(reward=np.float32([0, 4, -40]))
        _, _, extras = core.select_action(variables, timestep, state, streams.context(0))
        # Divided by sqrt(3 + 1), and clipped.
        np.testing.assert_allclose(extras.get('base', extras)['paid'], [0, 2, -5])


def test_rewards_are_divided_by_the_deviation_so_far_and_the_last_of_an_episode_counts():
    def run(**changes):
        parts = wrappers.RewardScaled(Mirror(), discount=0.5, **changes).build(SPEC)
        state = parts.learner.init(jax.random.key(0))
        extras = {'base': (), 'return': jnp.array([[0.0, 2.0]])}
        # The sums that the two rewards lead to: 2 and 4 + 0.5 * 2 = 5, of deviation 1.5.
        sample = sample_of([0, 2, 4], [0, 0, 0], extras)
        state, metrics, _ = parts.learner.update(state, sample, streams.context(0))
        at_first = np.array([0, 2, 4]) / (1 + changes.get('epsilon', 1e-8)) ** 0.5  # variance 1
        at_first = np.minimum(at_first, changes.get('max_reward', 10.0))
        np.testing.assert_allclose(state.base.steps.reward[0], at_first, rtol=1e-6)
        np.testing.assert_allclose(metrics['return_deviation'], 1.5, rtol=1e-6)
        state, _, _ = parts.learner.update(state, sample, streams.context(1))
        assert state.base.steps.extras == ()
        return np.asarray(state.base.steps.reward[0])

    np.testing.assert_allclose(run(), [0, 2 / 1.5, 4 / 1.5], rtol=1e-5)
    np.testing.assert_allclose(run(max_reward=2.0), [0, 2 / 1.5, 2.0], rtol=1e-5)
    np.testing.assert_allclose(run(epsilon=1.75), [0, 1.0, 2.0], rtol=1e-5)


def test_paths_and_priorities_of_the_base_are_those_of_its_own_extras():
    window = Window(length=2, first=('extras/core_state',), ends=('observation', 'extras'))
    replay = Replay(
        Window(length=2, first=('extras/core_state',), ends=('observation',)), 100, 1, 4, 4.0,
        priority_exponent=0.5, priority=lambda steps: steps.extras['error'][:, 0],
    )  # fmt: skip
    experience = wrappers.RewardScaled(Mirror(replay)).build(SPEC).experience
    assert experience.window.first == ('extras/base/core_state',)
    assert experience.window.ends == ('observation',)
    steps = sample_of([0, 0], [0, 0], {'base': {'error': jnp.array([[7.0]])}, 'return': 0}).steps
    assert experience.priority(steps).tolist() == [7.0]
    around = wrapper_parts.around_extras(Queue(dataclasses.replace(window, first=())), 'own')
    assert around.window.ends == ('observation', 'extras/base')
    assert around.window.fields is None
    few = Window(length=2, fields=('observation', 'extras/log_prob'))
    around = wrapper_parts.around_extras(Queue(few), 'own')
    assert around.window.fields == ('observation', 'extras/base/log_prob', 'extras/own')


def test_what_a_window_lacks_is_neither_normalised_nor_scaled():
    few = Replay(Window(length=2, fields=('action',)), 100, 1, 4, 4.0)
    for wrapper, extras in (
        (wrappers.Normalised, ()),
        (wrappers.RewardScaled, {'return': jnp.zeros((1, 2))}),
    ):
        parts = wrapper(Mirror(few)).build(SPEC)
        sample = sample_of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], extras)
        sample = sample._replace(steps=sample.steps._replace(reward=(), observation=()))
        state = parts.learner.init(jax.random.key(0))
        after, _, _ = parts.learner.update(state, sample, streams.context(0))
        assert after.base.steps.reward == after.base.steps.observation == ()
        assert after.base.steps.extras == ()
        np.testing.assert_array_equal(after.moments.seen[0], 0.0)


# WarmedUp.


def test_actions_are_uniform_and_legal_until_the_steps_are_taken():
    spec = registry.legal_spec()
    base = dqn.DQN(**{**registry.SMALL, 'epsilon': 0.0, 'epsilon_initial': 0.0})
    parts, plain = wrappers.WarmedUp(base, steps=10).build(spec), base.build(spec)
    params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
    first = streams.first_timestep(spec, 3_000)
    observation = {**first.observation, 'legal_actions': np.tile([True, False, True], (3_000, 1))}
    timestep = first._replace(observation=observation)
    state = parts.actor.init(jax.random.key(0), streams.lanes(3_000))
    greedy, _, _ = plain.evaluator.select_action(
        params, timestep, plain.evaluator.init(0, streams.lanes(3_000)), streams.context(0)
    )
    for steps, random in ((0, True), (9, True), (10, False)):
        action, _, extras = parts.actor.select_action(
            params, timestep, state, streams.context(1, steps)
        )
        counts = np.bincount(np.asarray(action), minlength=3)
        assert extras == ()
        if random:
            assert counts[1] == 0
            assert abs(counts[0] - 1_500) < 5 * 750**0.5
        else:
            np.testing.assert_array_equal(action, greedy)


@pytest.mark.slow
def test_actions_of_several_parts_pass_through_all_wrappers():
    """Random ones are legal, and both kinds of experience are learned from."""
    hybrid = ppo.PPO(**registry.UNROLL, batch_size=4, num_epochs=1, num_minibatches=2)
    around = wrappers.Normalised(wrappers.WarmedUp(wrappers.RewardScaled(hybrid), steps=10))
    branches = dataclasses.replace(registry.of('dqn_branches').agent, batch_size=4)
    shown = wrappers.Demonstrated(wrappers.WarmedUp(branches, steps=20), recorded.branches, 0.5)
    for agent, spec in ((around, registry.hybrid_spec()), (shown, registry.branches_spec())):
        row = registry.Row('around', agent, spec)
        one = subject.Subject(row)
        state, seen = one.init('actor'), set()
        for tick, timestep in zip(range(20), streams.random_stream(spec, 4), strict=False):
            action, state, _ = one.act('actor', one.params, timestep, state, tick, 0)
            move = np.asarray(jax.tree_util.tree_leaves(action)[-1 if agent is around else 0])
            seen |= set(move.tolist())
            if agent is around:
                legal = timestep.observation['legal_actions']['move']
                assert (legal[np.arange(4), move] | ~legal.any(axis=1)).all()
        assert seen == {0, 1, 2}
        for sample in one.samples(2):
            after, metrics, _ = one.update(one.state, sample)
            assert np.isfinite(metrics['loss'])
        moved = jax.tree_util.tree_map(lambda a, b: (a != b).any(), one.state, after)
        assert any(map(bool, jax.tree_util.tree_leaves(moved)))


def test_of_a_queue_random_actions_are_masked_and_a_batch_of_them_changes_nothing():
    queue = Queue(Window(length=2, period=2, cross_episodes=True))
    parts = wrappers.WarmedUp(Mirror(queue), steps=10).build(SPEC)
    _, _, extras = parts.actor.select_action(
        (), streams.first_timestep(SPEC, 2), parts.actor.init(0, streams.lanes(2)),
        streams.context(0, 9),
    )  # fmt: skip
    assert extras['random'].tolist() == [True, True]
    old = sample_of([0, 0, 0], [9, 9, 9])

    def update(random):
        sample = sample_of([0, 0, 0], [1, 2, 3], {'base': (), 'random': jnp.array([random])})
        state, metrics, _ = parts.learner.update(old, sample, streams.context(0))
        return state.steps.mask.tolist(), float(state.steps.observation[0, 0, 0]), metrics['loss']

    mask, observed, loss = update([True, False])
    assert (mask, observed) == ([[False, True]], 1.0)
    assert np.isnan(loss)  # the base's own
    mask, observed, loss = update([True, True])
    assert (mask, observed, loss) == ([[True, True]], 9.0, 0.0)


# Demonstrated.


def test_a_batch_holds_its_share_of_demonstrations():
    base = Mirror(Replay(Window(length=2), 100, 1, 4, 6.0, priority_exponent=1.0), prioritised=True)
    parts = wrappers.Demonstrated(base, recorded.discrete, ratio=0.25).build(SPEC)
    replay, demonstrations = parts.experience['replay'], parts.experience['demonstrations']
    assert (replay.batch_size, demonstrations.batch_size) == (3, 1)
    # Updates an insert: 6 / 4 as the base alone.
    assert replay.samples_per_insert / replay.batch_size == 6.0 / 4
    assert demonstrations == Dataset(Window(length=2), recorded.discrete, 1)
    one = sample_of([0, 1, 2], [1, 2, 3])
    own = jax.tree_util.tree_map(lambda leaf: jnp.repeat(leaf, 3, axis=0), one._replace(size=()))
    own = own._replace(size=jnp.int32(50), probability=jnp.array([0.1, 0.2, 0.3]))
    demos = sample_of([0, 5, 6], [7, 8, 9])._replace(version=jnp.array([-1]))
    samples = {'replay': own, 'demonstrations': demos}
    batch, _, priorities = parts.learner.update((), samples, streams.context(0))
    np.testing.assert_array_equal(batch.steps.reward[:, 1], [1, 1, 1, 5])
    np.testing.assert_allclose(batch.probability, [0.1, 0.2, 0.3, 1 / 50], rtol=1e-6)
    assert batch.size == 50
    assert batch.version.tolist() == [0, 0, 0, -1]
    assert priorities['replay'].tolist() == [0, 1, 2]
    assert priorities['demonstrations'] is None


def test_a_base_that_can_not_take_demonstrations_is_refused():
    with pytest.raises(ValueError, match='Demonstrated needs a base with one Replay'):
        queue = Queue(Window(length=2))
        wrappers.Demonstrated(Mirror(queue), recorded.discrete).build(SPEC)
    for ratio in (0.1, 0.9):
        with pytest.raises(ValueError, match='ratio must leave demonstrations and own steps'):
            wrappers.Demonstrated(Mirror(), recorded.discrete, ratio=ratio).build(SPEC)


# Settings.


@pytest.mark.parametrize(
    ('make', 'field', 'value'),
    [
        (wrappers.Normalised, 'max_deviation', 0.0),
        (wrappers.Normalised, 'epsilon', 0.0),
        (wrappers.RewardScaled, 'discount', 1.5),
        (wrappers.RewardScaled, 'max_reward', 0.0),
        (wrappers.RewardScaled, 'epsilon', 0.0),
        (wrappers.WarmedUp, 'steps', -1),
    ],
)
def test_impossible_settings_are_refused_by_name(make, field, value):
    with pytest.raises(ValueError, match=field):
        make(Mirror(), **{field: value})
    with pytest.raises(ValueError, match='ratio'):
        wrappers.Demonstrated(Mirror(), 'a', ratio=1.0)
