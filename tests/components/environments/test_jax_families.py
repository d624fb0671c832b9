"""What jumanji, navix, xminigrid and minigrid have alone: numbers, ends, masks, missions and refusals."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import environments
from culmen.components.environments import functional
from culmen.core.types import LAST
from tests.conftest import is_installed

KEY = 7


def needs(package):
    """Skips a test without the package, which is not imported: its family knows how."""
    if not is_installed(package):
        pytest.skip(f'{package} is not installed')


def functions_of(name, **arguments):
    needs(name.partition('/')[0])
    return environments.make(name, 0, **arguments).functions


def ours(functions, actions):
    """The time steps of one episode from a key, as lists of NumPy nests, FIRST left out."""
    reset, step = jax.jit(functions.reset), jax.jit(functions.step)
    state, timestep = reset(jax.random.key(KEY))
    result = []
    for action in actions:
        state, timestep = step(jax.random.key(0), state, action)
        result.append(jax.tree_util.tree_map(np.asarray, timestep))
        if timestep.step_type == LAST:
            break
    return result


def agree(ours, theirs):
    assert len(ours) == len(theirs)
    for mine, (observation, reward, discount) in zip(ours, theirs, strict=True):
        seen = np.asarray(observation).astype(mine.observation.dtype)
        np.testing.assert_array_equal(mine.observation, seen)
        assert float(mine.reward) == pytest.approx(float(reward))
        assert float(mine.discount) == discount
    assert ours[-1].step_type == LAST
    assert [int(step.step_type) for step in ours[:-1]] == [1] * (len(ours) - 1)


def test_an_episode_of_xminigrid_is_its_own():
    name = 'MiniGrid-EmptyRandom-5x5'
    functions = functions_of(f'xminigrid/{name}')
    actions = np.random.default_rng(0).integers(0, 3, 300)
    import xminigrid

    environment, params = xminigrid.make(name)
    timestep = functional.foreign(environment.reset)(params, jax.random.PRNGKey(KEY))
    step, theirs = jax.jit(functional.foreign(environment.step)), []
    for action in actions:
        timestep = step(params, timestep, action)
        theirs.append((timestep.observation, timestep.reward, float(timestep.discount)))
        if timestep.last():
            break
    agree(ours(functions, actions), theirs)


@pytest.mark.parametrize(
    'limit',
    [pytest.param(4, marks=pytest.mark.deep), 200],  # a truncation, a termination
)
def test_an_episode_of_navix_is_its_own(limit):
    name = 'Navix-Empty-Random-5x5-v0'
    functions = functions_of(f'navix/{name}', max_episode_steps=limit)
    actions = np.random.default_rng(0).integers(0, 3, 300)
    import navix

    environment = navix.make(name, max_steps=limit)
    timestep = functional.foreign(environment.reset)(jax.random.PRNGKey(KEY))
    step, theirs = jax.jit(functional.foreign(environment.step)), []
    for action in actions:
        timestep = step(timestep, action)
        ended = bool(timestep.is_termination())
        theirs.append((timestep.observation, timestep.reward, 1.0 - ended))
        if timestep.is_done():
            break
    assert ended == (limit == 200)
    agree(ours(functions, actions), theirs)


def test_navix_is_made_beside_launchpad_s_tensorflow():
    """TensorFlow Probability would refuse that version, though navix has no use for it."""
    needs('navix')
    pytest.importorskip('tensorflow')
    code = (
        'import sys, tensorflow\n'
        'from culmen.components import environments\n'
        'environments.make("navix/Navix-Empty-5x5-v0", 1).reset()\n'
        'assert sys.modules["tensorflow"] is tensorflow\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_episode_of_jumanji_is_its_own_but_for_the_name_of_its_limit():
    functions = functions_of('jumanji/Maze-v0', num_rows=4, num_cols=4, time_limit=5)
    import jumanji
    from jumanji.environments.routing.maze.generator import RandomGenerator

    environment = jumanji.make('Maze-v0', generator=RandomGenerator(4, 4), time_limit=5)
    state, _ = jax.jit(functional.foreign(environment.reset))(jax.random.PRNGKey(KEY))
    step, actions, theirs = jax.jit(functional.foreign(environment.step)), [], []
    for _ in range(5):
        actions.append(int(jnp.argmax(state.action_mask)))
        state, timestep = step(state, actions[-1])
        theirs.append(timestep)
    assert theirs[-1].last()
    assert float(theirs[-1].discount) == 0.0  # as if the task were over
    mine = ours(functions, actions)
    assert [float(each.discount) for each in mine] == [1.0] * 5
    assert mine[-1].step_type == LAST
    for here, there in zip(mine, theirs, strict=True):
        observation = dict(here.observation)
        np.testing.assert_array_equal(
            observation.pop('legal_actions'), there.observation.action_mask
        )
        assert set(observation) == {'agent_position', 'target_position', 'walls', 'step_count'}
        assert observation['agent_position']['row'] == there.observation.agent_position.row
        assert observation['step_count'] == there.observation.step_count
        assert float(here.reward) == float(there.reward)


def test_a_choice_of_jumanji_is_one_place_where_the_mask_is_of_places():
    functions = functions_of('jumanji/Minesweeper-v0', num_rows=4, num_cols=4, num_mines=3)
    assert functions.spec().action.num_values == 16
    assert functions.spec().observation['legal_actions'].shape == (16,)
    state, _ = jax.jit(functions.reset)(jax.random.key(KEY))
    mines = {int(mine) for mine in np.asarray(state.state.state.flat_mine_locations)}
    free = next(place for place in range(5, 16) if place not in mines)
    _, timestep = jax.jit(functions.step)(jax.random.key(0), state, free)
    assert timestep.observation['board'][free // 4, free % 4] >= 0
    legal = np.asarray(timestep.observation['legal_actions'])
    assert np.flatnonzero(~legal).tolist() == [free]


def test_a_step_of_jumanji_draws_from_the_key_of_the_step_and_tells_its_numbers():
    """So a search, which has other keys, does not see what will be drawn."""
    functions = functions_of('jumanji/Game2048-v1')
    state, timestep = jax.jit(functions.reset)(jax.random.key(KEY))
    action = int(np.flatnonzero(timestep.observation['legal_actions'])[0])
    step = jax.jit(functions.step)
    boards = set()
    for seed in range(8):
        after, timestep = step(jax.random.key(seed), state, action)
        board = np.asarray(timestep.observation['board'])
        assert float(functions.measure(after)['highest_tile']) == 2.0 ** board.max()
        boards.add(board.tobytes())
    assert len(boards) > 1


@pytest.mark.parametrize(
    ('observation', 'shape', 'dtype'),
    [
        (None, (5, 5, 3), np.int8),
        ('symbolic_first_person', (7, 7, 3), np.int8),
        ('categorical', (5, 5), np.int32),
        ('rgb', (40, 40, 3), np.uint8),
    ],
)
def test_what_is_seen_of_navix(observation, shape, dtype):
    spec = functions_of('navix/Navix-Empty-5x5-v0', observation=observation).spec().observation
    assert (spec.shape, spec.dtype) == (shape, dtype)


@pytest.mark.parametrize(
    ('view', 'shape', 'dtype', 'most'),
    [
        ('partial', (7, 7, 3), np.int8, 10),
        ('full', (5, 5, 3), np.int8, 10),
        ('rgb', (20, 20, 3), np.uint8, 255),
        ('rgb_partial', (28, 28, 3), np.uint8, 255),
    ],
)
def test_what_is_seen_of_minigrid(view, shape, dtype, most):
    pytest.importorskip('minigrid')
    environment = environments.make('minigrid/MiniGrid-Empty-5x5-v0', 0, view=view, tile_size=4)
    spec = environment.observation_spec()
    assert set(spec) == {'image', 'direction'}  # its mission never changes
    assert (spec['image'].shape, spec['image'].dtype) == (shape, dtype)
    assert spec['image'].maximum.max() == most


def test_the_words_of_a_mission_are_observed_where_it_varies():
    pytest.importorskip('minigrid')
    from culmen.components.environments.families import minigrid

    environment = environments.make('minigrid/MiniGrid-GoToDoor-5x5-v0', 0)
    read = lambda mission: ' '.join(minigrid.WORDS[number - 1] for number in mission if number)
    missions = {read(environment.reset().observation['mission']) for _ in range(20)}
    colours = ('red', 'green', 'blue', 'purple', 'yellow', 'grey')
    assert len(missions) > 1
    assert missions <= {f'go to the {colour} door' for colour in colours}
    assert read(minigrid.numbers_of_words('Go to the red ball, then open', 16)) == (
        'go to the red ball , then open'
    )
    with pytest.raises(ValueError, match="has the word 'fly', which is not known"):
        minigrid.numbers_of_words('fly to the door', 16)
    with pytest.raises(ValueError, match='has 4 words, at most 3 fit'):
        minigrid.numbers_of_words('go to the door', 3)
    with_mission = environments.make('minigrid/MiniGrid-Empty-5x5-v0', 0, mission=True)
    assert read(with_mission.reset().observation['mission']) == 'get to the green goal square'


@pytest.mark.deep
def test_every_mission_of_minigrid_can_be_read():
    pytest.importorskip('minigrid')
    for name in environments.names('minigrid'):
        environment = environments.make(name, 0, mission=True)
        for _ in range(3):
            assert environment.reset().observation['mission'].any(), name


@pytest.mark.parametrize(
    ('name', 'arguments', 'match'),
    [
        ('xminigrid/XLand-MiniGrid-R1-9x9', {}, 'no goal without a benchmark file'),
        ('xminigrid/MiniGrid-Empty-5x6', {}, 'xminigrid/MiniGrid-Empty-5x5'),
        ('xminigrid/MiniGrid-Empty-5x5', {'view_size': 4}, 'view_size must be odd, got 4'),
        ('xminigrid/MiniGrid-Empty-5x5', {'height': 3}, 'height must be at least 5, got 3'),
        ('xminigrid/MiniGrid-Empty-5x5', {'hight': 6}, "unknown argument 'hight'.*height"),
        ('navix/Navix-Empty-5x6-v0', {}, 'navix/Navix-Empty-5x5-v0'),
        ('navix/Navix-Empty-5x5-v0', {'observation': 'rbg'}, "observation must be one of.*'rgb'"),
        ('navix/Navix-Empty-5x5-v0', {'random_strat': True}, 'random_start'),
        ('jumanji/Sokoban-v0', {}, 'downloads its levels'),
        ('jumanji/Snake-v9', {}, 'jumanji/Snake-v1'),
        ('jumanji/Maze-v0', {'num_row': 3}, "unknown argument 'num_row'.*num_rows"),
        ('jumanji/Snake-v1', {'time_limit': 'x'}, 'time_limit must be an int'),
        ('minigrid/MiniGrid-Empty-5x6-v0', {}, 'minigrid/MiniGrid-Empty-5x5-v0'),
        ('minigrid/MiniGrid-WFC-MazeSimple-v0', {}, 'wave function collapse'),
        ('minigrid/MiniGrid-Empty-5x5-v0', {'agent_view_size': 4}, 'refused by minigrid'),
        ('minigrid/CartPole-v1', {}, 'unknown environment'),
    ],
)
def test_what_is_refused_by_name(name, arguments, match):
    needs(name.partition('/')[0])
    with pytest.raises(ValueError, match=match):
        environments.make(name, 0, **arguments)
