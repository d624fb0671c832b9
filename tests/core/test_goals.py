"""Goals: another goal's reward and discount, functions of NumPy, refusals, and what wrappers leave."""

import pickle

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.components import environments
from culmen.components.environments import functional
from culmen.core import EnvironmentSpec
from culmen.core import Goals
from culmen.core import SettingError
from culmen.core import goals as core_goals
from culmen.core import make_environment_spec
from culmen.launchers.policies import MakePolicy

TRANSFORMS = {
    'plain': lambda function: function,
    'jit': jax.jit,
    'vmap': jax.vmap,
    'jit of vmap': lambda function: jax.jit(jax.vmap(function)),
}
GOALS = Goals(
    lambda achieved, desired: -jnp.sum(jnp.abs(achieved - desired), axis=-1),
    lambda achieved, desired: jnp.all(achieved == desired, axis=-1),
    ends=True,
)
SPEC = EnvironmentSpec(
    {
        name: specs.Array((2,), np.float32)
        for name in ('observation', 'achieved_goal', 'desired_goal')
    },
    specs.DiscreteArray(2),
    functional.REWARD,
    functional.DISCOUNT,
    goals=GOALS,
)


@pytest.mark.parametrize('transform', ['plain', 'jit', 'vmap', 'jit of vmap'])
def test_another_goal_has_another_reward_and_ends_an_episode_elsewhere(transform):
    """Rows: the old goal was reached, the new one is, neither was, and the episode was over otherwise."""
    achieved = jnp.array([[1.0, 1.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    old = jnp.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    new = jnp.array([[0.0, 0.0], [0.0, 2.0], [3.0, 2.0], [3.0, 2.0]])
    observation = {'observation': achieved, 'achieved_goal': achieved, 'desired_goal': old}
    given = jnp.array([0.0, 1.0, 1.0, 0.0])
    relabel = TRANSFORMS[transform](lambda *args: core_goals.relabel(GOALS, *args))
    seen, reward, discount = relabel(observation, given, new)
    np.testing.assert_array_equal(reward, [-2.0, 0.0, -3.0, -3.0])
    np.testing.assert_array_equal(discount, [1.0, 0.0, 1.0, 0.0])
    np.testing.assert_array_equal(seen['desired_goal'], new)
    np.testing.assert_array_equal(seen['achieved_goal'], achieved)


def test_goals_that_end_nothing_leave_the_discount():
    fields = dict.fromkeys(('achieved_goal', 'desired_goal'), jnp.zeros((2, 2)))
    given = jnp.array([0.0, 1.0])
    _, _, discount = core_goals.relabel(
        GOALS._replace(ends=False), fields, given, fields['achieved_goal']
    )
    np.testing.assert_array_equal(discount, given)


@pytest.mark.parametrize('transform', TRANSFORMS)
def test_functions_of_numpy_are_called_for_each_pair(transform):
    nest = {'a': specs.Array((2,), np.float64), 'b': specs.Array((), np.int32)}
    seen = []

    def reward(achieved, desired):
        seen.append((achieved['a'].dtype, achieved['a'].shape, desired['b'].dtype))
        return achieved['a'].sum() - 10 * desired['b']

    goals = core_goals.from_numpy(reward, lambda a, d: a['b'] == d['b'], nest, ends=True)
    assert goals.ends
    achieved = {'a': jnp.arange(12.0).reshape(2, 3, 2), 'b': jnp.array([[0, 1, 2], [3, 4, 5]])}
    desired = {'a': jnp.zeros((2, 3, 2)), 'b': jnp.array([[0, 0, 2], [2, 4, 0]])}
    both = TRANSFORMS[transform](lambda *pair: (goals.reward(*pair), goals.reached(*pair)))
    rewards, reached = both(achieved, desired)
    np.testing.assert_array_equal(rewards, [[1, 5, -11], [-7, -23, 21]])
    np.testing.assert_array_equal(reached, [[True, False, True], [False, True, False]])
    assert (rewards.dtype, reached.dtype) == (np.float32, np.bool_)
    assert set(seen) == {(np.dtype(np.float64), (2,), np.dtype(np.int32))}
    core_goals.check_goals(
        SPEC._replace(observation={'achieved_goal': nest, 'desired_goal': nest}, goals=goals)
    )


def test_what_does_not_fit_is_refused_by_name():
    core_goals.check_goals(SPEC)
    core_goals.check_goals(SPEC._replace(goals=None, observation=SPEC.action))
    fields = SPEC.observation
    for changes, match in (
        ({'observation': fields['observation']}, 'must observe a dict with the fields achieved_goal'),
        ({'observation': {**fields, 'desired_goal': specs.Array((3,), np.float32)}}, 'must have the spec'),
        ({'goals': GOALS._replace(reward=lambda a, d: a - d)}, r'goals.reward must give float32\[\]'),
        ({'goals': GOALS._replace(reached=GOALS.reward)}, r'goals.reached must give bool\[\]'),
        ({'goals': GOALS._replace(reached=lambda a, d: jnp.all(a == d))}, r'bool\[2, 3\]'),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=match):
            core_goals.check_goals(SPEC._replace(**changes))
    with pytest.raises(SettingError, match=r'goals\(\) must give Goals or None'):
        make_environment_spec(Reach(0, goals='a'))


class Reach(dm_env.Environment):
    """Steps towards a goal of 1 to 3, paid -1 until it is reached; what it says of its goals is given."""

    def __init__(self, seed, goals=GOALS):
        self.generator = np.random.default_rng(seed)
        self.given = goals
        self.place = self.goal = 0

    def goals(self):
        return self.given

    def observe(self):
        both = {'achieved_goal': np.float32([self.place]), 'desired_goal': np.float32([self.goal])}
        return {'observation': np.zeros(1, np.float32), **both}

    def reset(self):
        self.place, self.goal = 0, int(self.generator.integers(1, 4))
        return dm_env.restart(self.observe())

    def step(self, action):
        if self.place == self.goal:
            return self.reset()
        self.place = int(np.clip(self.place + 2 * int(action) - 1, 0, 3))
        over = self.place == self.goal
        end = dm_env.termination if over else dm_env.transition
        return end(float(over) - 1.0, self.observe())

    def observation_spec(self):
        return {name: specs.Array((1,), np.float32) for name in SPEC.observation}

    def action_spec(self):
        return specs.DiscreteArray(2)


TRUE = GOALS._replace(reward=lambda a, d: jnp.all(a == d, axis=-1) - jnp.float32(1))


def test_an_environment_of_ones_own_is_held_to_its_goals():
    report = environments.check_environment(lambda seed: Reach(seed, TRUE), 200)
    assert report.terminations
    environments.check_environment(lambda seed: Reach(seed, None), 200)
    with pytest.raises(ValueError, match=r'goals.reward gives -2.0 .* had the reward -1.0 \(and'):
        environments.check_environment(lambda seed: Reach(seed, GOALS), 200)
    always = TRUE._replace(reached=lambda a, d: jnp.ones(a.shape[:-1], bool))
    with pytest.raises(
        ValueError, match='the goal is reached and goals.ends is True, but the disc'
    ):
        environments.check_environment(lambda seed: Reach(seed, always), 200)
    with pytest.raises(ValueError, match='goals.reached must give bool'):
        environments.check_environment(lambda seed: Reach(seed, TRUE._replace(reached=TRUE.reward)))


@pytest.mark.parametrize(
    ('arguments', 'kept'),
    [
        ({}, True),
        ({'step_limit': 3, 'noop_starts': 1, 'single_precision': True}, True),
        ({'canonical_actions': True}, True),
        ({'hide_observation': 'observation'}, True),
        ({'hide_observation': 'achieved_goal'}, False),
        ({'clip_reward': 0.5}, False),
        ({'action_repeat': 2}, False),
        ({'delayed_reward': 2}, False),
        ({'flatten_observation': True}, False),
        ({'frame_stack': 2}, False),
        ({'observation_action_reward': True}, False),
        ({'observe_state': True}, True),
    ],
)
def test_goals_hold_where_a_wrapper_leaves_rewards_and_fields(arguments, kept):
    environment = environments.make('jax/u_maze', 0, **arguments)
    assert (make_environment_spec(environment).goals is not None) == kept
    if kept:
        environments.check_environment(
            lambda seed: environments.make('jax/u_maze', seed, **arguments), 60
        )


def test_what_delegates_to_an_environment_with_goals_has_none():
    class Delegating(environments.Wrapper):
        def __getattr__(self, name):
            return getattr(environments.make('jax/u_maze', 0), name)

    class Foreign(Reach):
        goals = None

    assert core_goals.goals_of(Delegating(Reach(0))) is None
    assert core_goals.goals_of(Foreign(0)) is None
    assert core_goals.goals_of(Reach(0)) is GOALS


def test_they_are_made_again_where_a_pickle_leaves_them():
    experiment = culmen.Experiment(
        culmen.agents.dqn.DQN(), culmen.environment('jax/bit_flip', bits=3), max_actor_steps=1
    )
    spec = make_environment_spec(environments.make('jax/bit_flip', 0, bits=3))
    assert spec.has_functions
    plain = spec.without_functions()
    assert not plain.has_functions
    assert plain.nests() == spec.nests()
    make = pickle.loads(pickle.dumps(MakePolicy(experiment, spec, {}, (0, 0))))
    assert make.spec.goals is None
    assert make.has_left_out_functions
