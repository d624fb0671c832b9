"""What enters a loop through its environments, and what leaves it: faults are named with lane and leaf."""

from collections import OrderedDict

import dm_env
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components.environments import functional
from culmen.core.specs import EnvironmentSpec
from culmen.environment_loops import Evaluator
from culmen.environment_loops.batched import BatchedEnvironment
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.environment_loops.batching import FunctionalBatch
from culmen.environment_loops.batching import batch
from culmen.environment_loops.boundary import ActionFailure
from culmen.environment_loops.boundary import Actions
from tests.environment_loops.fakes import SPEC as COUNTING
from tests.environment_loops.fakes import Counting
from tests.environment_loops.fakes import counting_core

F32, F64 = np.float32, np.float64
SPEC = EnvironmentSpec(
    observation={
        'speed': specs.Array((2,), F32),
        'count': specs.Array((), np.int64),
        'wide': specs.Array((3,), F64),
        'pixels': specs.Array((2, 2), np.uint8),
        'height': specs.Array((), F32),
    },
    action=specs.DiscreteArray(3),
    reward=specs.Array((), F32),
    discount=specs.Array((), F32),
)


def observation(**changed):
    return {
        'speed': np.array([0, 1], F32),
        'count': np.array(2**31 - 1),
        'wide': np.array([3e38, 0, -3e38]),
        'pixels': np.full((2, 2), 255, np.uint8),
        'height': 1.5,
        **changed,
    }


def gather(spec, *timesteps):
    return BatchedEnvironment([], spec, num_lanes=len(timesteps)).gather(list(timesteps))


def mid(reward=0.0, discount=1.0, **changed):
    return dm_env.TimeStep(dm_env.StepType.MID, reward, discount, observation(**changed))


def test_what_jax_holds_keeps_its_bits():
    timestep = gather(SPEC, mid(), mid())
    for name, leaf in observation().items():
        assert timestep.observation[name].dtype == SPEC.observation[name].dtype
        np.testing.assert_array_equal(timestep.observation[name], np.stack([leaf, leaf]))


FAULTS = {
    'nan': ({'speed': np.array([0, np.nan], F32)}, r'observation/speed must be finite, got nan at \[1\]'),
    'inf': ({'wide': np.array([np.inf, 0, 0])}, r'observation/wide must be finite, got inf at \[0\]'),
    'beyond float32': ({'wide': np.array([0, 1e39, 0])}, 'observation/wide must be within float32.* 1e\\+39'),
    'beyond int32': ({'count': np.array(2**31)}, 'observation/count must be within int32.* 2147483648'),
    'scalar': ({'height': float('nan')}, 'observation/height must be finite, got nan'),
    'scalar beyond': ({'height': 1e39}, 'observation/height must be within float32'),
    'scalar of text': ({'height': '1'}, 'observation/height must have dtype float32'),
    'dtype': ({'pixels': np.zeros((2, 2))}, 'observation/pixels must have dtype uint8, got float64'),
    'leaf': ({'other': 1}, 'observation must have the leaves'),
}  # fmt: skip


@pytest.mark.parametrize('fault', FAULTS)
def test_an_observation_is_refused_with_lane_leaf_and_value(fault):
    changed, words = FAULTS[fault]
    with pytest.raises(EnvironmentFailure, match=f'lane 1 broke its spec: {words}'):
        gather(SPEC, mid(), mid(**changed))
    first = dm_env.restart(observation(**changed))
    with pytest.raises(EnvironmentFailure, match=f'lane 2 broke its spec: {words}'):
        gather(SPEC, mid(), mid(), first)


@pytest.mark.parametrize('size', [1, 50, 500, 5000])
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32', 'float64', 'int64', 'uint32'])
def test_every_size_and_dtype_of_a_lone_array_is_looked_through(size, dtype):
    dtype = np.dtype(getattr(jnp, dtype))
    spec = SPEC._replace(observation=specs.Array((size,), dtype))
    is_float = dtype.kind not in 'iu'
    most = float(jnp.finfo(F32 if dtype == F64 else dtype).max) if is_float else 2**31 - 1
    good = dm_env.transition(0.0, np.full(size, most, dtype))
    np.testing.assert_array_equal(gather(spec, good).observation[0], good.observation)
    values = (np.nan, np.inf, -np.inf) if is_float else (2**31,)
    for value in (*values, 1e39) if dtype == F64 else values:
        array = np.zeros(size, dtype)
        array[-1] = value
        with pytest.raises(EnvironmentFailure, match='lane 1 .*observation must be'):
            gather(spec, dm_env.restart(good.observation), dm_env.transition(0.0, array))


NO_STEPS = {
    'discount': (mid(discount=2.0), r'discount must be in \[0, 1\], got 2.0'),
    'negative discount': (mid(discount=np.float32(-0.5)), r'discount must be in \[0, 1\], got -0.5'),
    'discount as array': (mid(discount=np.array(1.5)), r'discount must be in \[0, 1\], got 1.5'),
    'no discount': (mid(discount=None), 'discount must be a number after FIRST, got None'),
    'shape': (mid(reward=np.zeros(1)), r'reward must have shape \(\), got \(1,\)'),
    'reward': (mid(reward=1e39), 'reward must be within float32'),
    'reward as array': (mid(reward=np.array(np.inf)), 'reward must be finite'),
    'text': (mid(reward='1'), "reward must be a number, got '1'"),
    'complex': (mid(reward=1j), 'reward must be a number'),
    'huge': (mid(reward=10**400), 'reward must be'),
    'step type': (mid()._replace(step_type=7), 'step_type must be FIRST, MID or LAST, got 7'),
    'half a step': (mid()._replace(step_type=1.5), 'step_type must be FIRST, MID or LAST, got 1.5'),
    'no step type': (mid()._replace(step_type=None), 'step_type must be FIRST, MID or LAST, got None'),
    'reward at FIRST': (dm_env.restart(observation())._replace(reward=np.nan), 'reward must be finite'),
    'discount at FIRST': (dm_env.restart(observation())._replace(discount=3), r'discount must be in'),
}  # fmt: skip


@pytest.mark.parametrize('fault', NO_STEPS)
def test_what_validate_timestep_refuses_is_refused_in_training(fault):
    timestep, words = NO_STEPS[fault]
    with pytest.raises(EnvironmentFailure, match=f'lane 1 broke its spec: {words}'):
        gather(SPEC, mid(), timestep)


def test_something_else_than_a_time_step_is_refused():
    with pytest.raises(EnvironmentFailure, match='lane 0 must give a dm_env.TimeStep, got .*1, 2'):
        gather(SPEC, (1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    'paid', [True, np.int8(1), np.int64(1), 1, 1.0, np.array(1), np.array(1.0), np.array([1])[0]]
)
def test_rewards_and_discounts_of_any_type_become_float32(paid):
    timestep = gather(SPEC, mid(reward=paid, discount=paid))
    assert timestep.reward.dtype == timestep.discount.dtype == F32
    assert timestep.reward == timestep.discount == 1.0
    nested = SPEC._replace(reward={'a': specs.Array((), F32), 'b': specs.Array((2,), F32)})
    of = OrderedDict(b=np.array([paid, 2 * paid]), a=paid)  # in another order than its spec
    stepper = BatchedEnvironment([], nested, num_lanes=1)
    stepper.gather([dm_env.restart(observation())])
    timestep = stepper.gather([mid(reward=of)._replace(step_type=dm_env.StepType.LAST)])
    assert timestep.reward['a'].dtype == timestep.reward['b'].dtype == F32
    (episode,) = stepper.episodes
    np.testing.assert_array_equal(np.hstack(episode.episode_return), [1, 1, 2])


@pytest.mark.parametrize(
    ('reward', 'discount', 'words'),
    [
        ({'a': np.nan}, 1.0, 'reward/a must be finite'),
        ({'a': 0.0}, 1.5, r'discount must be in \[0, 1\]'),
        ({'b': 0.0}, 1.0, 'reward must have the leaves'),
    ],
)
def test_a_nest_of_rewards_is_held_to_the_same(reward, discount, words):
    nested = SPEC._replace(reward={'a': specs.Array((), F32)})
    with pytest.raises(EnvironmentFailure, match=f'lane 0 broke its spec: {words}'):
        gather(nested, mid(reward, discount))


def test_containers_of_an_observation_are_compared_by_keys():
    leaf = specs.Array((2,), F32)
    spec = SPEC._replace(observation=(specs.Array((), F32), {'a': leaf, 'b': leaf}))
    one, two = np.array([1, 1], F32), np.array([2, 2], F32)
    timestep = gather(spec, mid()._replace(observation=[0.5, OrderedDict(b=two, a=one)]))
    assert type(timestep.observation) is tuple
    np.testing.assert_array_equal(timestep.observation[1]['a'][0], one)
    np.testing.assert_array_equal(timestep.observation[1]['b'][0], two)


def test_an_adapter_that_refuses_a_cast_is_named_with_its_lane():
    class Refusing(Counting):
        def reset(self):
            from culmen.core.ranges import cast_exactly

            return dm_env.restart(cast_exactly('observation', [0.5], np.int32))

    with pytest.raises(EnvironmentFailure, match='lane 0 broke its spec: observation must be int'):
        batch([Refusing()], COUNTING).reset()


def test_an_evaluation_refuses_what_training_refuses():
    class Broken(Counting):
        def _observation(self):
            return np.full(1, np.nan if self._t == 3 else 0, F32)

    make = lambda seed: Broken(length=5)
    with pytest.raises(EnvironmentFailure, match='lane 0 .*observation must be finite, got nan'):
        Evaluator(counting_core(), make, COUNTING, 0, 2).evaluate({}, 0, 0, 0)


# Actions.


def none(num):
    return lambda: np.zeros(num, bool)


@pytest.mark.parametrize('num', [3, 100])
def test_discrete_actions_are_in_range(num):
    actions = Actions(specs.DiscreteArray(3))
    good = np.arange(num, dtype=np.int32) % 3
    assert actions(good, none(num)) is good
    for bad in (3, -1, 2**31 - 1):
        action = good.copy()
        action[1] = bad
        with pytest.raises(
            ActionFailure, match=rf'lane 1 .* action must be in \[0, 2\], got {bad}\.'
        ):
            actions(action, none(num))
        ignoring = np.arange(num) == 1
        np.testing.assert_array_equal(actions(action, lambda ignoring=ignoring: ignoring), action)


def test_actions_are_held_to_the_spec_before_they_are_cast():
    small = Actions(specs.BoundedArray((2,), np.uint8, 0, 9))
    assert small(np.array([[1, 9]]), none(1)).dtype == np.uint8
    with pytest.raises(
        ActionFailure, match=r'lane 0 .* action must be in \[0, 9\], got 257 at \[1\]'
    ):
        small(np.array([[1, 257]]), none(1))
    with pytest.raises(ActionFailure, match='action must be of int32, got float32'):
        Actions(specs.DiscreteArray(3))(np.array([1.7], F32), none(1))
    unbounded = Actions(specs.Array((), np.int8))
    with pytest.raises(ActionFailure, match=r'in \[-128, 127\], got 128'):
        unbounded(np.array([128]), none(1))


def test_a_nest_of_actions():
    spec = {'move': specs.BoundedArray((2,), F64, -1, 1), 'fire': specs.DiscreteArray(2)}
    actions = Actions(spec)
    given = OrderedDict(move=np.zeros((2, 2), F32), fire=np.array([0, 1]))
    cast = actions(given, none(2))
    assert cast['move'].dtype == F64
    assert cast['fire'].dtype == np.int32
    with pytest.raises(ActionFailure, match=r'lane 1 .* action/fire must be in \[0, 1\], got 2'):
        actions({**given, 'fire': np.array([0, 2])}, none(2))
    with pytest.raises(ValueError, match='action must have the leaves'):
        actions({'move': given['move']}, none(2))


def test_an_action_out_of_range_reaches_no_environment():
    environments = [Counting(), Counting()]
    stepper = batch(environments, COUNTING)
    stepper.reset()
    with pytest.raises(ActionFailure, match=r'lane 1 .* in \[0, 999\], got 1000'):
        stepper.step(np.array([1, 1000]))
    assert environments[0].actions == []
    last = batch([Counting(length=1)], COUNTING)
    last.reset()
    last.step(np.array([1]))
    assert last.step(np.array([-1])).first()  # at LAST it is ignored


# JAX environments on the host.

JAX_SPEC = EnvironmentSpec(
    {'n': specs.Array((), np.int32), 'x': specs.Array((2,), F32)},
    specs.DiscreteArray(3),
    functional.REWARD,
    functional.DISCOUNT,
)


class Plain:
    """A JaxEnvironment of its own, whose second step is as it is told."""

    def __init__(self, **fault):
        self._fault = fault

    def spec(self):
        return JAX_SPEC

    def _timestep(self, n, step_type):
        timestep = {
            'step_type': jnp.int32(step_type),
            'reward': 1,
            'discount': True,
            'observation': OrderedDict(x=jnp.zeros(2, F32), n=n),
        }
        for name, value in self._fault.items():
            timestep[name] = jnp.where(n == 2, value, timestep[name])
        return functional.TimeStep(**timestep)

    def reset(self, key):
        return jnp.int32(0), self._timestep(jnp.int32(0), 0)

    def step(self, key, state, action):
        return state + 1, self._timestep(state + 1, 1)


@pytest.mark.parametrize('num', [1, 3])
@pytest.mark.parametrize(
    ('fault', 'words'),
    [
        ({'discount': 2.0}, r'discount must be in \[0, 1\]'),
        ({'reward': jnp.nan}, 'reward must be finite'),
        ({'step_type': 7}, '7'),
    ],
)
def test_lanes_of_a_jax_environment_are_held_to_the_same(num, fault, words):
    environment = Plain(**fault)
    stepper = batch([functional.DmEnvironment(environment, seed) for seed in range(num)], JAX_SPEC)
    assert isinstance(stepper, FunctionalBatch) == (num > 1)
    stepper.reset()
    timestep = stepper.step(np.zeros(num, np.int32))
    assert timestep.reward.dtype == timestep.discount.dtype == F32
    assert list(timestep.observation) == ['n', 'x']
    with pytest.raises(EnvironmentFailure, match=f'lane 0 .*{words}'):
        stepper.step(np.zeros(num, np.int32))


def test_observations_of_lanes_that_step_together_are_finite():
    def advance(key, n, action):
        x = jnp.where((n == 1) & (action == 2), jnp.inf, 0.0)
        return n + 1, functional.Outcome({'n': n + 1, 'x': jnp.full(2, x)}, 0.0, False)

    begin = lambda key: (jnp.int32(0), {'n': jnp.int32(0), 'x': jnp.zeros(2)})
    environment = functional.Functional(JAX_SPEC, begin, advance)
    stepper = batch([functional.DmEnvironment(environment, seed) for seed in range(3)], JAX_SPEC)
    action = np.array([0, 2, 2], np.int32)
    stepper.reset()
    stepper.step(action)
    stepper.freeze(1)  # whom nobody listens to
    words = r'lane 2 broke its spec: observation/x must be finite, got inf at \[0\]'
    with pytest.raises(EnvironmentFailure, match=words):
        stepper.step(action)
    with pytest.raises(ActionFailure, match=r'lane 0 .* in \[0, 2\], got 7'):
        stepper.step(np.array([7, 0, 0], np.int32))


def test_a_lone_jax_environment_refuses_an_action_out_of_range():
    begin = lambda key: (jnp.int32(0), {'n': jnp.int32(0), 'x': jnp.zeros(2)})
    advance = lambda key, n, action: (
        n + 1,
        functional.Outcome({'n': n + 1, 'x': jnp.zeros(2)}, 0.0, n == 0),
    )
    environment = functional.DmEnvironment(functional.Functional(JAX_SPEC, begin, advance), 0)
    environment.reset()
    for bad in (7, -1, 1.5):
        with pytest.raises(ValueError, match=r'action must be in \[0, 2\], in int32, got'):
            environment.step(bad)
    assert environment.step(2).last()
    assert environment.step(7).first()  # ignored
