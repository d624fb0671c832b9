"""Every adapter that the shared tests follow: a new environment is one row here."""

import dataclasses
import functools
import importlib.util
from collections.abc import Mapping
from typing import Any

import pytest

from culmen.components import environments

QUICK = ('gymnasium/CartPole-v1', 'gymnasium/Pendulum-v1', 'minatar/freeway-v1')


@dataclasses.dataclass(frozen=True)
class Row:
    """An environment by name, and what the shared tests need to know of it."""

    name: str
    packages: tuple[str, ...] = ()  # that its family imports
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    steps: int = 200  # enough for an end of an episode, unless `ends` is empty
    ends: frozenset[str] = frozenset({'termination'})  # which ends come in that many steps
    seeded: bool = True  # False: nothing is drawn, seeds make no difference
    restorable: bool = True  # whether it can be saved in mid-episode
    deep: bool = False  # whether only `make test-all` runs it: it takes long to compile

    @property
    def quick(self) -> bool:
        """Whether the quick tests know it."""
        return self.name.startswith('bsuite/') or self.name in QUICK

    @property
    def id(self) -> str:
        """The name and the arguments, for pytest."""
        return self.name + ''.join(f',{key}={value}' for key, value in self.arguments.items())

    def make(self, seed: int, **arguments: Any) -> Any:
        """The environment."""
        return environments.make(self.name, seed, **{**self.arguments, **arguments})


_BSUITE = functools.partial(Row, packages=('bsuite',))
_GYMNASIUM = functools.partial(Row, packages=('gymnasium',))
_BOX2D = functools.partial(Row, packages=('gymnasium', 'Box2D'))
_MUJOCO = functools.partial(Row, packages=('gymnasium', 'mujoco'))
_MINATAR = functools.partial(Row, packages=('minatar',))
_CONTROL = functools.partial(Row, packages=('dm_control',))
_ATARI = functools.partial(Row, packages=('ale_py', 'cv2'))
_MARIO = functools.partial(Row, packages=('gym_super_mario_bros', 'gymnasium', 'cv2'), seeded=False)
_GYMNAX = functools.partial(Row, packages=('gymnax', 'gymnasium'))
_BRAX = functools.partial(Row, packages=('brax',))
_SPIEL = functools.partial(Row, packages=('pyspiel',))
_ZOO = functools.partial(Row, packages=('pettingzoo', 'gymnasium'))
_CARDS = functools.partial(Row, packages=('pettingzoo', 'gymnasium', 'rlcard'))
_PGX = functools.partial(Row, packages=('pgx',))
_ENVPOOL = functools.partial(Row, packages=('envpool', 'gymnasium'), restorable=False)
_GYMNASIUM_VECTOR = functools.partial(Row, packages=('gymnasium',), restorable=False)
_JUMANJI = functools.partial(Row, packages=('jumanji',))
_MINIGRID = functools.partial(Row, packages=('gymnasium', 'minigrid'))
_NAVIX = functools.partial(Row, packages=('navix',))
_XMINIGRID = functools.partial(Row, packages=('xminigrid',))
_ROBOTICS = functools.partial(Row, packages=('gymnasium_robotics', 'mujoco'))
_PROBE = functools.partial(Row, packages=())

_TERMINATION = frozenset({'termination'})
_TRUNCATION = frozenset({'truncation'})
_BOTH = _TERMINATION | _TRUNCATION
_NEITHER: frozenset[str] = frozenset()

ROWS = (
    _BSUITE('bsuite/bandit/0', seeded=False),
    _BSUITE('bsuite/bandit_noise/0'),
    _BSUITE('bsuite/cartpole/0'),
    _BSUITE('bsuite/cartpole_noise/3'),
    _BSUITE('bsuite/cartpole_swingup/0', ends=_NEITHER),
    _BSUITE('bsuite/catch/0'),
    _BSUITE('bsuite/catch_scale/0'),
    _BSUITE('bsuite/deep_sea/0', seeded=False),
    _BSUITE('bsuite/deep_sea_stochastic/0'),
    _BSUITE('bsuite/discounting_chain/0', seeded=False),
    _BSUITE('bsuite/memory_len/5'),
    _BSUITE('bsuite/memory_size/2'),
    _BSUITE('bsuite/mountain_car/0', ends=_NEITHER),
    _BSUITE('bsuite/umbrella_distract/0'),
    _BSUITE('bsuite/umbrella_length/3'),
    _GYMNASIUM('gymnasium/CartPole-v1'),
    _GYMNASIUM('gymnasium/CartPole-v1', arguments={'max_episode_steps': 6}, ends=_TRUNCATION),
    _GYMNASIUM('gymnasium/Pendulum-v1', steps=450, ends=_TRUNCATION),
    _GYMNASIUM('gymnasium/Acrobot-v1', ends=_NEITHER),
    _GYMNASIUM('gymnasium/MountainCarContinuous-v0', ends=_NEITHER),
    _GYMNASIUM('gymnasium/FrozenLake-v1'),
    _GYMNASIUM('gymnasium/Blackjack-v1'),
    _GYMNASIUM('gymnasium/Taxi-v4', arguments={'legal_actions': True}, steps=450, ends=_TRUNCATION),
    _BOX2D('gymnasium/LunarLander-v3', steps=300),
    _BOX2D('gymnasium/BipedalWalker-v3', arguments={'max_episode_steps': 60}, ends=_BOTH),
    _MUJOCO('gymnasium/Hopper-v5'),
    _MUJOCO('gymnasium/Ant-v5', arguments={'max_episode_steps': 60}, ends=_BOTH),
    _MUJOCO('gymnasium/Reacher-v5', ends=_TRUNCATION),
    Row('gymnasium/ALE/Breakout-v5', ('gymnasium', 'ale_py'), steps=400),
    _MINATAR('minatar/asterix', steps=400),
    _MINATAR('minatar/breakout'),
    _MINATAR('minatar/freeway-v1', ends=_NEITHER),
    _MINATAR('minatar/seaquest-v0', steps=400),
    _MINATAR('minatar/space_invaders', arguments={'minimal_actions': True}, steps=400),
    _CONTROL(
        'dm_control/cartpole/swingup', arguments={'time_limit': 0.5}, steps=130, ends=_TRUNCATION
    ),
    _CONTROL(
        'dm_control/reacher/hard',
        arguments={'time_limit': 1.0, 'single_precision': False},
        ends=_TRUNCATION,
    ),
    _CONTROL('dm_control/point_mass/hard', arguments={'time_limit': 1.0}, ends=_TRUNCATION),
    _CONTROL(
        'dm_control/humanoid/stand',
        arguments={'flatten_observation': True, 'canonical_actions': True},
        steps=60,
        ends=_NEITHER,
    ),
    _ATARI('atari/breakout', arguments={'noop_starts': 30}, steps=400),
    _ATARI('atari/breakout', arguments={'terminal_on_life_loss': True}, steps=250),
    _ATARI('atari/space_invaders', arguments={'max_episode_frames': 200}, ends=_TRUNCATION),
    _ATARI(
        'atari/pong',
        arguments={'grayscale': False, 'screen_size': None, 'sticky_actions': 0.5},
        steps=60,
        ends=_NEITHER,
    ),
    _MARIO('mario/SuperMarioBros-1-1-v0', arguments={'step_limit': 20}, steps=60, ends=_TRUNCATION),
    _MARIO('mario/SuperMarioBros-v0', arguments={'movement': 'complex'}, steps=40, ends=_NEITHER),
    Row('jax/bandit', arguments={'pulls': 20}),
    Row('jax/bit_flip', arguments={'bits': 3, 'max_steps': 5}, ends=_BOTH),
    Row('jax/cartpole_swingup', arguments={'observation_noise': 0.01}, ends=_TRUNCATION),
    Row('jax/biased_game', seeded=False),
    Row('jax/catch'),
    Row('jax/catch', arguments={'rows': 4, 'columns': 3}),
    Row(
        'jax/four_rooms',
        arguments={'slip': 0.3, 'fixed_goal': False, 'max_steps': 50},
        ends=_BOTH,
    ),
    Row('jax/key_door', arguments={'max_steps': 50}, ends=_TRUNCATION),
    Row('jax/connect_four', seeded=False),
    Row('jax/matching_pennies', arguments={'rounds': 3}, seeded=False),
    Row('jax/nim', seeded=False),
    Row('jax/pixel_reach', ends=_TRUNCATION),
    Row('jax/tic_tac_toe', seeded=False),
    Row('jax/six_states'),
    Row('jax/two_rooms', arguments={'max_steps': 50}, ends=_TRUNCATION),
    Row('jax/u_maze', arguments={'random_goal': True}, ends=_BOTH),
    _ROBOTICS(
        'gymnasium_robotics/FetchReach-v4',
        arguments={'max_episode_steps': 12},
        steps=40,
        ends=_TRUNCATION,
    ),
    _ROBOTICS(
        'gymnasium_robotics/PointMaze_UMaze-v3',
        arguments={'max_episode_steps': 25},
        steps=80,
        ends=_TRUNCATION,
    ),
    _ROBOTICS(
        'gymnasium_robotics/AdroitHandDoor-v1',
        arguments={'max_episode_steps': 12},
        steps=30,
        ends=_TRUNCATION,
    ),
    _GYMNAX('gymnax/CartPole-v1'),
    _GYMNAX('gymnax/CartPole-v1', arguments={'max_episode_steps': 6}, ends=_TRUNCATION),
    _GYMNAX('gymnax/CartPole-v1', arguments={'max_episode_steps': 15, 'gravity': 12.0}, ends=_BOTH),
    _GYMNAX('gymnax/Pendulum-v1', steps=450, ends=_TRUNCATION),
    _GYMNAX('gymnax/Acrobot-v1', ends=_NEITHER),
    _GYMNAX('gymnax/MountainCarContinuous-v0', ends=_NEITHER),
    _GYMNAX('gymnax/Breakout-MinAtar'),
    _GYMNAX('gymnax/Asterix-MinAtar', arguments={'max_episode_steps': 60}, steps=600, ends=_BOTH),
    _GYMNAX('gymnax/BernoulliBandit-misc', ends=_TRUNCATION),
    _GYMNAX('gymnax/DiscountingChain-bsuite', seeded=False),
    _GYMNAX('gymnax/MemoryChain-bsuite', arguments={'memory_length': 3}),
    _BRAX(
        'brax/inverted_pendulum',
        arguments={'backend': 'spring', 'max_episode_steps': 30},
        ends=_BOTH,
    ),
    _SPIEL('open_spiel/tic_tac_toe', seeded=False),
    _SPIEL('open_spiel/kuhn_poker', arguments={'players': 3}),
    _SPIEL('open_spiel/goofspiel', arguments={'num_cards': 4, 'tensor': 'observation'}),
    _SPIEL('open_spiel/negotiation'),
    _SPIEL('open_spiel/catch'),
    _SPIEL('open_spiel/kuhn_poker', arguments={'player': 'player_1'}),
    Row('jax/tic_tac_toe', arguments={'player': 'player_1'}),
    _ZOO('pettingzoo/classic/tictactoe_v3', seeded=False),
    _ZOO('pettingzoo/classic/rps_v2', arguments={'max_cycles': 4}, seeded=False, ends=_TRUNCATION),
    _CARDS('pettingzoo/classic/leduc_holdem_v4', steps=60),
    _PGX('pgx/tic_tac_toe'),
    _PGX('pgx/minatar-breakout'),
    _ENVPOOL('envpool/CartPole-v1', arguments={'max_episode_steps': 12}, ends=_BOTH),
    _ENVPOOL('envpool/Pendulum-v1', steps=450, ends=_TRUNCATION),
    _ENVPOOL('envpool/Breakout-v5', arguments={'episodic_life': True}, steps=100),
    _ENVPOOL('envpool/FrozenLake-v1'),
    _ENVPOOL('envpool/CheetahRun-v1', arguments={'max_episode_steps': 40}, ends=_TRUNCATION),
    _GYMNASIUM_VECTOR('gymnasium_vector/CartPole-v1'),
    _GYMNASIUM_VECTOR('gymnasium_vector/Pendulum-v1', steps=450, ends=_TRUNCATION),
    _GYMNASIUM_VECTOR(
        'gymnasium_vector/Taxi-v4',
        arguments={'legal_actions': True},
        steps=450,
        ends=_TRUNCATION,
    ),
    _JUMANJI('jumanji/Game2048-v1'),
    _JUMANJI('jumanji/Knapsack-v1', arguments={'num_items': 8}, deep=True),
    _JUMANJI(
        'jumanji/Minesweeper-v0',
        arguments={'num_rows': 4, 'num_cols': 4, 'num_mines': 3},
        deep=True,
    ),
    _JUMANJI(
        'jumanji/Maze-v0',
        arguments={'num_rows': 4, 'num_cols': 4, 'time_limit': 9},
        ends=_BOTH,
    ),
    _JUMANJI(
        'jumanji/Cleaner-v0',
        arguments={'num_rows': 4, 'num_cols': 4, 'num_agents': 2},
        ends=_BOTH,
    ),
    _MINIGRID(
        'minigrid/MiniGrid-Empty-5x5-v0',
        arguments={'max_steps': 40},
        seeded=False,
        ends=_TRUNCATION,
    ),
    _MINIGRID('minigrid/MiniGrid-GoToDoor-5x5-v0', arguments={'view': 'full'}),
    _MINIGRID(
        'minigrid/MiniGrid-Dynamic-Obstacles-5x5-v0',
        arguments={'view': 'rgb_partial', 'tile_size': 3},
    ),
    _MINIGRID('minigrid/MiniGrid-LockedRoom-v0', arguments={'max_steps': 60}, ends=_TRUNCATION),
    _MINIGRID('minigrid/BabyAI-GoToRedBall-v0', arguments={'max_steps': 50}, ends=_TRUNCATION),
    _NAVIX('navix/Navix-Empty-Random-5x5-v0', arguments={'max_episode_steps': 20}, ends=_BOTH),
    _NAVIX(
        'navix/Navix-Dynamic-Obstacles-5x5-v0',
        arguments={'observation': 'symbolic_first_person'},
        deep=True,
    ),
    _XMINIGRID('xminigrid/MiniGrid-EmptyRandom-5x5'),
    _XMINIGRID(
        'xminigrid/MiniGrid-DoorKey-5x5',
        arguments={'direction': True, 'max_episode_steps': 40},
        ends=_TRUNCATION,
        deep=True,
    ),
    *(
        _PROBE(f'tests.probes:{probe}Probe', seeded=seeded, ends=ends)
        for probe, seeded, ends in (
            ('Value', False, _TERMINATION),
            ('Observation', True, _TERMINATION),
            ('Discount', False, _TERMINATION),
            ('Truncation', False, _TRUNCATION),
            ('Action', False, _TERMINATION),
            ('ObservationAction', True, _TERMINATION),
            ('Memory', True, _TERMINATION),
            ('Continuous', False, _TERMINATION),
            ('LegalActions', True, _TERMINATION),
        )
    ),
    # Wrappers, alone and together, on an adapter that has both ends.
    *(
        _GYMNASIUM('gymnasium/CartPole-v1', arguments=arguments, ends=ends)
        for arguments, ends in (
            ({'noop_starts': 5}, _TERMINATION),
            ({'action_repeat': 3}, _TERMINATION),
            ({'step_limit': 7}, _TRUNCATION),
            ({'delayed_reward': 4}, _TERMINATION),
            ({'hide_observation': (1, 3)}, _TERMINATION),
            ({'frame_stack': 3}, _TERMINATION),
            ({'observation_action_reward': True, 'clip_reward': 0.5}, _TERMINATION),
            (
                {
                    'noop_starts': 3,
                    'action_repeat': 2,
                    'step_limit': 9,
                    'clip_reward': 1.5,
                    'delayed_reward': 3,
                    'hide_observation': (1,),
                    'flatten_observation': True,
                    'single_precision': True,
                    'frame_stack': 4,
                    'observation_action_reward': True,
                },
                _BOTH,
            ),
        )
    ),
)


def rows() -> list[Any]:
    """The rows as parameters of pytest; those whose packages are missing here are skipped."""
    return [
        pytest.param(
            row,
            id=row.id,
            marks=[
                pytest.mark.skipif(
                    any(importlib.util.find_spec(package) is None for package in row.packages),
                    reason=f'needs {", ".join(row.packages)}',
                ),
                *([pytest.mark.deep] if row.deep else []),
            ],
        )
        for row in ROWS
    ]
