"""What holds for every adapter: dm_env's contract, seeds, ends, saving in mid-episode."""

import itertools
import pickle
import unittest
from typing import Any

import dm_env
import jax
import numpy as np
import pytest
from dm_env import specs
from dm_env import test_utils

from culmen.components import environments
from culmen.components.environments import functional
from culmen.components.environments.random_actions import random_action as random_nest
from culmen.core import legal_actions
from culmen.core import make_environment_spec
from culmen.core.actions import action_kind
from tests.components.environments import registry


def random_action(environment: Any, observation: Any, generator: np.random.Generator) -> Any:
    spec = environment.action_spec()
    has_legal = observation is not None and legal_actions(observation) is not None
    if has_legal or not isinstance(spec, specs.Array):
        return random_nest(spec, observation, generator)
    if spec.shape == ():
        return np.array(generator.integers(spec.num_values), spec.dtype)
    return generator.uniform(spec.minimum, spec.maximum, spec.shape).astype(spec.dtype)


def play(
    environment: Any, num_steps: int, seed: int = 0, observation: Any = None
) -> tuple[list[Any], list[Any]]:
    """Steps from where it stands, at `observation`, with random actions: (actions, time steps)."""
    generator = np.random.default_rng(seed)
    actions, timesteps = [], []
    for _ in range(num_steps):
        actions.append(random_action(environment, observation, generator))
        timesteps.append(environment.step(actions[-1]))
        observation = timesteps[-1].observation
    return actions, timesteps


def bits(timestep: dm_env.TimeStep) -> Any:
    """A time step as what can be compared bit for bit."""
    leaves, structure = jax.tree_util.tree_flatten(tuple(timestep))
    arrays = [np.asarray(leaf) for leaf in leaves]
    return structure, tuple((array.shape, array.dtype, array.tobytes()) for array in arrays)


def test_every_family_has_a_row():
    shown = {row.name.partition('/')[0] for row in registry.ROWS}
    assert {family.name for family in environments.families()} - {'function'} <= shown


@pytest.mark.parametrize('row', [row for row in registry.rows() if ':' not in row.values[0].name])
def test_it_is_what_the_catalogue_says_of_it_unbuilt(row):
    prefix, _, identity = row.name.partition('/')
    family = next(each for each in environments.families() if each.name == prefix)
    environment = row.make(seed=0)
    assert family.action_kind(identity) == action_kind(make_environment_spec(environment))
    assert family.jax == isinstance(environment, functional.DmEnvironment)


class Seen:
    """An environment as it is, that remembers its last observation: the mixin does not show it."""

    def __init__(self, environment: dm_env.Environment) -> None:
        self.environment = environment
        self.observation: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.environment, name)

    def reset(self) -> dm_env.TimeStep:
        return self.see(self.environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        return self.see(self.environment.step(action))

    def see(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        self.observation = timestep.observation
        return timestep


@pytest.mark.parametrize('row', registry.rows())
def test_the_contract_of_dm_env(row):
    class Contract(test_utils.EnvironmentTestMixin, unittest.TestCase):
        def make_object_under_test(self) -> Any:
            return Seen(row.make(seed=1))

        def make_action_sequence(self) -> Any:
            generator = np.random.default_rng(0)
            for _ in range(row.steps):
                yield random_action(self.environment, self.environment.observation, generator)

        def make_action(self) -> Any:
            seen = self.environment.observation
            if seen is not None and legal_actions(seen) is not None:
                return random_action(self.environment, seen, np.random.default_rng(0))
            return super().make_action()

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Contract)
    assert suite.countTestCases() >= 4
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun >= 4
    problems = result.errors + result.failures
    assert not problems, problems[0][1]


@pytest.mark.parametrize('row', [row for row in registry.rows() if ':' not in row.values[0].name])
def test_rewards_and_discounts_are_float32(row):
    environment = row.make(seed=0)
    numbers = lambda *nests: {leaf.dtype for leaf in jax.tree_util.tree_leaves(nests)}
    assert numbers(environment.reward_spec(), environment.discount_spec()) == {np.dtype(np.float32)}
    for timestep in play(environment, 12)[1]:
        if not timestep.first():
            assert numbers(timestep.reward, timestep.discount) == {np.dtype(np.float32)}


@pytest.mark.parametrize('row', registry.rows())
def test_one_seed_gives_the_same_bits_and_another_seed_others(row):
    steps = min(row.steps, 120)
    actions, first = play(row.make(seed=3), steps)
    again = row.make(seed=3)
    assert [bits(again.step(action)) for action in actions] == [bits(each) for each in first]
    different = row.make(seed=4)
    if legal_actions(different.observation_spec()) is not None:
        _, other = play(different, steps)  # the same actions may be illegal under another seed
    else:
        other = [different.step(action) for action in actions]
    assert ([bits(each) for each in other] != [bits(each) for each in first]) == row.seeded


@pytest.mark.parametrize('row', registry.rows())
def test_episodes_of_one_environment_differ(row):
    """The generator goes on at a reset, it is not seeded anew."""
    if not row.seeded:
        pytest.skip('nothing is drawn')
    environment = row.make(seed=3)
    episodes = set()
    for _ in range(8):
        first = environment.reset()
        assert first.first()
        _, timesteps = play(environment, 45, observation=first.observation)
        episodes.add(hash(tuple(bits(each) for each in (first, *timesteps))))
    assert len(episodes) > 1


@pytest.mark.parametrize('row', registry.rows())
def test_the_order_of_steps_and_the_ends(row):
    _, timesteps = play(row.make(seed=0), row.steps)
    assert timesteps[0].first()
    ends = set()
    for before, after in itertools.pairwise(timesteps):
        assert after.first() == before.last()
        if after.first():
            assert after.reward is None
            assert after.discount is None
        discounts = {float(leaf) for leaf in jax.tree_util.tree_leaves(after.discount)}
        if after.mid():
            assert discounts == {1.0}
        if after.last():
            ends.add('termination' if discounts == {0.0} else 'truncation')
            assert discounts in ({0.0}, {1.0})
    assert ends == row.ends


@pytest.mark.parametrize('row', registry.rows())
def test_an_action_after_last_is_ignored(row):
    if not row.ends:
        pytest.skip('no episode ends in so few steps')
    environment = row.make(seed=0)
    actions, timesteps = play(environment, row.steps)
    ends = [index for index, timestep in enumerate(timesteps[:-1]) if timestep.last()]
    again = row.make(seed=0)
    for action in actions[: ends[0] + 1]:
        again.step(action)
    assert bits(again.step(None)) == bits(timesteps[ends[0] + 1])


@pytest.mark.parametrize('row', registry.rows())
def test_saved_in_mid_episode_it_goes_on_with_the_same_bits(row):
    """Saved before the first step, in an episode, right at its end, and in a later one."""
    if not row.restorable:
        assert not environments.is_restorable(row.make(seed=5))
        pytest.skip('it can not be saved in mid-episode')
    actions, timesteps = play(row.make(seed=5), row.steps)
    lasts = [index for index, timestep in enumerate(timesteps) if timestep.last()]
    points = {0, 2, row.steps // 2}
    if lasts:
        points |= {lasts[0] + 1, min(lasts[-1] + 3, row.steps - 1)}
    unbroken = row.make(seed=5)
    assert environments.is_restorable(unbroken)
    states = {}
    for index, action in enumerate(actions):
        if index in points:
            states[index] = pickle.dumps(unbroken.get_state())
        unbroken.step(action)
    assert set(states) == points
    for point, state in states.items():
        fresh = row.make(seed=5)
        fresh.set_state(pickle.loads(state))
        # Across the next two ends at least, where there are any.
        until = next((last + 5 for last in lasts[2:] if last > point), row.steps)
        for index in range(point, min(until, row.steps)):
            assert bits(fresh.step(actions[index])) == bits(timesteps[index]), (point, index)


@pytest.mark.parametrize('row', registry.rows())
def test_a_state_shares_nothing_with_the_environment(row):
    """It is still the same after the environment went on, and serves twice."""
    if not row.restorable:
        pytest.skip('it can not be saved in mid-episode')
    environment = row.make(seed=6)
    _, timesteps = play(environment, 10)
    state = environment.get_state()
    before = pickle.dumps(state)
    actions, timesteps = play(environment, 15, 1, timesteps[-1].observation)
    for _ in range(2):
        fresh = row.make(seed=6)
        fresh.set_state(state)
        assert [bits(fresh.step(action)) for action in actions] == [
            bits(each) for each in timesteps
        ]
    assert len(pickle.dumps(state)) == len(before)


@pytest.mark.parametrize('row', registry.rows())
def test_observations_are_not_written_into_again(row):
    environment = row.make(seed=2)
    generator = np.random.default_rng(0)
    kept, observation = [], None
    for _ in range(12):
        timestep = environment.step(random_action(environment, observation, generator))
        observation = timestep.observation
        kept.append((timestep, bits(timestep)))
    assert all(bits(timestep) == then for timestep, then in kept)
