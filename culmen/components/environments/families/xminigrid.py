"""Environments of XLand-MiniGrid (Nikulin et al. 2024, 2312.12044), in JAX: `xminigrid/MiniGrid-Unlock`.

Only the tasks of MiniGrid are here. Those named XLand have no goal of their own: their goals and rules come
from benchmark files, which the package downloads and unpickles.
"""

import dataclasses
from typing import Annotated
from typing import Any

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
from culmen.components.environments import functional
from culmen.components.environments.arguments import Argument
from culmen.core import checks
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec

_DOWNLOADED = 'XLand'
_LEAST_SIDE = 5  # of the board: smaller boards have no free tile for what the tasks place


def names() -> list[str]:
    """The ids whose goal is part of the package."""
    known = _xminigrid('xminigrid').registered_environments()
    return sorted(name for name in known if not name.startswith(_DOWNLOADED))


def check(identity: str) -> None:
    """Raises ValueError: with the nearest ids for an unknown one, with the reason for one of XLand."""
    registered = _xminigrid(f'xminigrid/{identity}').registered_environments()
    if identity in registered and identity.startswith(_DOWNLOADED):
        raise ValueError(
            f'xminigrid/{identity} has no goal without a benchmark file, which xminigrid downloads and '
            f'unpickles; the tasks with goals of their own are {", ".join(names())}.'
        )
    if identity not in registered:
        known = [f'xminigrid/{name}' for name in names()]
        raise ValueError(checks.unknown_name('environment', f'xminigrid/{identity}', known))


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The numbers among an environment's parameters, by name."""
    check(identity)
    _, params = _xminigrid('xminigrid').make(identity)
    values = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    ranges = {'height': Range(_LEAST_SIDE), 'width': Range(_LEAST_SIDE), 'view_size': Range(3)}
    known = {
        name: Argument(name, type(value), ranges.get(name, Range(1)))
        for name, value in values.items()
        if name != 'max_steps' and isinstance(value, int)
    }
    return known, False


_BUILT: dict[Any, functional.Functional] = {}


def make(
    identity: str,
    seed: int,
    *,
    max_episode_steps: Annotated[int | None, Range(1)] = None,
    direction: bool = False,
    **options: Any,
) -> dm_env.Environment:
    """Builds an environment.

    The observation is what the agent sees of the board, int8[view_size, view_size, 2]: tiles and colours.

    Args:
        max_episode_steps: steps after which an episode is truncated, and to which the reward compares the
            steps that were needed; None: xminigrid's.
        direction: whether the direction of the agent joins the observation, which becomes
            {'image': int8[view_size, view_size, 2], 'direction': float32[4]}, one-hot.
        **options: of the environment's parameters: height, width, view_size (odd).
    """
    check(identity)
    key = (identity, max_episode_steps, direction, tuple(sorted(options.items())))
    if key not in _BUILT:
        _BUILT[key] = _build(identity, max_episode_steps, direction, options)
    return functional.DmEnvironment(_BUILT[key], seed)


def _build(
    identity: str, limit: int | None, direction: bool, options: dict[str, Any]
) -> functional.Functional:
    xminigrid = _xminigrid(f'xminigrid/{identity}')
    constants = arguments.load('xminigrid.core.constants', f'xminigrid/{identity}')
    if limit is not None:
        options = {**options, 'max_steps': limit}
    if options.get('view_size', 3) % 2 == 0:
        raise ValueError(
            f'xminigrid/{identity}: argument view_size must be odd, got {options["view_size"]}.'
        )
    environment, params = xminigrid.make(identity)
    # What was not given is computed anew: the longest episode depends on the size of the board.
    given = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    registered = {name: given[name] for name in given if name not in ('max_steps', 'render_mode')}
    params = environment.default_params(**{**registered, **options})
    if 'max_steps' not in options and not {'height', 'width'} & set(options):
        params = params.replace(max_steps=given['max_steps'])

    def observe(timestep: Any) -> Any:
        # Not bytes, which networks would take for pixels.
        image = jnp.asarray(timestep.observation, jnp.int8)
        if not direction:
            return image
        return {
            'image': image,
            'direction': jax.nn.one_hot(timestep.state.agent.direction, 4, dtype=jnp.float32),
        }

    def begin(key: jax.Array) -> tuple[Any, Any]:
        timestep = environment.reset(params, jax.random.key_data(key))
        return timestep, observe(timestep)

    def advance(key: jax.Array, timestep: Any, action: Any) -> tuple[Any, functional.Outcome]:
        del key  # only resets draw
        timestep = environment.step(params, timestep, action)
        terminated = timestep.discount == 0
        outcome = functional.Outcome(
            observe(timestep),
            timestep.reward,
            terminated,
            timestep.state.step_num >= params.max_steps,
        )
        return timestep, outcome

    def render(timestep: Any) -> np.ndarray[Any, Any]:
        return np.asarray(environment.render(params, timestep), np.uint8)

    most = np.array([constants.NUM_TILES - 1, constants.NUM_COLORS - 1], np.int8)
    shape = (params.view_size, params.view_size, 2)
    image = specs.BoundedArray(shape, np.int8, 0, np.broadcast_to(most, shape), 'image')
    heading = specs.BoundedArray((4,), np.float32, 0, 1, 'direction')
    spec = EnvironmentSpec(
        observation={'image': image, 'direction': heading} if direction else image,
        action=specs.DiscreteArray(environment.num_actions(params), np.int32, 'action'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    return functional.Functional(
        spec, functional.foreign(begin), functional.foreign(advance), functional.foreign(render)
    )


def _xminigrid(environment: str) -> Any:
    return arguments.load('xminigrid', environment)
