"""Lanes that are stepped in one call are the lanes stepped one after another."""

import copy
import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import environments
from culmen.components.environments import functional
from culmen.components.environments.random_actions import random_action
from culmen.components.environments.vector import VectorLane
from culmen.components.environments.vector import VectorMaker
from culmen.components.environments.wrappers import StepLimit
from culmen.core.specs import make_environment_spec
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import BatchedEnvironment
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.environment_loops.batched import reward_names
from culmen.environment_loops.batching import FunctionalBatch
from culmen.environment_loops.batching import VectorBatch
from culmen.environment_loops.batching import batch
from tests.components.environments.counting import SPEC
from tests.components.environments.counting import begin
from tests.environment_loops import fakes
from tests.launchers import echo


def lanes(num, **arguments):
    return [environments.make('jax/catch', seed, **arguments) for seed in range(num)]


def test_only_lanes_of_one_environment_step_together():
    spec = make_environment_spec(lanes(1)[0])
    assert isinstance(batch(lanes(3), spec), FunctionalBatch)
    assert type(batch(lanes(1), spec)) is BatchedEnvironment
    assert type(batch([*lanes(1), *lanes(1, rows=4)], spec)) is BatchedEnvironment
    wrapped = [environments.make('jax/catch', 0, step_limit=3) for _ in range(2)]
    assert type(batch(wrapped, spec)) is BatchedEnvironment
    makers = [VectorMaker(spec, Counters) for _ in range(2)]
    assert isinstance(batch([VectorLane(makers[0], seed) for seed in range(2)], spec), VectorBatch)
    apart = [VectorLane(maker, 0) for maker in makers]
    assert type(batch(apart, spec)) is BatchedEnvironment


@dataclasses.dataclass(frozen=True)
class Kind:
    """Lanes that are stepped in one call."""

    name: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    alone: str = (
        ''  # an environment of which the same lanes are had one by one; '': of the same name
    )
    ends: tuple[str, ...] = ('termination',)
    restorable: bool = False

    @property
    def is_slow(self):
        return 'async' in self.arguments.values() or 'Pong' in self.name

    def lanes(self, num, first=0):
        # EnvPool's seeds follow one another where its version takes one only.
        return [environments.make(self.name, first + i, **self.arguments) for i in range(num)]

    def apart(self, num, first=0):
        arguments = {
            name: value
            for name, value in self.arguments.items()
            if not (self.alone and name == 'vectorization_mode')
        }
        return [
            environments.make(self.alone or self.name, first + i, **arguments) for i in range(num)
        ]

    def both(self, num, **options):
        """(lanes that are stepped together, lanes that are not)."""
        spec = make_environment_spec(self.apart(1)[0])
        limited = [
            StepLimit(each, options['max_steps']) if options else each for each in self.apart(num)
        ]
        together = batch(self.lanes(num), spec, **options)
        assert type(together) is not BatchedEnvironment
        return together, BatchedEnvironment(limited, spec)


def kinds():
    limit = {'max_episode_steps': 12}
    rows = [
        (Kind('jax/catch', restorable=True), ''),
        (Kind('envpool/CartPole-v1', limit, ends=('termination', 'truncation')), 'envpool'),
        (Kind('envpool/CheetahRun-v1', {'max_episode_steps': 7}, ends=('truncation',)), 'envpool'),
        (Kind('envpool/Pong-v5', {'max_episode_steps': 7}, ends=('truncation',)), 'envpool'),
        (
            Kind(
                'gymnasium_vector/CartPole-v1',
                limit,
                'gymnasium/CartPole-v1',
                ends=('termination', 'truncation'),
            ),
            'gymnasium',
        ),
        (
            Kind(
                'gymnasium_vector/Pendulum-v1',
                {'max_episode_steps': 7},
                'gymnasium/Pendulum-v1',
                ends=('truncation',),
            ),
            'gymnasium',
        ),
        (
            Kind(
                'gymnasium_vector/Taxi-v4',
                {'max_episode_steps': 9, 'legal_actions': True},
                'gymnasium/Taxi-v4',
                ends=('truncation',),
            ),
            'gymnasium',
        ),
        (
            Kind(
                'gymnasium_vector/CartPole-v1',
                {'vectorization_mode': 'async', **limit},
                'gymnasium/CartPole-v1',
                ends=('termination', 'truncation'),
            ),
            'gymnasium',
        ),
    ]
    return [
        pytest.param(
            kind,
            id=','.join([kind.name, *map(str, kind.arguments.values())]),
            marks=[
                pytest.mark.skipif(
                    bool(package) and importlib.util.find_spec(package) is None,
                    reason=f'needs {package}',
                ),
                *([pytest.mark.deep] if kind.is_slow else []),
            ],
        )
        for kind, package in rows
    ]


def drawn(spec, rng, num):
    return jax.tree_util.tree_map(
        lambda *leaves: np.stack(leaves),
        *[random_action(spec.action, None, rng) for _ in range(num)],
    )


def assert_same(a, b):
    for x, y in zip(*map(jax.tree_util.tree_leaves, (a, b)), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


@pytest.mark.parametrize('kind', kinds())
def test_the_lanes_are_those_of_environments_stepped_one_by_one(kind):
    together, apart = kind.both(4)
    rng = np.random.default_rng(0)
    a, b = together.reset(), apart.reset()
    ends = set()
    kept = []
    for tick in range(45):
        assert_same(a, b)
        kept.append((a, copy.deepcopy(a)))
        assert together.new_steps == apart.new_steps
        assert together.episodes == apart.episodes
        assert together.get_state() == apart.get_state()
        for episode in apart.episodes:
            ends.add('truncation' if b.discount[episode.lane] else 'termination')
        action = drawn(apart.spec, rng, 4)
        if tick == 30 and kind.restorable:  # saved, and restored in fresh ones
            saved = [each.get_state() for each in together.environments], together.get_state()
            together = batch(kind.lanes(4), apart.spec)
            for each, state in zip(together.environments, saved[0], strict=True):
                each.set_state(state)
            together.set_state(saved[1])
        a, b = together.step(action), apart.step(action)
    assert ends == set(kind.ends)
    for timestep, then in kept:  # no array is written into again
        assert_same(timestep, then)
    together.close()


@pytest.mark.parametrize('kind', kinds())
def test_lanes_that_are_held_at_first_stay_there_and_others_go_on(kind):
    both = list(kind.both(4))
    spec = both[1].spec
    makes = (lambda: batch(kind.lanes(4), spec), lambda: BatchedEnvironment(kind.apart(4), spec))
    timesteps = [environment.reset() for environment in both]
    rng = np.random.default_rng(0)
    waited = 0
    for tick in range(80):
        assert_same(*timesteps)
        first = timesteps[0].first()
        held = first & (rng.random(4) < 0.6) if tick % 3 else None
        if held is not None and held.any() and tick > 40 and kind.restorable:
            # Saved, and restored in fresh ones, which have stepped no lane yet.
            for i, make in enumerate(makes):
                saved = [each.get_state() for each in both[i].environments]
                sums, both[i] = both[i].get_state(), make()
                for each, state in zip(both[i].environments, saved, strict=True):
                    each.set_state(state)
                both[i].set_state(sums)
        action = drawn(spec, rng, 4)
        for environment, timestep in zip(both, timesteps, strict=True):
            environment.hold(held, timestep)
        after = [environment.step(action) for environment in both]
        if held is not None and held.any():
            waited += int(held.sum())
            for old, new in zip(*map(jax.tree_util.tree_leaves, (timesteps[0], after[0]))):
                np.testing.assert_array_equal(np.asarray(old)[held], np.asarray(new)[held])
        moved = first & ~held if held is not None else first
        assert (after[0].step_type[moved] != 0).all()
        assert both[0].new_steps == both[1].new_steps
        assert both[0].episodes == both[1].episodes
        timesteps = after
    assert waited > 10
    both[0].close()


@pytest.mark.parametrize('kind', kinds())
def test_a_frozen_lane_ends_no_more_episodes(kind):
    together, apart = kind.both(3)
    rng = np.random.default_rng(0)
    ended = {0: set(), 1: set()}
    timesteps = [environment.reset() for environment in (together, apart)]
    for tick in range(60):
        if tick == 9:
            together.freeze(1)
            apart.freeze(1)
        action = drawn(apart.spec, rng, 3)
        timesteps = [environment.step(action) for environment in (together, apart)]
        others = [jax.tree_util.tree_map(lambda leaf: leaf[[0, 2]], each) for each in timesteps]
        assert_same(*others)
        assert together.episodes == apart.episodes
        ended[int(tick >= 9)] |= {episode.lane for episode in together.episodes}
    assert ended[1] == {0, 2}
    together.close()


@pytest.mark.parametrize('kind', kinds())
def test_max_steps_cuts_episodes_which_then_begin_anew(kind):
    together, apart = kind.both(3, max_steps=5)
    rng = np.random.default_rng(0)
    timesteps = [environment.reset() for environment in (together, apart)]
    cuts = 0
    for _ in range(30):
        assert_same(*timesteps)
        assert together.episodes == apart.episodes
        was_cut = [[each.was_cut(lane) for lane in range(3)] for each in (together, apart)]
        assert was_cut[0] == was_cut[1]
        cuts += sum(was_cut[0])
        action = drawn(apart.spec, rng, 3)
        timesteps = [environment.step(action) for environment in (together, apart)]
    assert cuts > 3
    together.close()


@pytest.mark.parametrize('kind', [each for each in kinds() if not each.values[0].restorable])
def test_after_a_resume_lanes_that_could_not_be_saved_begin_anew(kind):
    together, _ = kind.both(3)
    timestep = together.reset()
    action = drawn(together.spec, np.random.default_rng(0), 3)
    resumed, apart = kind.both(3)
    fresh = apart.reset()
    held = np.array([True, False, False])
    resumed.hold(held, timestep)
    after = resumed.step(action)
    assert after.first().all()
    pick = lambda lanes, nest: jax.tree_util.tree_map(lambda leaf: leaf[lanes], nest)
    assert_same(pick([0], after), pick([0], timestep))  # it waits on the FIRST that the actor saw
    assert_same(pick([1, 2], after), pick([1, 2], fresh))
    resumed.hold(None, after)
    assert resumed.step(action).step_type.tolist() == [0, 1, 1]  # and begins when it is let go
    assert resumed.step(action).step_type.tolist() == [1, 1, 1]
    together.close()
    resumed.close()


class Counters:
    """Lanes that count their steps, and say what they were told."""

    def __init__(self, seeds, fault=''):
        self.count = np.array(seeds, np.float32)
        self.fault = fault
        self.closed = 0

    def reset(self):
        return self.tell(0)

    def step(self, action, begins=None, stays=None):
        if self.fault == 'raises':
            raise RuntimeError('out of fuel')
        self.count = self.count + 1
        return self.tell(1)

    def tell(self, kind):
        observation = self.count[:, None]
        reward = np.full(len(self.count), kind, np.float32)
        if kind and self.fault == 'dtype':
            observation = observation.astype(np.float64)
        if kind and self.fault == 'shape':
            observation = observation[:-1]
        if kind and self.fault == 'infinite':
            reward[1] = np.inf
        steps = np.full(len(self.count), kind, np.int32)
        return TimeStep(steps, reward, np.ones_like(reward), observation)

    def metrics(self, lane):
        return {'count': float(self.count[lane])}

    def render(self, lane):
        raise ValueError('no picture')

    def close(self):
        self.closed += 1


@pytest.mark.parametrize(
    ('fault', 'said'),
    [
        ('raises', 'all 3 lanes raised RuntimeError: out of fuel'),
        ('dtype', r'observation must be float32\[3, 1\] as in its spec, got float64\[3, 1\]'),
        ('shape', r'observation must be float32\[3, 1\] as in its spec, got float32\[2, 1\]'),
        ('infinite', 'lane 1 broke its spec: reward must be finite, got inf'),
    ],
)
def test_a_vector_environment_that_breaks_its_spec_is_refused_by_name(fault, said):
    spec = make_environment_spec(fakes.Counting())
    made = []
    maker = VectorMaker(spec, lambda seeds: made.append(Counters(seeds, fault)) or made[-1])
    lanes = batch([VectorLane(maker, seed) for seed in range(3)], spec)
    lanes.reset()
    with pytest.raises(EnvironmentFailure, match=said):
        lanes.step(np.zeros(3, np.int32))
    lanes.close()
    assert [each.closed for each in made] == [1]


@pytest.mark.parametrize(
    ('name', 'package'),
    [('envpool/CartPole-v1', 'envpool'), ('gymnasium_vector/Hopper-v5', 'mujoco')],
)
def test_numbers_of_lanes_that_are_stepped_together(name, package):
    pytest.importorskip(package)
    metric = 'elapsed_step' if package == 'envpool' else 'x_position'
    lanes = [environments.make(name, seed, metrics=metric) for seed in range(3)]
    together = batch(lanes, make_environment_spec(lanes[0]))
    assert isinstance(together, VectorBatch) and together.metric_names == (metric,)
    together.reset()
    ended = []
    rng = np.random.default_rng(0)
    while len(ended) < 4:
        together.step(drawn(together.spec, rng, 3))
        ended += together.episodes
    if package == 'envpool':
        assert all(each.metrics == {metric: each.episode_length} for each in ended)
    else:
        assert len({each.metrics[metric] for each in ended}) == 4
    together.close()


def test_a_joined_lane_is_not_stepped_by_itself():
    maker = VectorMaker(make_environment_spec(fakes.Counting()), Counters)
    lanes = [VectorLane(maker, seed) for seed in range(2)]
    batch(lanes, maker.spec).reset()
    with pytest.raises(RuntimeError, match='stepped with the others'):
        lanes[0].step(0)
    alone = VectorLane(maker, 5)
    assert alone.step(0).observation == [5.0]
    with pytest.raises(ValueError, match='has begun'):
        batch([alone, VectorLane(maker, 6)], maker.spec)


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
