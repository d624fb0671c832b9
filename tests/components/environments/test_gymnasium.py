"""gymnasium as dm_env: the numbers are its own, the spaces have their specs."""

import inspect

import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.agents import ppo
from culmen.components import environments

gymnasium = pytest.importorskip('gymnasium')
from culmen.components.environments.families.gymnasium import GymnasiumEnvironment  # noqa: E402

spaces = gymnasium.spaces


class Fake(gymnasium.Env):
    """Observes what it is told to, records actions, and ends as it is told to."""

    def __init__(self, observation_space, action_space=None, ends=(), info=None):
        self.observation_space = observation_space
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        self.ends = list(ends)
        self.info = info or {}
        self.actions = []
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        return self.observation_space.sample(), self.info

    def step(self, action):
        assert self.action_space.contains(action), action
        self.actions.append(action)
        terminated, truncated = self.ends.pop(0) if self.ends else (False, False)
        return self.observation_space.sample(), 1, terminated, truncated, self.info


def adapt(*args, limit=None, legal_actions=False, **kwargs):
    return GymnasiumEnvironment(lambda: Fake(*args, **kwargs), 0, limit, legal_actions)


UNIT = spaces.Box(0, 1, (2,), np.float32)


@pytest.mark.parametrize('name', ['CartPole-v1', 'Pendulum-v1', 'Taxi-v4', 'MountainCar-v0'])
def test_the_numbers_are_those_of_gymnasium(name):
    raw = gymnasium.make(name)
    environment = environments.make(f'gymnasium/{name}', 11)
    spec = environment.action_spec()
    generator = np.random.default_rng(0)
    observation, _ = raw.reset(seed=11)
    timestep = environment.step(None)
    for _ in range(450):
        np.testing.assert_array_equal(timestep.observation, observation)
        if timestep.last():
            observation, _ = raw.reset()  # not seeded again
            timestep = environment.step(None)
            continue
        if isinstance(spec, specs.DiscreteArray):
            action = int(generator.integers(spec.num_values))
        else:
            action = generator.uniform(spec.minimum, spec.maximum, spec.shape).astype(spec.dtype)
        observation, reward, terminated, truncated, _ = raw.step(action)
        timestep = environment.step(action)
        assert timestep.reward == np.float32(reward)
        assert timestep.last() == (terminated or truncated)
        assert timestep.discount == (0.0 if terminated else 1.0)


@pytest.mark.parametrize(
    ('end', 'discount'), [((True, False), 0.0), ((False, True), 1.0), ((True, True), 0.0)]
)
def test_terminations_and_truncations_are_kept_apart(end, discount):
    environment = adapt(UNIT, ends=[(False, False), end])
    environment.reset()
    assert environment.step(0).mid()
    last = environment.step(0)
    assert last.last()
    assert last.discount == discount
    assert environment.step(0).first()


def test_a_termination_at_the_time_limit_is_a_termination():
    environment = adapt(UNIT, ends=[(False, False), (True, False)], limit=2)
    environment.reset()
    environment.step(0)
    assert environment.step(0).discount == 0.0
    environment = adapt(UNIT, limit=2)
    environment.reset()
    environment.step(0)
    assert environment.step(0).discount == 1.0


def test_it_is_seeded_once():
    environment = adapt(UNIT)
    for _ in range(3):
        environment.reset()
    assert environment.unwrapped.seeds == [0, None, None]


@pytest.mark.parametrize(
    ('space', 'spec'),
    [
        (spaces.Box(-1, 2, (3,), np.float32), specs.Array((3,), np.float32)),
        (spaces.Box(0, 255, (4, 5), np.uint8), specs.BoundedArray((4, 5), np.uint8, 0, 255)),
        (spaces.Discrete(4), specs.DiscreteArray(4, np.int32)),
        (spaces.Discrete(4, start=-2), specs.DiscreteArray(4, np.int32)),
        (spaces.MultiBinary(3), specs.BoundedArray((3,), np.int8, 0, 1)),
        (spaces.MultiDiscrete([2, 5]), specs.BoundedArray((2,), np.int64, [0, 0], [1, 4])),
        (
            spaces.Dict(a=spaces.Discrete(2), b=spaces.Tuple((UNIT, spaces.MultiBinary(2)))),
            {
                'a': specs.DiscreteArray(2, np.int32),
                'b': (specs.Array((2,), np.float32), specs.BoundedArray((2,), np.int8, 0, 1)),
            },
        ),
    ],
)
def test_observation_spaces_have_their_specs(space, spec):
    environment = adapt(space)
    assert environment.observation_spec() == spec
    report = environments.check_environment(lambda seed: adapt(space), num_steps=40)
    assert report.restorable


@pytest.mark.parametrize(
    ('space', 'spec', 'action', 'taken'),
    [
        (spaces.Discrete(3), specs.DiscreteArray(3, np.int32), np.int32(2), 2),
        (spaces.Discrete(3, start=5), specs.DiscreteArray(3, np.int32), np.array(0), 5),
        (
            spaces.Box(np.array([0, -1], np.float32), np.array([2, 1], np.float32)),
            specs.BoundedArray((2,), np.float32, [0, -1], [2, 1]),
            np.array([1.5, 0]),
            np.array([1.5, 0], np.float32),
        ),
        (
            spaces.MultiDiscrete([2, 3], start=[1, 1]),
            specs.BoundedArray((2,), np.int64, [1, 1], [2, 3]),
            [1, 3],
            np.array([1, 3]),
        ),
        (
            spaces.Dict(a=spaces.Discrete(2), b=UNIT),
            {
                'a': specs.DiscreteArray(2, np.int32),
                'b': specs.BoundedArray((2,), np.float32, 0, 1),
            },
            {'a': np.int32(1), 'b': np.zeros(2, np.float32)},
            {'a': 1, 'b': np.zeros(2, np.float32)},
        ),
        (
            spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(1))),
            (specs.DiscreteArray(2, np.int32), specs.BoundedArray((1,), np.int8, 0, 1)),
            (1, [0]),
            (1, np.zeros(1, np.int8)),
        ),
    ],
)
def test_action_spaces_have_their_specs_and_take_their_actions(space, spec, action, taken):
    environment = adapt(UNIT, space)
    assert environment.action_spec() == spec
    environment.reset()
    environment.step(action)  # the fake refuses what its space does not contain
    np.testing.assert_equal(environment.unwrapped.actions[0], taken)


def test_a_space_without_a_counterpart_is_refused():
    with pytest.raises(ValueError, match=r'observation/text has the space Text.*accepted are Box'):
        adapt(spaces.Dict(text=spaces.Text(3)))
    with pytest.raises(ValueError, match='action has the space Text'):
        adapt(UNIT, spaces.Text(3))


def test_legal_actions_come_from_the_action_mask():
    info = {'action_mask': np.array([0, 1], np.int8)}
    environment = adapt(UNIT, info=info, legal_actions=True)
    observation = environment.reset().observation
    assert observation['legal_actions'].tolist() == [False, True]
    assert observation['legal_actions'].dtype == bool
    assert set(environment.observation_spec()) == {'observation', 'legal_actions'}
    empty = {'action_mask': np.zeros(2, np.int8)}
    assert adapt(UNIT, info=empty, legal_actions=True).reset().observation['legal_actions'].all()
    with pytest.raises(ValueError, match=r"gives no info\['action_mask'\]"):
        adapt(UNIT, legal_actions=True).reset()
    with pytest.raises(ValueError, match='needs a discrete action space'):
        adapt(UNIT, UNIT, legal_actions=True)


SEVERAL = spaces.Dict(
    move=spaces.Discrete(2, start=5),
    pair=spaces.Tuple([UNIT, spaces.MultiDiscrete([2, 3])]),
    switches=spaces.MultiBinary(3),
)


def test_actions_of_several_spaces():
    environment = adapt(UNIT, SEVERAL)
    spec = environment.action_spec()
    assert spec['move'] == specs.DiscreteArray(2, np.int32, 'action/move')
    assert spec['pair'][1].maximum.tolist() == [1, 2]
    assert spec['switches'].shape == (3,)
    environment.reset()
    action = {
        'move': np.int32(1),
        'pair': (np.zeros(2, np.float32), np.array([1, 2])),
        'switches': np.array([0, 1, 1], np.int8),
    }
    environment.step(action)  # the fake asserts that its space contains it
    given = environment.unwrapped.actions[0]
    assert given['move'] == 6
    assert given['pair'][1].tolist() == [1, 2]
    report = environments.check_environment(lambda seed: adapt(UNIT, SEVERAL), 50)
    assert report.steps > 40


def test_legal_actions_of_several_spaces():
    mask = {
        'pair': (None, (np.array([0, 1], np.int8), np.array([0, 0, 0], np.int8))),
        'switches': np.array([0, 1, 2], np.int8),
    }
    environment = adapt(UNIT, SEVERAL, info={'action_mask': mask}, legal_actions=True)
    spec = environment.observation_spec()['legal_actions']
    assert spec['move'].shape == (2,)
    assert spec['pair']['1'].shape == (2, 3)
    assert spec['switches'].shape == (3, 2)
    legal = environment.reset().observation['legal_actions']
    assert legal['move'].tolist() == [True, True]
    assert legal['pair']['1'].tolist() == [[False, True, False], [True, True, True]]
    assert legal['switches'].tolist() == [[True, False], [False, True], [True, True]]
    environment = adapt(UNIT, SEVERAL, info={'action_mask': mask}, legal_actions=True)
    assert environments.check_environment(environment, 50).steps > 40
    for number, value in enumerate(environment.unwrapped.actions):
        assert value['pair'][1][0] == 1, number
        assert value['switches'][:2].tolist() == [0, 1], number
    wrong = {'action_mask': {'switches': np.array([0, 1], np.int8)}}
    with pytest.raises(ValueError, match=r"info\['action_mask'\] must mask legal_actions/switches"):
        adapt(UNIT, SEVERAL, info=wrong, legal_actions=True).reset()


@pytest.mark.slow
def test_an_agent_takes_actions_of_several_spaces():
    """In whole runs: the fake asserts that its space contains each action, and the masks hold."""
    space = spaces.Dict(
        aim=spaces.Box(-2, 2, (1, 2), np.float32),
        move=spaces.Discrete(3, start=5),
        pair=spaces.Tuple([spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)]),
    )
    mask = {
        'move': np.array([1, 0, 1], np.int8),
        'pair': ((np.array([0, 1], np.int8), np.array([1, 1, 0], np.int8)), None),
    }
    made = []

    def make(seed):
        ends = [(False, step % 5 == 4) for step in range(100)]
        made.append(adapt(UNIT, space, ends, {'action_mask': mask}, legal_actions=True))
        return made[-1]

    agent = ppo.PPO(
        hidden_sizes=(8,), unroll_length=5, batch_size=2, num_epochs=1, num_minibatches=2
    )
    evaluation = culmen.Evaluation(episodes=2)
    experiment = culmen.Experiment(
        agent, make, max_actor_steps=40, num_environments=2, evaluation=evaluation
    )
    assert culmen.run(experiment, progress=False).summary['learner_steps'] > 0
    taken = [action for environment in made for action in environment.unwrapped.actions]
    assert len(taken) > 40
    assert {int(action['move']) for action in taken} == {5, 7}
    pairs = np.stack([action['pair'][0] for action in taken])
    assert set(pairs[:, 0]) == {1}
    assert set(pairs[:, 1]) == {0, 1}
    assert {tuple(action['pair'][1]) for action in taken} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_what_can_not_be_copied_is_not_restorable():
    class Open(Fake):
        def __init__(self):
            super().__init__(UNIT)
            self.handles = [lambda: 1]

    environment = GymnasiumEnvironment(Open, 0, name='open')
    assert not environments.is_restorable(environment)
    with pytest.raises(ValueError, match='open can not be saved in mid-episode'):
        environment.get_state()


class Constructed(gymnasium.utils.EzPickle):
    """A pickle of it is a call of its constructor: its count would be lost in silence."""

    def __init__(self):
        super().__init__()
        self.count = 0


class Holder(Fake):
    """Counts in an object of its own."""

    def __init__(self, counter):
        super().__init__(UNIT)
        self.counter = counter


class Plain:
    """As `Constructed`, but pickled with its count."""

    count = 0


def test_what_pickles_as_a_new_object_is_not_restorable():
    make = lambda cls: GymnasiumEnvironment(lambda: Holder(cls()), 0)
    assert environments.is_restorable(make(Plain))
    assert not environments.is_restorable(make(Constructed))


def test_the_checkers_of_gymnasium_are_not_paid_for():
    """Nothing stands between the adapter and the environment that was registered."""
    callers = []

    class Asked(Fake):
        def __init__(self):
            super().__init__(spaces.Box(-1, 1, (2,)))

        def step(self, action):
            callers.append(inspect.currentframe().f_back.f_globals['__name__'])
            return super().step(action)

    gymnasium.register('Asked-v0', Asked)
    try:
        environment = environments.make('gymnasium/Asked-v0', 0)
        environment.reset()
        environment.step(1)
    finally:
        gymnasium.registry.pop('Asked-v0')
    assert callers == [GymnasiumEnvironment.__module__]


class Showing(Fake):
    """Observes what it is given, whatever its space says."""

    def __init__(self, space, shown):
        super().__init__(space)
        self.shown = shown

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.shown, {}


@pytest.mark.parametrize(
    ('space', 'shown', 'words'),
    [
        (spaces.Box(0, 255, (2,), np.uint8), [0.5, 0.3], r'observation must be uint8.* 0.5 at \[0\]'),
        (spaces.Box(0, 255, (2,), np.uint8), np.array([1, 256]), r'not hold 256 at \[1\]'),
        (spaces.Box(-9, 9, (1,), np.int64), np.array([np.nan]), 'must be int64.* not hold nan'),
        (spaces.Box(-1, 1, (1,), np.float32), np.array([1e39]), 'float32.* not hold 1e\\+39'),
        (spaces.MultiBinary(2), np.array([0, 300]), 'observation must be int8.* not hold 300'),
        (spaces.Discrete(4), 1.5, 'observation must be int32.* not hold 1.5'),
        (spaces.Discrete(4), 2**31, 'observation must be int32.* not hold 2147483648'),
        (
            spaces.Dict({'a': spaces.Tuple([UNIT, spaces.Box(0, 9, (1,), np.uint8)])}),
            {'a': (np.zeros(2, np.float32), [-1])},
            r'observation/a/1 must be uint8.* not hold -1',
        ),
    ],
)  # fmt: skip
def test_an_observation_that_its_space_can_not_hold_is_refused(space, shown, words):
    environment = GymnasiumEnvironment(lambda: Showing(space, shown), 0)
    with pytest.raises(ValueError, match=words):
        environment.reset()
    with pytest.raises(ValueError, match=words):  # nothing is hidden from an author
        environments.check_environment(GymnasiumEnvironment(lambda: Showing(space, shown), 0))


def test_what_a_space_holds_is_cast():
    for space, shown in (
        (spaces.Box(0, 255, (2,), np.uint8), [255.0, 0.0]),
        (spaces.Box(-1, 1, (2,), np.float32), np.array([0.1, 1e-60])),  # rounded without a word
        (spaces.Discrete(3, start=-1), np.array(1)),
    ):
        environment = GymnasiumEnvironment(lambda s=space, o=shown: Showing(s, o), 0)
        observation = environment.reset().observation
        assert observation.dtype == environment.observation_spec().dtype
        assert np.allclose(observation, np.asarray(shown) + (space.dtype == np.int64))


class Undrawable(Fake):
    """Its metadata promise a render mode that its constructor does not take."""

    metadata = {'render_modes': ['rgb_array']}

    def __init__(self):
        super().__init__(UNIT)


class HandingUp(Undrawable):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)


@pytest.fixture
def register():
    registered = []

    def register(identity, **kwargs):
        gymnasium.register(identity, **kwargs)
        registered.append(identity)
        return f'gymnasium/{identity}'

    yield register
    for identity in registered:
        del gymnasium.registry[identity]


@pytest.mark.parametrize('made', [Undrawable, HandingUp])
def test_a_constructor_without_render_mode_is_not_given_one(made, register):
    environment = environments.make(register('Undrawable-v0', entry_point=made), 0)
    assert environment.reset().first()
    with pytest.raises(ValueError, match="has no render mode 'rgb_array'"):
        environment.render()


@pytest.mark.parametrize('limit', [None, 3])
def test_registered_wrappers_know_the_time_limit(register, limit):
    aware = gymnasium.wrappers.TimeAwareObservation
    name = register(
        'Aware-v0',
        entry_point='gymnasium.envs.classic_control:CartPoleEnv',
        max_episode_steps=4,
        additional_wrappers=(aware.wrapper_spec(flatten=True, normalize_time=True),),
    )
    options = {} if limit is None else {'max_episode_steps': limit}
    raw = gymnasium.make(name.partition('/')[2], **options)
    environment = environments.make(name, 5, **options)
    shown = [environment.reset().observation]
    expected = [raw.reset(seed=5)[0]]
    while True:
        timestep = environment.step(0)
        observation, _, _, truncated, _ = raw.step(0)
        shown.append(timestep.observation)
        expected.append(observation)
        if timestep.last():
            break
    np.testing.assert_allclose(shown, expected)
    assert truncated
    assert timestep.discount == 1.0
    assert len(shown) == 1 + (limit or 4)
    assert shown[-1][-1] == 1.0
    # It is saved and goes on, with what the limit has counted.
    environment.reset()
    environment.step(0)
    restored = environments.make(name, 5, **options)
    restored.set_state(environment.get_state())
    for _ in range(len(shown) - 2):
        one, other = environment.step(0), restored.step(0)
        np.testing.assert_array_equal(one.observation, other.observation)
    assert one.last()
    assert other.last()
