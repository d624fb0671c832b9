"""Names, arguments, what is listed, and what is said about what is wrong or missing."""

import subprocess
import sys
from typing import get_args

import dm_env
import numpy as np
import pytest

from culmen.components import environments
from culmen.components.environments import arguments as arguments_module
from culmen.core import make_environment_spec
from culmen.core.actions import ActionKind
from culmen.core.actions import action_kind
from tests.components.environments import fakes

FAKE = 'tests.components.environments.fakes:make'
_PACKAGES = (
    'gymnasium', 'bsuite', 'minatar', 'dm_control', 'mujoco', 'ale_py', 'cv2', 'imageio', 'envpool',
)  # fmt: skip


def test_importing_and_reading_signatures_imports_no_environment_package():
    program = (
        'import sys\n'
        'from culmen.components import environments\n'
        'assert len(environments.families()) == 20\n'
        '[family.as_dict() for family in environments.families()]\n'
        f'print([name for name in {_PACKAGES} if name in sys.modules])\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize(
    ('name', 'package', 'said'),
    [
        ('gymnasium/CartPole-v1', 'gymnasium', 'gymnasium'),
        ('bsuite/catch/0', 'bsuite', 'bsuite'),
        ('minatar/breakout', 'minatar', 'minatar'),
        pytest.param(
            'dm_control/cartpole/swingup',
            'dm_control',
            'dm-control',
            marks=pytest.mark.skipif(sys.version_info >= (3, 13), reason='it is for older Pythons'),
        ),
        ('atari/pong', 'ale_py', 'ale-py'),
        ('atari/pong', 'cv2', 'opencv-python-headless'),
        ('gymnax/CartPole-v1', 'gymnax', 'gymnax'),
        ('brax/ant', 'brax', 'brax'),
        ('open_spiel/kuhn_poker', 'pyspiel', 'open-spiel'),
        ('pettingzoo/classic/tictactoe_v3', 'pettingzoo', 'pettingzoo'),
        ('pgx/tic_tac_toe', 'pgx', 'pgx'),
        ('gymnasium_robotics/FetchReach-v4', 'gymnasium_robotics', 'gymnasium-robotics'),
        ('envpool/CartPole-v1', 'envpool', 'envpool'),
        ('gymnasium_vector/CartPole-v1', 'gymnasium', 'gymnasium'),
        ('jumanji/Snake-v1', 'jumanji', 'jumanji'),
        ('minigrid/MiniGrid-Empty-8x8-v0', 'minigrid', 'minigrid'),
        ('navix/Navix-Empty-8x8-v0', 'navix', 'navix'),
        ('xminigrid/MiniGrid-Empty-8x8', 'xminigrid', 'xminigrid'),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(name, package, said, monkeypatch):
    if package == 'cv2':
        pytest.importorskip('ale_py')
    for module in [each for each in sys.modules if each.split('.')[0] == package]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(environments.MissingPackage) as caught:
        environments.make(name, 0)
    message = str(caught.value)
    assert name in message
    assert f'package {said}' in message
    assert "pip install 'culmen[environments]'" in message
    # Those who refuse a bad name refuse this too.
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ImportError)
    family = next(each for each in environments.families() if each.name == name.split('/')[0])
    assert not family.installed
    assert package in family.missing
    assert not any(each.startswith(family.name) for each in environments.names())


def test_families_are_what_make_takes():
    families = environments.families()
    assert [family.name for family in families] == [
        'bsuite', 'gymnasium', 'minatar', 'dm_control', 'atari', 'mario', 'gymnasium_robotics', 'gymnax',
        'brax', 'open_spiel', 'pettingzoo', 'pgx', 'jumanji', 'minigrid', 'navix', 'xminigrid', 'jax',
        'envpool', 'gymnasium_vector', 'function',
    ]  # fmt: skip
    for family in families[:-1]:
        if family.installed:
            known = environments.names(family.name)
            assert set(family.examples) <= set(known)
            assert known == sorted(known)
            environments.check(known[0], {})
        assert family.restorable
        assert set(family.as_dict()) >= {'name', 'examples', 'installed', 'restorable'}


def test_names_are_those_of_a_family_with_a_kind_of_action_and_in_jax():
    assert environments.names('jax', actions='continuous') == [
        'jax/cartpole_swingup', 'jax/pixel_reach', 'jax/u_maze',
    ]  # fmt: skip
    by_kind = {kind: environments.names('jax', actions=kind) for kind in get_args(ActionKind)}
    assert sorted(name for kind in by_kind.values() for name in kind) == environments.names('jax')
    in_jax = environments.names(jax=True)
    assert set(environments.names('jax')) <= set(in_jax)
    families = {family.name: family for family in environments.families()}
    assert all(families[name.partition('/')[0]].jax for name in in_jax)
    if families['bsuite'].installed:
        assert environments.names('bsuite', jax=True) == []
        assert environments.names('bsuite', actions='discrete') == environments.names('bsuite')
    with pytest.raises(ValueError, match=r"unknown kind of action 'box'.*continuous"):
        environments.names('jax', actions='box')  # type: ignore[arg-type]


def test_of_patterns_the_first_that_fits_counts():
    family = environments.Family(
        'a', 'a/<id>', (), (), 'all', actions={'discrete': ('Cart*',), 'continuous': ('C*', 'D-v?')}
    )
    kinds = [family.action_kind(each) for each in ('CartPole', 'Chain', 'D-v1', 'cart')]
    assert kinds == ['discrete', 'continuous', 'continuous', None]
    assert family.action_kinds() == ('discrete', 'continuous')
    assert environments.Family('a', 'a/<id>', (), (), 'all').action_kind('b') is None


@pytest.mark.deep
@pytest.mark.parametrize(
    'family', [family.name for family in environments.families() if family.name != 'function']
)
def test_every_environment_has_the_kind_of_action_that_its_family_says(family, monkeypatch):
    monkeypatch.setenv('MUJOCO_GL', 'disable')
    known = next(each for each in environments.families() if each.name == family)
    if not known.installed:
        pytest.skip(f'needs {", ".join(known.missing)}')
    numbered = 0
    for name in environments.names(family):
        if family == 'bsuite' and not name.endswith('/0'):
            continue  # the settings of an experiment differ in no action
        if name.startswith('bsuite/mnist') or name == 'dm_control/quadruped/escape':
            continue  # one downloads its data, the other draws to observe
        environment = environments.make(name, 0)  # whatever is listed can be built and played
        environment.reset()
        kind = action_kind(make_environment_spec(environment))
        environment.close()
        assert known.action_kind(name.partition('/')[2]) == kind, name
        numbered += 1
    assert numbered > 4


@pytest.mark.parametrize(
    ('name', 'near'),
    [
        ('bsuite/cach/0', 'bsuite/catch/0'),
        ('bsuite/catch', 'bsuite/catch/'),
        ('gymnasium/CartPole-v9', 'gymnasium/CartPole-v1'),
        ('gymnasium/CartPole', 'gymnasium/CartPole-v1'),
        ('CartPole-v1', 'gymnasium/CartPole-v1'),
        ('gym/CartPole-v1', 'gymnasium/CartPole-v1'),
        ('minatar/brekout', 'minatar/breakout'),
        ('envpool/CartPole-v9', 'envpool/CartPole-v1'),
        ('gymnasium_vector/CartPole-v9', 'gymnasium_vector/CartPole-v1'),
        ('dm_control/cheetah/walk', 'dm_control/cheetah/run'),
        ('atari/SpaceInvaders', 'atari/space_invaders'),
        ('atari', 'atari/<game>'),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, near):
    pytest.importorskip(name.split('/')[0] if name.split('/')[0] in _PACKAGES else 'gymnasium')
    if name.startswith('atari'):
        pytest.importorskip('ale_py')
    for call in (environments.make, lambda name, seed: environments.check(name, {})):
        with pytest.raises(ValueError, match='unknown environment') as caught:
            call(name, 0)
        assert repr(name) in str(caught.value)
        assert near in str(caught.value)


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('craftax/Craftax-Symbolic-v1', 'craftax installs the package pygame, which writes over'),
        ('procgen/coinrun', 'procgen has no wheel for Python 3.11 or newer.*gym3.*module:function'),
        ('unity/3DBall', 'mlagents-envs holds NumPy below 1.24.*module:function'),
    ],
)
def test_a_family_that_is_left_out_says_why(name, words):
    with pytest.raises(ValueError, match=words):
        environments.check(name, {})


@pytest.mark.parametrize(
    ('name', 'package', 'words'),
    [
        ('gymnax/SimpleBandit-bsuite', 'gymnax', "can't step it; it is bsuite/bandit/0"),
        ('gymnax/MNISTBandit-bsuite', 'gymnax', 'downloads its data'),
        ('gymnasium/Pusher-v4', 'gymnasium', 'needs mujoco below 3; gymnasium/Pusher-v5 is the'),
        ('atari/combat', 'ale_py', 'a game for two'),
        ('envpool/MultiDuel-v1', 'envpool', 'waits for other players'),
        ('envpool/VizdoomCustom-v1', 'envpool', 'a scenario of its own'),
    ],
)
def test_a_name_that_is_left_out_says_why_and_is_not_listed(name, package, words):
    pytest.importorskip(package)
    with pytest.raises(ValueError, match=f'{name} is left out: .*{words}'):
        environments.check(name, {})
    assert name not in environments.names(name.partition('/')[0])


def test_gymnasium_s_names_are_its_own_whatever_else_is_imported():
    pytest.importorskip('gymnasium')
    alone = environments.names('gymnasium')
    assert 'gymnasium/CartPole-v1' in alone
    for module in ('minigrid', 'gymnasium_robotics'):
        pytest.importorskip(module)
    environments.names('minigrid')
    environments.names('gymnasium_robotics')
    assert environments.names('gymnasium') == alone
    assert not any('MiniGrid' in name or 'Fetch' in name for name in alone)


@pytest.mark.parametrize(
    ('name', 'package', 'is_here', 'words'),
    [
        ('mario/SuperMarioBros-1-1-v0', 'gym_super_mario_bros', sys.version_info >= (3, 13),
         'gym-super-mario-bros, which needs Python 3.13 or newer: earlier versions'),
        ('dm_control/cartpole/swingup', 'dm_control', sys.version_info < (3, 13),
         'dm-control, which needs Python 3.12 or older: labmaze'),
    ],
)  # fmt: skip
def test_a_package_that_this_python_does_not_have_is_not_offered(
    name, package, is_here, words, monkeypatch
):
    for module in [each for each in sys.modules if each.split('.')[0] == package]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(environments.MissingPackage) as caught:
        environments.check(name, {})
    assert (words in str(caught.value)) == (not is_here)
    assert ('pip install' in str(caught.value)) == is_here


@pytest.mark.parametrize(
    ('name', 'match'),
    [
        ('no_such_module:make', 'module no_such_module can not be imported'),
        ('tests.components.environments.fakes:mke', "unknown function 'mke'.*make"),
        ('tests.components.environments.fakes:np.pi', 'must be callable'),
        (':make', 'must read'),
        ('tests.components.environments.fakes:', 'must read'),
    ],
)
def test_a_function_that_is_not_there_is_refused(name, match):
    with pytest.raises(ValueError, match=match):
        environments.make(name, 0)


def test_what_is_no_environment_is_refused():
    with pytest.raises(TypeError, match=r'must return a dm_env.Environment, got int'):
        environments.make('tests.components.environments.fakes:make_nothing', 0)
    with pytest.raises(TypeError, match='must be a str, got 3'):
        environments.make(3, 0)  # type: ignore[arg-type]


def test_a_function_gets_its_arguments_and_the_wrappers_get_theirs():
    environment = environments.make(FAKE, 0, length='3', scale=2, frame_stack=2)
    assert environment.length == 6
    assert environment.reset().observation.shape == (4,)
    assert environments.check(FAKE, {'scale': '2'}) == {'scale': 2.0}
    with pytest.raises(ValueError, match=r"unknown argument 'lengt'.*length"):
        environments.make(FAKE, 0, lengt=3)
    with pytest.raises(ValueError, match="unknown argument 'seed'"):
        environments.check(FAKE, {'seed': 1})


@pytest.mark.parametrize(
    ('name', 'given', 'match'),
    [
        (FAKE, {'frame_stak': 4}, "unknown argument 'frame_stak'.*frame_stack"),
        (FAKE, {'frame_stack': 0}, 'frame_stack must be at least 1, got 0'),
        (FAKE, {'frame_stack': 'four'}, "frame_stack must be an int, got 'four'"),
        (FAKE, {'frame_stack': True}, 'frame_stack must be an int, got True'),
        (FAKE, {'single_precision': 'maybe'}, 'single_precision must be a bool'),
        (FAKE, {'clip_reward': -1.0}, 'clip_reward must be above 0, got -1.0'),
        (FAKE, {'step_limit': 0}, 'step_limit must be at least 1, got 0'),
        (FAKE, {'noop_starts': -1}, 'noop_starts must be at least 0'),
        (FAKE, {'canonical_actions': True}, f'{FAKE}: canonical_actions needs continuous'),
        (FAKE, {'hide_observation': (2,)}, r'indices in \[0, 2\)'),
        (FAKE, {'hide_observation': (0, 1)}, 'leave something'),
        ('atari/pong', {'sticky_actions': '2'}, r'sticky_actions must be in \[0, 1\], got 2'),
        ('atari/pong', {'frame_skp': 4}, "unknown argument 'frame_skp'.*frame_skip"),
        ('atari/pong', {'mode': 77}, 'mode must be one of'),
        ('gymnasium/CartPole-v1', {'sutton_barto_rewar': 1}, 'sutton_barto_reward'),
        ('gymnasium/Hopper-v5', {'reset_noise_scal': 1.0}, 'reset_noise_scale'),
        (
            'gymnasium/CartPole-v1',
            {'sutton_barto_reward': 'x'},
            'sutton_barto_reward must be a bool',
        ),
        ('gymnasium/CartPole-v1', {'max_episode_steps': 0}, 'max_episode_steps must be at least 1'),
        ('minatar/breakout-v0', {'minimal_actions': True}, 'minimal_actions must be False in v0'),
        ('dm_control/cheetah/run', {'time_limit': -1}, 'time_limit must be above 0'),
        ('bsuite/catch/0', {'rows': 4}, "unknown argument 'rows'"),
    ],
)
def test_a_bad_argument_is_refused_by_name(name, given, match):
    package = {'atari': 'ale_py'}.get(name.split('/')[0], name.split('/')[0])
    if package in _PACKAGES:
        pytest.importorskip(package)
    with pytest.raises(ValueError, match=match):
        environments.make(name, 0, **given)


def test_text_is_read_as_the_types_of_the_signature():
    pytest.importorskip('gymnasium')
    given = {
        'frame_stack': '4',
        'clip_reward': '1',
        'single_precision': 'true',
        'canonical_actions': 'False',
        'step_limit': 'none',
        'hide_observation': '1,3',
        'sutton_barto_reward': 'true',
        'max_episode_steps': '1e2',
    }
    read = environments.parse_arguments('gymnasium/CartPole-v1', given)
    assert read == {
        'frame_stack': 4,
        'clip_reward': 1.0,
        'single_precision': True,
        'canonical_actions': False,
        'step_limit': None,
        'hide_observation': (1, 3),
        'sutton_barto_reward': True,
        'max_episode_steps': 100,
    }
    assert {name: type(value) for name, value in read.items()}['clip_reward'] is float
    # As JSON gives it back.
    assert environments.check(FAKE, {'hide_observation': [1]}) == {'hide_observation': (1,)}


def test_check_builds_nothing(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('built')

    monkeypatch.setattr(fakes, 'make_nothing', refuse)
    assert environments.check('tests.components.environments.fakes:make_nothing', {}) == {}
    gymnasium = pytest.importorskip('gymnasium')
    monkeypatch.setattr(gymnasium, 'make', refuse)
    assert environments.check('gymnasium/CartPole-v1', {'frame_stack': '2'}) == {'frame_stack': 2}


@pytest.mark.parametrize('seed', [-1, 2**31, 1.5, '1', None, True])
def test_a_bad_seed_is_refused(seed):
    with pytest.raises((ValueError, TypeError), match=r'seed must be an int in \[0, 2\*\*31\)'):
        environments.make(FAKE, seed)


@pytest.mark.parametrize('seed', [0, 2**31 - 1, np.int64(7)])
def test_every_seed_of_the_range_is_taken(seed):
    for name in ('bsuite/catch/0', 'minatar/breakout', 'gymnasium/CartPole-v1', 'atari/pong'):
        package = {'atari': 'ale_py'}.get(name.split('/')[0], name.split('/')[0])
        pytest.importorskip(package)
        assert environments.make(name, seed).reset().first()


def test_defaults_of_a_family_can_be_switched_off():
    pytest.importorskip('dm_control')
    name = 'dm_control/cartpole/balance'
    narrow, wide = environments.make(name, 0), environments.make(name, 0, single_precision=False)
    assert {spec.dtype for spec in narrow.observation_spec().values()} == {np.dtype(np.float32)}
    assert {spec.dtype for spec in wide.observation_spec().values()} == {np.dtype(np.float64)}
    assert narrow.action_spec().dtype == np.float32
    assert wide.action_spec().dtype == np.float64
    assert isinstance(narrow, dm_env.Environment)


def test_an_environment_whose_wrappers_are_refused_is_closed(monkeypatch):
    built = []
    monkeypatch.setattr(fakes, 'make', lambda seed: built.append(fakes.Counter()) or built[0])
    with pytest.raises(ValueError, match='canonical_actions'):
        environments.make(FAKE, 0, canonical_actions=True)
    assert built[0].closed


def test_unannotated_signatures_take_the_types_of_their_defaults():
    def function(seed, count=3, rate=0.5, flag=False, word='a', thing=None):
        pass

    known, is_open = arguments_module.foreign_arguments(function)
    assert not is_open
    assert known['count'].read('e', '4') == 4
    assert known['count'].read('e', '4.5') == 4.5
    assert known['flag'].read('e', 'true') is True
    assert known['word'].read('e', '4') == '4'
    assert known['thing'].read('e', '4') == 4
    with pytest.raises(ValueError, match='argument flag must be a bool'):
        known['flag'].read('e', '4')
