"""Lanes of a JAX environment, stepped in one call, are the lanes stepped one after another."""

import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import environments
from culmen.components.environments import functional
from culmen.core.specs import make_environment_spec
from culmen.environment_loops.batched import BatchedEnvironment
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.environment_loops.batched import reward_names
from culmen.environment_loops.batching import FunctionalBatch
from culmen.environment_loops.batching import batch
from tests.components.environments.counting import SPEC
from tests.components.environments.counting import begin
from tests.launchers import echo


def lanes(num, **arguments):
    return [environments.make('jax/catch', seed, **arguments) for seed in range(num)]


def test_only_lanes_of_one_jax_environment_step_together():
    spec = make_environment_spec(lanes(1)[0])
    assert isinstance(batch(lanes(3), spec), FunctionalBatch)
    assert type(batch(lanes(1), spec)) is BatchedEnvironment
    assert type(batch([*lanes(1), *lanes(1, rows=4)], spec)) is BatchedEnvironment
    wrapped = [environments.make('jax/catch', 0, step_limit=3) for _ in range(2)]
    assert type(batch(wrapped, spec)) is BatchedEnvironment


def test_the_lanes_are_those_of_environments_stepped_one_by_one():
    spec = make_environment_spec(lanes(1)[0])
    together, apart = batch(lanes(4), spec), BatchedEnvironment(lanes(4), spec)
    rng = np.random.default_rng(0)
    a, b = together.reset(), apart.reset()
    episodes = 0
    for tick in range(45):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
        assert together.new_steps == apart.new_steps
        assert together.episodes == apart.episodes
        assert together.get_state() == apart.get_state()
        episodes += len(apart.episodes)
        action = rng.integers(0, 3, 4).astype(np.int32)
        if tick == 30:  # saved, and restored in fresh ones
            saved = [each.get_state() for each in together.environments], together.get_state()
            together = batch(lanes(4), spec)
            for each, state in zip(together.environments, saved[0], strict=True):
                each.set_state(state)
            together.set_state(saved[1])
        a, b = together.step(action), apart.step(action)
    assert episodes == 16


def test_environmentsthat_are_held_at_first_stay_there_and_others_go_on():
    spec = make_environment_spec(lanes(1)[0])
    makes = (lambda: batch(lanes(4), spec), lambda: BatchedEnvironment(lanes(4), spec))
    both = [make() for make in makes]
    timesteps = [environment.reset() for environment in both]
    rng = np.random.default_rng(0)
    waited = 0
    for tick in range(80):
        for x, y in zip(*timesteps, strict=True):
            np.testing.assert_array_equal(x, y)
        first = timesteps[0].first()
        held = first & (rng.random(4) < 0.6) if tick % 3 else None
        if held is not None and held.any() and tick > 40:
            # Saved, and restored in fresh ones, which have stepped no lane yet.
            for i, make in enumerate(makes):
                saved = [each.get_state() for each in both[i].environments]
                sums, both[i] = both[i].get_state(), make()
                for each, state in zip(both[i].environments, saved, strict=True):
                    each.set_state(state)
                both[i].set_state(sums)
        action = rng.integers(0, 3, 4).astype(np.int32)
        for environment, timestep in zip(both, timesteps, strict=True):
            environment.hold(held, timestep)
        after = [environment.step(action) for environment in both]
        if held is not None and held.any():
            waited += int(held.sum())
            for old, new in zip(timesteps[0], after[0], strict=True):
                np.testing.assert_array_equal(np.asarray(old)[held], np.asarray(new)[held])
        moved = first & ~held if held is not None else first
        assert (after[0].step_type[moved] != 0).all()
        assert both[0].new_steps == both[1].new_steps
        assert both[0].episodes == both[1].episodes
        timesteps = after
    assert waited > 10


def test_a_frozen_lane_ends_no_more_episodes():
    spec = make_environment_spec(lanes(1)[0])
    environment = batch(lanes(3), spec)
    environment.reset()
    environment.freeze(1)
    ended = set()
    for _ in range(12):
        environment.step(np.zeros(3, np.int32))
        ended |= {episode.lane for episode in environment.episodes}
    assert ended == {0, 2}


def test_a_reward_that_is_not_finite_is_refused_with_its_lane():
    def advance(key, n, action):
        return n + 1, functional.Outcome(n + 1, jnp.where(action, jnp.inf, 0.0), False)

    environment = functional.Functional(SPEC, begin, advance)
    lanes = batch([functional.DmEnvironment(environment, seed) for seed in range(3)], SPEC)
    lanes.reset()
    with pytest.raises(EnvironmentFailure, match='lane 2 .* reward must be finite, got inf'):
        lanes.step(np.array([0, 0, 1], np.int32))


def test_lanes_of_a_nest_of_rewards_are_saved_wherever_they_stand():
    spec = make_environment_spec(echo.game(0))
    lanes = batch([echo.game(0), echo.game(1)], spec)
    lanes.reset()
    lanes.environments[0].step(0)  # a step ahead of the other lane
    actions = np.zeros(2, np.int32)
    lanes.step(actions)
    lanes.step(actions)
    state = lanes.get_state()
    assert state == {'returns': [0.0, [-2.0, 4.0, -4.0, 2.0]], 'lengths': [0, 2]}
    other = batch([echo.game(0), echo.game(1)], spec)
    other.set_state(state)
    assert other.get_state() == state
    assert reward_names(spec) == ('black', 'judges/0', 'judges/1', 'white')
    assert reward_names(SPEC) == ()
