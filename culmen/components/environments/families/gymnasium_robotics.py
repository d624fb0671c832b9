"""Gymnasium-Robotics (Plappert et al. 2018, 1802.09464, and others): `gymnasium_robotics/FetchReach-v4`.

Most of its environments have goals, whose rewards are functions of JAX here. Ids that need mujoco-py, which
is no longer maintained, are refused.
"""

import contextlib
import io
import os
import types
from typing import Annotated
from typing import Any

import dm_env
import numpy as np

from culmen.components.environments import arguments
from culmen.components.environments.arguments import Argument
from culmen.components.environments.families import gymnasium as of_gymnasium
from culmen.components.environments.families.gymnasium import GymnasiumEnvironment
from culmen.components.environments.families.gymnasium_robotics_goals import goals_of_robot
from culmen.core import checks
from culmen.core.checks import Range
from culmen.core.goals import Goals

_SPECS: dict[str, Any] = {}  # by id, of all that the package registers


def names() -> list[str]:
    """The ids that need no mujoco-py."""
    known = _specs('gymnasium_robotics')
    return sorted(identity for identity, spec in known.items() if not _needs_mujoco_py(spec))


def check(identity: str) -> None:
    """Raises ValueError with the nearest ids where there is none, or where it needs mujoco-py."""
    name = f'gymnasium_robotics/{identity}'
    spec = _specs(name).get(identity)
    known = [f'gymnasium_robotics/{each}' for each in names()]
    if spec is None:
        raise ValueError(checks.unknown_name('environment', name, known))
    if _needs_mujoco_py(spec):
        stem = identity.rpartition('-')[0]
        newer = [each for each in names() if each.rpartition('-')[0] == stem]
        found = ', '.join(f'gymnasium_robotics/{each}' for each in newer)
        raise ValueError(
            f'{name} needs mujoco-py, which is no longer maintained and not supported here'
            + (f'; the same task: {found}.' if newer else '; gymnasium/<id> has newer versions.')
        )


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The arguments of the environment's own constructor, and False: it takes no others."""
    check(identity)
    module, _, attribute = _SPECS[identity].entry_point.partition(':')
    creator = getattr(arguments.load(module, f'gymnasium_robotics/{identity}'), attribute)
    return arguments.foreign_arguments(creator, skip=('render_mode',))[0], False


def make(
    identity: str,
    seed: int,
    *,
    max_episode_steps: Annotated[int | None, Range(1)] = None,
    **options: Any,
) -> dm_env.Environment:
    """Builds an environment by its id.

    Args:
        max_episode_steps: steps after which an episode is truncated; None: as registered.
        **options: arguments of the environment's constructor.
    """
    check(identity)
    inner, limit = of_gymnasium.builder(_SPECS[identity], max_episode_steps, options)

    def build() -> Any:
        environment = inner()
        # A maze leaves its description, which has been read, among the temporary files.
        described = getattr(environment.unwrapped, 'tmp_xml_file_path', None)
        if described is not None:
            with contextlib.suppress(OSError):
                os.unlink(described)
        return environment

    name = f'gymnasium_robotics/{identity}'
    return RobotEnvironment(build, seed, limit, name=name)


class RobotEnvironment(GymnasiumEnvironment):
    """An environment of Gymnasium-Robotics as dm_env, with its goals."""

    def goals(self) -> Goals | None:
        """Its goals; None for tasks without, and for the kitchen where its reward depends on the past."""
        return goals_of_robot(self.unwrapped, self.observation_spec())


def _needs_mujoco_py(spec: Any) -> bool:
    module, _, attribute = spec.entry_point.partition(':')
    old = ('gymnasium_robotics.envs.mujoco.', 'gymnasium_robotics.envs.maze.ant_maze_v3')
    return attribute.startswith('MujocoPy') or module.startswith(old)


def _specs(name: str) -> dict[str, Any]:
    """What the package registers, by id. Its first import takes ids of gymnasium, which get them back."""
    gymnasium = arguments.load('gymnasium', name)
    before = dict(gymnasium.registry)
    with contextlib.redirect_stderr(io.StringIO()):  # a notice at its import
        arguments.load('gymnasium_robotics', name, 'gymnasium-robotics')
    if not _SPECS:
        _compare_plain_numbers(arguments.load('gymnasium_robotics.utils.mujoco_utils', name))
        for identity, spec in list(gymnasium.registry.items()):
            if str(spec.entry_point).startswith('gymnasium_robotics.'):
                _SPECS[identity] = spec
                if identity in before:
                    gymnasium.registry[identity] = before[identity]
    return _SPECS


def _compare_plain_numbers(module: Any) -> None:
    """Lets a module that looks for NumPy's integers among MuJoCo's enumerations find them.

    With MuJoCo 3.17 `np.int32(3) in (mujoco.mjtJoint.mjJNT_HINGE,)` is False, which stops version 1.4.2.
    """
    mujoco = module.mujoco
    if isinstance(mujoco, types.ModuleType) and np.int32(3) not in (mujoco.mjtJoint.mjJNT_HINGE,):
        plain = types.ModuleType('mujoco')
        plain.__dict__.update(vars(mujoco))
        for kind in ('mjtJoint', 'mjtEq', 'mjtObj'):
            members = getattr(mujoco, kind).__members__
            numbers = {member: int(value) for member, value in members.items()}
            setattr(plain, kind, types.SimpleNamespace(**numbers))
        module.mujoco = plain
