"""What each wrapper does to the stream, on an environment whose numbers are known."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
from dm_env import specs

from culmen.components.environments import saving
from culmen.components.environments import wrappers
from culmen.core.specs import StackedArray
from culmen.core.specs import leaf_paths
from tests.components.environments.fakes import Counter


def episode(environment, action=0):
    timesteps = [environment.reset()]
    while not timesteps[-1].last():
        timesteps.append(environment.step(action))
    return timesteps


def rewards(timesteps):
    return [timestep.reward for timestep in timesteps[1:]]


def image(step):
    return np.full((4, 3), step, np.uint8)


def image_counter(length=10):
    return Counter(length, specs.BoundedArray((4, 3), np.uint8, 0, 200, 'image'), image)


def dict_counter():
    spec = {
        'position': specs.Array((2,), np.float64, 'position'),
        'velocity': specs.Array((), np.float32, 'velocity'),
        'legal_actions': specs.Array((3,), bool, 'legal_actions'),
    }
    return Counter(
        6,
        spec,
        lambda step: {
            'position': np.array([step, -step], np.float64),
            'velocity': np.array(10 * step, np.float32),
            'legal_actions': np.arange(3) == step % 3,
        },
    )


def test_everything_is_delegated():
    inner = Counter()
    environment = wrappers.Wrapper(wrappers.Wrapper(inner))
    assert environment.length == 10
    assert environment.environment.environment is inner
    assert environment.reward_spec() == inner.reward_spec()
    assert environment.discount_spec() == inner.discount_spec()
    with pytest.raises(AttributeError, match='no_such'):
        _ = environment.no_such
    with environment:
        pass
    assert inner.closed


def test_action_repeat_adds_rewards_and_stops_at_the_end():
    timesteps = episode(wrappers.ActionRepeat(Counter(10), 4))
    assert rewards(timesteps) == [1 + 2 + 3 + 4, 5 + 6 + 7 + 8, 9 + 10]
    assert [timestep.discount for timestep in timesteps[1:]] == [1.0, 1.0, 0.0]
    assert [int(timestep.observation[0]) for timestep in timesteps] == [0, 4, 8, 10]
    environment = wrappers.ActionRepeat(Counter(10), 4)
    assert environment.step(0).first()  # a FIRST is not repeated away
    assert environment.step(0).observation[0] == 4


def test_a_step_limit_truncates_and_keeps_the_discount():
    inner = Counter(10)
    environment = wrappers.StepLimit(inner, 4)
    timesteps = episode(environment)
    assert len(timesteps) == 5
    assert timesteps[-1].discount == 1.0
    assert timesteps[-1].reward == 4.0
    assert environment.step(0).first()
    assert inner.at == 0
    assert episode(wrappers.StepLimit(Counter(4), 4))[-1].discount == 0.0  # it ended by itself


def test_noop_starts_draw_how_many_and_do_nothing():
    inner = Counter(100, action_spec=specs.BoundedArray((), np.int32, 1, 5))
    environment = wrappers.NoopStarts(inner, 5, seed=0)
    starts = []
    for _ in range(60):
        timestep = environment.reset()
        assert timestep.first()
        assert timestep.reward is None
        starts.append(inner.at)
    assert set(starts) == {1, 2, 3, 4, 5}
    assert {int(action) for action in inner.actions} == {1}  # the nearest to 0 within the bounds
    again = wrappers.NoopStarts(Counter(100), 5, seed=0)
    assert [again.reset().observation[0] for _ in range(60)] == starts
    short = wrappers.NoopStarts(Counter(2), 5, seed=0)  # episodes end among the no-ops
    assert all(short.reset().first() for _ in range(20))


def test_noop_starts_happen_after_last_too():
    inner = Counter(8)
    environment = wrappers.NoopStarts(inner, 3, seed=1)
    episode(environment)
    assert environment.step(0).first()
    assert inner.at in (1, 2, 3)


def test_rewards_are_clipped():
    timesteps = episode(wrappers.ClipReward(Counter(5), 2.5))
    assert rewards(timesteps) == [1.0, 2.0, 2.5, 2.5, 2.5]
    inner = Counter(1)
    inner.step = lambda action: Counter.step(inner, action)._replace(reward=-7.0)
    inner.reset()
    assert wrappers.ClipReward(inner, 2.5).step(0).reward == -2.5


def test_delayed_rewards_are_paid_together_and_at_the_end():
    environment = wrappers.DelayedReward(Counter(8), 3)
    assert rewards(episode(environment)) == [0, 0, 1 + 2 + 3, 0, 0, 4 + 5 + 6, 0, 7 + 8]
    environment.reset()
    environment.step(0)
    # Nothing of an episode that was left reaches the next.
    assert rewards(episode(environment))[:3] == [0, 0, 6]


def test_canonical_actions_are_stretched_and_clipped():
    inner = Counter(20, action_spec=specs.BoundedArray((2,), np.float32, [0.0, -4.0], [1.0, 8.0]))
    environment = wrappers.CanonicalActions(inner)
    spec = environment.action_spec()
    assert (spec.minimum == -1).all()
    assert (spec.maximum == 1).all()
    environment.reset()
    for action in ([-1, -1], [0, 0], [1, 1], [-9, 9]):
        environment.step(np.array(action, np.float32))
    np.testing.assert_array_equal(inner.actions, [[0, -4], [0.5, 2], [1, 8], [0, 8]])
    assert all(action.dtype == np.float32 for action in inner.actions)


@pytest.mark.parametrize(
    'spec',
    [
        specs.DiscreteArray(3),
        specs.Array((2,), np.float32),
        specs.BoundedArray((), float, 0, np.inf),
    ],
)
def test_actions_that_have_no_range_are_refused(spec):
    with pytest.raises(ValueError, match='canonical_actions needs'):
        wrappers.CanonicalActions(Counter(action_spec=spec))


def test_canonical_actions_in_a_nest():
    spec = {'move': specs.BoundedArray((), np.float64, 0, 10), 'fire': specs.DiscreteArray(2)}
    inner = Counter(action_spec=spec)
    environment = wrappers.CanonicalActions(inner)
    assert environment.action_spec()['fire'] == spec['fire']
    environment.reset()
    environment.step({'move': 0.0, 'fire': 1})
    assert inner.actions == [{'move': 5.0, 'fire': 1}]


def test_hidden_entries_are_left_out():
    spec = specs.BoundedArray((3,), np.float64, [0, -1, -2], [10, 11, 12])
    inner = Counter(4, spec, lambda step: np.array([step, 5, 6], np.float64))
    environment = wrappers.HideObservation(inner, (0, -1))
    assert environment.observation_spec() == specs.BoundedArray((1,), np.float64, [-1], [11])
    assert [timestep.observation.tolist() for timestep in episode(environment)] == [[5.0]] * 5


def test_hidden_fields_are_left_out_and_legal_actions_stay():
    environment = wrappers.HideObservation(dict_counter(), 'velocity')
    observation = environment.reset().observation
    assert set(observation) == set(environment.observation_spec()) == {'position', 'legal_actions'}
    with pytest.raises(ValueError, match=r"hide_observation: unknown field 'velocit'.*velocity"):
        wrappers.HideObservation(dict_counter(), ('velocit',))


def test_a_flat_observation_holds_all_leaves_in_order_of_their_names():
    environment = wrappers.FlattenObservation(dict_counter())
    timesteps = episode(environment)
    assert environment.observation_spec()['observation'] == specs.Array((3,), np.float64)
    assert timesteps[2].observation['observation'].tolist() == [2.0, -2.0, 20.0]
    assert timesteps[2].observation['legal_actions'].tolist() == [False, False, True]
    assert wrappers.FlattenObservation(image_counter()).reset().observation.shape == (12,)


def test_single_precision_narrows_observations_and_actions_alone():
    action_spec = specs.BoundedArray((1,), np.float64, -0.1, 0.1)
    inner = Counter(action_spec=action_spec)
    environment = wrappers.SinglePrecision(inner)
    assert environment.observation_spec().dtype == np.float32
    assert environment.action_spec().dtype == np.float32
    timesteps = [environment.reset(), environment.step(environment.action_spec().minimum[None])]
    assert {timestep.observation.dtype for timestep in timesteps} == {np.dtype(np.float32)}
    action_spec.validate(inner.actions[0])  # float32(-0.1) lies below -0.1
    assert isinstance(timesteps[1].reward, float)
    assert environment.reward_spec().dtype == np.float64
    nested = wrappers.SinglePrecision(dict_counter())
    dtypes = {name: leaf.dtype for name, leaf in nested.reset().observation.items()}
    assert dtypes == {name: leaf.dtype for name, leaf in nested.observation_spec().items()}
    assert dtypes == {'position': np.float32, 'velocity': np.float32, 'legal_actions': bool}


@pytest.mark.parametrize(
    ('shape', 'stacked'), [((), (3,)), ((2,), (6,)), ((4, 5), (4, 5, 3)), ((4, 5, 2), (4, 5, 6))]
)
def test_frames_are_stacked_on_the_last_axis_oldest_first(shape, stacked):
    make = lambda step: np.arange(np.prod(shape, dtype=int)).reshape(shape) + 100 * step
    inner = Counter(10, specs.Array(shape, np.int64), make)
    environment = wrappers.FrameStack(inner, 3)
    spec = environment.observation_spec()
    assert isinstance(spec, StackedArray)
    assert spec.num_frames == 3
    assert spec.shape == stacked
    timesteps = episode(environment)
    for step, timestep in enumerate(timesteps):
        spec.validate(timestep.observation)
        frames = np.split(timestep.observation, 3, axis=-1)
        for frame, at in zip(frames, (step - 2, step - 1, step)):
            np.testing.assert_array_equal(frame.reshape(shape), make(max(at, 0)))
    again = environment.step(0)  # the next episode begins with its own first frame
    np.testing.assert_array_equal(again.observation, timesteps[0].observation)


def test_stacking_keeps_bounds_and_leaves_legal_actions_alone():
    low = np.arange(6).reshape(2, 3)
    bounded = Counter(3, specs.BoundedArray((2, 3), np.int32, low, low + 9), lambda step: low)
    spec = wrappers.FrameStack(bounded, 2).observation_spec()
    np.testing.assert_array_equal(spec.minimum[..., 1], low)
    np.testing.assert_array_equal(spec.maximum[..., 0], low + 9)
    environment = wrappers.FrameStack(dict_counter(), 4)
    spec = environment.observation_spec()
    assert spec['legal_actions'] == specs.Array((3,), bool)
    assert isinstance(spec['position'], StackedArray)
    timesteps = episode(environment)
    assert timesteps[5].observation['legal_actions'].tolist() == [False, False, True]
    assert timesteps[5].observation['velocity'].tolist() == [20, 30, 40, 50]


def test_a_stacked_spec_survives_a_pickle():
    spec = wrappers.FrameStack(image_counter(), 4).observation_spec()
    copied = pickle.loads(pickle.dumps(spec))
    assert isinstance(copied, StackedArray)
    assert copied.num_frames == 4


def test_the_observation_holds_the_previous_action_and_reward():
    environment = wrappers.ObservationActionReward(Counter(4))
    timesteps = [environment.reset()] + [environment.step(action) for action in (2, 1, 2, 0, 1, 2)]
    seen = [
        (int(t.observation['previous_action']), float(t.observation['previous_reward']))
        for t in timesteps
    ]
    #           FIRST   MID     MID     MID     LAST    FIRST   MID
    assert seen == [(0, 0), (2, 1), (1, 2), (2, 3), (0, 4), (0, 0), (2, 1)]
    assert timesteps[5].first()
    spec = environment.observation_spec()
    assert set(spec) == {'observation', 'previous_action', 'previous_reward'}
    for timestep in timesteps:
        for name, leaf in spec.items():
            leaf.validate(timestep.observation[name])


def test_a_buffer_of_actions_may_be_used_again():
    spec = specs.BoundedArray((2,), np.float32, -1, 1)
    environment = wrappers.ObservationActionReward(Counter(action_spec=spec))
    environment.reset()
    action = np.ones(2, np.float32)
    timestep = environment.step(action)
    action[:] = 0
    assert timestep.observation['previous_action'].tolist() == [1, 1]


def test_a_dict_gains_the_fields_and_keeps_its_own():
    environment = wrappers.ObservationActionReward(dict_counter())
    assert set(environment.reset().observation) == {
        'position', 'velocity', 'legal_actions', 'previous_action', 'previous_reward',
    }  # fmt: skip
    with pytest.raises(ValueError, match='has a field previous_action already'):
        wrappers.ObservationActionReward(environment)


def test_the_order_of_composition():
    """Limits count the agent's steps, clipping sees repeated rewards, stacks see no no-op."""
    environment = wrappers.wrap(
        image_counter(40),
        0,
        noop_starts=3,
        action_repeat=2,
        step_limit=5,
        clip_reward=4.0,
        delayed_reward=2,
        frame_stack=3,
        observation_action_reward=True,
    )
    timesteps = episode(environment)
    assert len(timesteps) == 6
    first = timesteps[0].observation['observation']
    start = int(first[0, 0, 0])
    assert 1 <= start <= 3
    assert (first == start).all()
    assert timesteps[1].observation['observation'][0, 0].tolist() == [start, start, start + 2]
    assert rewards(timesteps)[1] == min(2 * start + 3, 4.0) + 4.0
    assert timesteps[2].observation['previous_reward'] == rewards(timesteps)[1]


def test_without_arguments_nothing_is_wrapped():
    inner = Counter()
    assert wrappers.wrap(inner, 0) is inner


def test_a_wrapper_is_as_restorable_as_what_it_wraps():
    class Unsaveable(Counter):
        get_state = None

    assert saving.is_restorable(wrappers.FrameStack(Counter(), 2))
    environment = wrappers.FrameStack(Unsaveable(), 2)
    assert not saving.is_restorable(environment)
    with pytest.raises(ValueError, match='Unsaveable can not be saved'):
        environment.get_state()


@pytest.mark.parametrize('count', [0, -1])
def test_impossible_numbers_are_refused(count):
    for make in (wrappers.ActionRepeat, wrappers.StepLimit, wrappers.FrameStack):
        with pytest.raises(ValueError, match='must be at least 1'):
            make(Counter(), count)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_canonical_actions_of_the_largest_box(dtype):
    most = np.finfo(dtype).max
    inner = Counter(9)
    inner.action_spec = lambda: specs.BoundedArray((3,), dtype, -most, most)
    given = []
    inner.step = lambda action: given.append(action)
    wrappers.CanonicalActions(inner).step(np.array([-1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(given[0], np.array([-most, 0, most], dtype))


class Paying(Counter):
    """Pays numbers of one type."""

    def __init__(self, paid, spec_dtype=np.int64):
        super().__init__(length=len(paid))
        self.paid, self.spec_dtype = paid, spec_dtype

    def step(self, action):
        timestep = super().step(action)
        if timestep.first():
            return timestep
        kept = np.array(timestep.discount, np.asarray(self.paid[0]).dtype)
        return timestep._replace(reward=self.paid[self.at - 1], discount=kept)

    def reward_spec(self):
        return specs.Array((), self.spec_dtype)


TYPES = [bool, np.bool_, int, float, np.int8, np.uint8, np.int64, np.float64, np.array]


@pytest.mark.parametrize('number', TYPES, ids=lambda each: each.__name__)
def test_rewards_of_any_type_are_float32_in_what_computes_with_them(number):
    paid = [number(1) for _ in range(300)]
    for wrapper, wanted in (
        (lambda each: wrappers.ActionRepeat(each, 300), [300.0]),
        (lambda each: wrappers.ClipReward(each, 0.5), [0.5] * 300),
        (lambda each: wrappers.DelayedReward(each, 150), ([0.0] * 149 + [150.0]) * 2),
    ):
        environment = wrapper(Paying(paid))
        assert environment.reward_spec().dtype == environment.discount_spec().dtype == np.float32
        timesteps = episode(environment)
        assert rewards(timesteps) == wanted
        for timestep in timesteps[1:]:
            assert timestep.reward.dtype == timestep.discount.dtype == np.float32
    seen = episode(wrappers.ObservationActionReward(Paying(paid)))[-1].observation
    assert seen['previous_reward'] == 1.0


def test_an_int64_reward_is_clipped_to_a_fraction():
    environment = wrappers.wrap(Paying([np.int64(3), np.int64(-3)]), 0, clip_reward=0.5)
    assert rewards(episode(environment)) == [0.5, -0.5]


def test_sums_of_rewards_are_rounded_once():
    paid = [np.float32(2**24)] + [np.float32(1)] * 8
    repeated = episode(wrappers.ActionRepeat(Paying(paid, np.float32), 9))
    delayed = episode(wrappers.DelayedReward(Paying(paid, np.float32), 9))
    assert rewards(repeated) == rewards(delayed)[-1:] == [2**24 + 8]


@pytest.mark.parametrize(
    'wrapper', [lambda e: wrappers.ClipReward(e, 1.0), lambda e: wrappers.ActionRepeat(e, 2)]
)
@pytest.mark.parametrize('paid', [np.nan, np.inf, 1e39, '1'])
def test_what_is_no_reward_is_not_made_one(wrapper, paid):
    with pytest.raises(ValueError, match='reward must be'):
        episode(wrapper(Paying([paid], np.float64)))


def test_single_precision_refuses_what_32_bits_do_not_hold():
    def narrow(dtype, value):
        spec = {'leaf': specs.Array((1,), dtype)}
        inner = Counter(3, spec, lambda step: {'leaf': np.asarray(value)})
        return wrappers.SinglePrecision(inner).reset().observation['leaf']

    assert narrow(np.int64, [2**31 - 1]).dtype == np.int32
    assert narrow(np.float64, [0.1]) == np.float32(0.1)  # rounded without a word
    assert np.isnan(narrow(np.float64, [np.nan]))  # refused by the loops
    for dtype, value in (
        (np.int64, [2**31]),
        (np.int64, [0.5]),
        (np.uint64, [2**32]),
        (np.float64, [1e39]),
    ):
        with pytest.raises(ValueError, match='observation/leaf must be .*32'):
            narrow(dtype, value)


def test_single_precision_keeps_bounds_in_order():
    spec = specs.BoundedArray((2,), np.int64, np.iinfo(np.int64).min, [5, np.iinfo(np.int64).max])
    narrow = wrappers.SinglePrecision(Counter(observation_spec=spec)).observation_spec()
    assert narrow.minimum == -(2**31)
    assert narrow.maximum.tolist() == [5, 2**31 - 1]
    wide = specs.BoundedArray((), np.float64, -1e300, 1e300)
    narrow = wrappers.SinglePrecision(Counter(observation_spec=wide)).observation_spec()
    assert (narrow.minimum, narrow.maximum) == (-np.inf, np.inf)


def test_a_flat_observation_holds_what_its_leaves_hold():
    inner = image_counter()
    inner.make_observation = lambda step: np.full((4, 3), 0.5)
    with pytest.raises(ValueError, match='observation must be uint8, .* not hold 0.5'):
        wrappers.FlattenObservation(inner).reset()


@pytest.mark.parametrize(
    'wrapper',
    [wrappers.SinglePrecision, wrappers.FlattenObservation, lambda e: wrappers.FrameStack(e, 2)],
)
def test_wrappers_compare_containers_by_keys(wrapper):
    def make(ordered):
        inner = dict_counter()
        plain = inner.make_observation
        if ordered:
            inner.make_observation = lambda step: OrderedDict(reversed(plain(step).items()))
        return wrapper(inner)

    for one, other in zip(episode(make(False)), episode(make(True)), strict=True):
        for path, leaf in leaf_paths(one.observation):
            np.testing.assert_array_equal(leaf, dict(leaf_paths(other.observation))[path])
