"""Environments written in JAX: what an author may get wrong, and the bridge to dm_env."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import environments
from culmen.components.environments import functional
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from tests.components.environments.counting import SPEC
from tests.components.environments.counting import advance
from tests.components.environments.counting import begin
from tests.components.environments.counting import count


@pytest.mark.parametrize('truncated', [False, True])
def test_an_episode_ends_with_its_own_observation_and_the_next_begins_after(truncated):
    environment = count(2, truncated)
    key = jax.random.key(0)
    state, timestep = jax.jit(environment.reset)(key)
    steps = [timestep]
    for _ in range(4):
        state, timestep = jax.jit(environment.step)(key, state, jnp.int32(1))
        steps.append(timestep)
    assert [int(step.step_type) for step in steps] == [FIRST, MID, LAST, FIRST, MID]
    assert [int(step.observation) for step in steps] == [0, 1, 2, 0, 1]
    assert [float(step.reward) for step in steps] == [0, 10, 20, 0, 10]
    assert [float(step.discount) for step in steps] == [1, 1, float(truncated), 1, 1]
    for step in steps:
        assert [leaf.dtype for leaf in step] == [np.int32, np.float32, np.float32, np.int32]


def test_what_does_not_fit_the_spec_is_named():
    with pytest.raises(ValueError, match=r'observation must be int32\[\] .*, got float32\[\]'):
        functional.Functional(SPEC, lambda key: (0, jnp.float32(0)), advance(2))
    two = SPEC._replace(observation={'a': SPEC.observation, 'b': SPEC.observation})
    with pytest.raises(ValueError, match=r"leaves \['observation/a', 'observation/b'\]"):
        functional.Functional(two, begin, advance(2))


def test_a_typed_key_in_a_state_is_refused_by_leaf():
    def advance(key, state, action):
        return {'n': 0, 'key': key}, functional.Outcome(0, 0.0, False)

    with pytest.raises(ValueError, match='^state/key must be a plain array, got a typed PRNG key'):
        functional.Functional(SPEC, lambda key: ({'n': 0, 'key': key}, 0), advance)

    class Bare:  # not of the two functions of an episode
        def spec(self):
            return SPEC

        def reset(self, key):
            return {'key': key}, count(2).reset(key)[1]

    with pytest.raises(ValueError, match='^state/key must be a plain array'):
        functional.DmEnvironment(Bare(), 0)


def test_only_what_has_a_picture_is_drawn():
    assert environments.render(environments.make('jax/catch', 0)).shape == (320, 160, 3)
    with pytest.raises(ValueError, match='has no render function'):
        environments.render(functional.DmEnvironment(count(2), 0))


def test_a_lane_depends_on_its_seed_alone():
    seeds = [3, 1, 3]
    catch = environments.make('jax/catch', 0).functions
    lanes, timestep = functional.compiled(catch).begin_all(functional.lane_keys(seeds))
    singles = [environments.make('jax/catch', seed) for seed in seeds]
    for single in singles:
        assert single.functions is catch
    for tick in range(25):
        expected = [single.step(np.int32(tick % 3)) for single in singles]
        np.testing.assert_array_equal(timestep.observation, [each.observation for each in expected])
        np.testing.assert_array_equal(timestep.step_type, [each.step_type for each in expected])
        actions = np.full(3, (tick + 1) % 3, np.int32)
        lanes, timestep = functional.compiled(catch).advance_all(lanes, actions)
    boards = [single.step(np.int32(0)).observation for single in singles]
    np.testing.assert_array_equal(boards[0], boards[2])
