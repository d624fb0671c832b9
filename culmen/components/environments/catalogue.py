"""The families of environments: what each is called, what it imports, and what is known of it unbuilt.

`registry` makes environments of them, `culmen list environments` and docs/environments.md show them. Nothing
here imports a package of environments.
"""

import dataclasses
import fnmatch
import importlib.util
import sys
from collections.abc import Mapping
from typing import Any

from culmen.core.actions import ActionKind


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of environments, as `culmen list environments` shows it."""

    name: str
    pattern: str  # the form of its names
    examples: tuple[str, ...]
    packages: tuple[str, ...]  # that it imports; none for a user's own functions
    restorable: str  # which of its environments are saved exactly in the middle of an episode
    defaults: Mapping[str, Any] = dataclasses.field(
        default_factory=dict
    )  # of the wrappers' arguments
    # The kind of action of every environment, or of identities by patterns of which the first that fits
    # counts; {}: unknown. Tests build environments and hold them to it.
    actions: ActionKind | Mapping[ActionKind, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )
    jax: bool = False  # written in JAX, so that the compiled loop runs it
    picture: str = 'all'  # which can be drawn, for a video

    @property
    def installed(self) -> bool:
        """Whether the packages that it imports are installed (without importing them)."""
        return not self.missing

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed."""
        return tuple(package for package in self.packages if not _is_installed(package))

    def action_kind(self, identity: str) -> ActionKind | None:
        """The kind of action of one of its environments, of each player where there are several.

        Args: identity: a name without the family. Returns: None where it is not known without building it.
        """
        if isinstance(self.actions, str):
            return self.actions
        for kind, patterns in self.actions.items():
            if any(fnmatch.fnmatchcase(identity, pattern) for pattern in patterns):
                return kind
        return None

    def action_kinds(self) -> tuple[ActionKind, ...]:
        """The kinds of action that there are in the family."""
        return (self.actions,) if isinstance(self.actions, str) else tuple(self.actions)

    def as_dict(self) -> dict[str, Any]:
        """The entry as plain data, for JSON."""
        return {
            'name': self.pattern,
            'family': self.name,
            'examples': list(self.examples),
            'packages': list(self.packages),
            'installed': self.installed,
            'restorable': self.restorable,
            'actions': list(self.action_kinds()),
            'jax': self.jax,
            'picture': self.picture,
            'defaults': dict(self.defaults),
        }


_OF_GYMNASIUM: Mapping[ActionKind, tuple[str, ...]] = {
    'discrete': (
        '*CartPole-*',
        'Acrobot-*',
        'MountainCar-*',
        'LunarLander-*',
        '*Blackjack-*',
        'Taxi-*',
        'CliffWalking*',
        'FrozenLake*',
        'ALE/*',
        'MinAtar/*',
    ),
    'multi_discrete': ('tabular/CliffWalking-*',),
    'continuous': (
        'Ant-*',
        'BipedalWalker*',
        'CarRacing-*',
        'HalfCheetah-*',
        'Hopper-*',
        'Humanoid*',
        'InvertedDoublePendulum-*',
        'LunarLanderContinuous-*',
        'MountainCarContinuous-*',
        '*Pendulum-*',
        'Pusher-*',
        'Reacher-*',
        'Swimmer-*',
        'Walker2d-*',
    ),
}  # fmt: skip

FAMILIES = (
    Family(
        'bsuite',
        'bsuite/<experiment>/<index>',
        ('bsuite/catch/0', 'bsuite/cartpole/0', 'bsuite/deep_sea/0', 'bsuite/memory_len/5'),
        ('bsuite',),
        'all (mnist* download their data)',
        actions='discrete',
    ),
    Family(
        'gymnasium',
        'gymnasium/<id>',
        ('gymnasium/CartPole-v1', 'gymnasium/Pendulum-v1', 'gymnasium/HalfCheetah-v5'),
        ('gymnasium',),
        'classic control, toy text and MuJoCo by their state, Box2D and ALE by replaying the '
        'episode; others where all that they hold can be copied',
        actions=_OF_GYMNASIUM,
    ),
    Family(
        'minatar',
        'minatar/<game>[-v0|-v1]',
        ('minatar/breakout', 'minatar/asterix-v1', 'minatar/space_invaders'),
        ('minatar',),
        'all',
        actions='discrete',
    ),
    Family(
        'dm_control',
        'dm_control/<domain>/<task>',
        ('dm_control/cartpole/swingup', 'dm_control/cheetah/run', 'dm_control/reacher/easy'),
        ('dm_control',),
        'all',
        {'single_precision': True},
        actions='continuous',
    ),
    Family(
        'atari',
        'atari/<game>',
        ('atari/pong', 'atari/breakout', 'atari/space_invaders'),
        ('ale_py', 'cv2'),
        'all',
        {'frame_stack': 4},
        actions='discrete',
    ),
    Family(
        'mario',
        'mario/<id>',
        ('mario/SuperMarioBros-1-1-v0', 'mario/SuperMarioBros-v0', 'mario/SuperMarioBros3-1-1-v0'),
        ('gym_super_mario_bros', 'gymnasium', 'cv2'),
        'all, by playing the episode again',
        {'frame_stack': 4},
        actions='discrete',
    ),
    Family(
        'gymnasium_robotics',
        'gymnasium_robotics/<id>',
        ('gymnasium_robotics/FetchReach-v4', 'gymnasium_robotics/PointMaze_UMaze-v3'),
        ('gymnasium_robotics', 'gymnasium', 'mujoco'),
        'all',
        {'single_precision': True},
        actions='continuous',
        picture='all, with MUJOCO_GL=egl or osmesa',
    ),
    Family(
        'gymnax',
        'gymnax/<id>',
        ('gymnax/CartPole-v1', 'gymnax/Pendulum-v1', 'gymnax/Breakout-MinAtar'),
        ('gymnax', 'gymnasium'),
        'all',
        actions={
            'continuous': (
                'MountainCarContinuous-*',
                'Pendulum-*',
                'PointRobot-*',
                'Reacher-*',
                'Swimmer-*',
            ),
            'discrete': ('*',),
        },
        jax=True,
        picture='those that observe a board: MinAtar, Pong, Catch and deep sea',
    ),
    Family(
        'brax',
        'brax/<environment>',
        ('brax/ant', 'brax/halfcheetah', 'brax/inverted_pendulum'),
        ('brax',),
        'all',
        actions='continuous',
        jax=True,
        picture='none: its pictures need OpenGL',
    ),
    Family(
        'open_spiel',
        'open_spiel/<game>',
        ('open_spiel/kuhn_poker', 'open_spiel/tic_tac_toe', 'open_spiel/goofspiel'),
        ('pyspiel',),
        'all',
        actions='discrete',
        picture="all, in OpenSpiel's words",
    ),
    Family(
        'pettingzoo',
        'pettingzoo/<module>/<name>',
        (
            'pettingzoo/classic/tictactoe_v3',
            'pettingzoo/classic/connect_four_v3',
            'pettingzoo/classic/rps_v2',
        ),
        ('pettingzoo', 'gymnasium'),
        'all, by playing the episode again',
        actions={
            'continuous': ('butterfly/pistonball_*', 'sisl/multiwalker_*'),
            'discrete': ('*',),
        },
    ),
    Family(
        'pgx',
        'pgx/<id>',
        ('pgx/tic_tac_toe', 'pgx/kuhn_poker', 'pgx/2048'),
        ('pgx',),
        'all',
        actions='discrete',
        jax=True,
        picture='all, as planes of the observation',
    ),
    Family(
        'jumanji',
        'jumanji/<id>',
        ('jumanji/Game2048-v1', 'jumanji/Snake-v1', 'jumanji/Knapsack-v1'),
        ('jumanji', 'gymnasium'),
        'all',
        actions={
            'continuous': ('SearchAndRescue-*',),
            'multi_discrete': (
                'Cleaner-*',
                'Connector-*',
                'JobShop-*',
                'LevelBasedForaging-*',
                'MMST-*',
                'MultiCVRP-*',
                'RobotWarehouse-*',
                'RubiksCube-*',
            ),
            'discrete': ('*',),
        },
        jax=True,
    ),
    Family(
        'minigrid',
        'minigrid/<id>',
        ('minigrid/MiniGrid-Empty-8x8-v0', 'minigrid/MiniGrid-DoorKey-6x6-v0'),
        ('minigrid', 'gymnasium'),
        'all',
        actions='discrete',
    ),
    Family(
        'navix',
        'navix/<id>',
        ('navix/Navix-Empty-8x8-v0', 'navix/Navix-DoorKey-6x6-v0'),
        ('navix',),
        'all',
        actions='discrete',
        jax=True,
    ),
    Family(
        'xminigrid',
        'xminigrid/<id>',
        ('xminigrid/MiniGrid-Empty-8x8', 'xminigrid/MiniGrid-DoorKey-6x6'),
        ('xminigrid',),
        'all',
        actions='discrete',
        jax=True,
    ),
    Family(
        'jax',
        'jax/<environment>',
        ('jax/catch', 'jax/four_rooms', 'jax/cartpole_swingup'),
        (),
        'all',
        actions={'continuous': ('cartpole_swingup', 'pixel_reach', 'u_maze'), 'discrete': ('*',)},
        jax=True,
        picture='all but the two matrix games, whose state is a number of rounds',
    ),
    Family(
        'envpool',
        'envpool/<id>',
        ('envpool/CartPole-v1', 'envpool/Pong-v5', 'envpool/HalfCheetah-v4'),
        ('envpool', 'gymnasium'),
        'none',
        # ViZDoom and some families of later versions are left out.
        actions={
            'continuous': (
                'Ant-*',
                'HalfCheetah-*',
                'Hopper*',
                'Humanoid*',
                'Inverted*',
                'Pusher-*',
                'Reacher*',
                'Swimmer*',
                'Walker*',
                'Pendulum*',
                'CarRacing-*',
                'BipedalWalker*',
                'LunarLanderContinuous-*',
                'MountainCarContinuous-*',
                'Cartpole*',
                'Cheetah*',
                'Finger*',
                'FishSwim*',
                'FishUpright*',
                'Manipulator*',
                'PointMass*',
                'AcrobotSwingup*',
                'BallInCup*',
            ),
            'discrete': (
                '*-v5',
                'CartPole-*',
                'MountainCar-*',
                'Acrobot-*',
                'LunarLander-*',
                '*Easy-v0',
                '*Hard-v0',
                '*Extreme-v0',
                '*Memory-v0',
                'Catch-*',
                'FrozenLake*',
                'Taxi-*',
                'NChain-*',
                'CliffWalking*',
                'Blackjack-*',
                'MiniGrid-*',
                'BabyAI-*',
            ),
        },
        picture='all from version 1 of EnvPool on, none before',
    ),
    Family(
        'gymnasium_vector',
        'gymnasium_vector/<id>',
        ('gymnasium_vector/CartPole-v1', 'gymnasium_vector/HalfCheetah-v5'),
        ('gymnasium',),
        'none',
        actions=_OF_GYMNASIUM,
    ),
    Family(
        'function',
        '<module>:<function>',
        ('my_package.my_module:make_environment',),
        (),
        'those with get_state() and set_state(state)',
    ),
)

# What one might look for, and why it is not here.
LEFT_OUT = {
    'craftax': 'craftax installs the package pygame, which writes over the files of pygame-ce, with '
    'which other families are drawn',
    'procgen': 'procgen has no wheel for Python 3.11 or newer, and on 3.10 its gym3 holds imageio-ffmpeg '
    'below 0.4 and glfw below 2, with which other families and videos do not run; a function of your own '
    '(module:function) can adapt it where it is installed alone',
    'unity': 'a build of Unity comes from its editor, and mlagents-envs holds NumPy below 1.24 and Python at '
    '3.10.12 or older; a function of your own (module:function) can adapt one',
}


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None
