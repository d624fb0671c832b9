"""Environments of brax, physics written in JAX (https://github.com/google/brax): `brax/ant`."""

import contextlib
import io
from typing import Annotated
from typing import Any
from typing import Literal
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
from culmen.components.environments import functional
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec

_EPISODE = 1_000  # steps, in brax's own training

Backend = Literal['generalized', 'positional', 'spring', 'mjx']


# Listed here, so that names can be checked without importing brax, which takes seconds.
_NAMES = (
    'ant', 'fast', 'halfcheetah', 'hopper', 'humanoid', 'humanoidstandup', 'inverted_double_pendulum',
    'inverted_pendulum', 'pusher', 'reacher', 'swimmer', 'walker2d',
)  # fmt: skip


def names() -> list[str]:
    """brax's environments."""
    return list(_NAMES)


def check(identity: str) -> None:
    """Raises ValueError with the nearest names where there is no such environment."""
    _brax(f'brax/{identity}')  # named where it is missing
    arguments.check_name('brax', identity, names())


_BUILT: dict[Any, functional.Functional] = {}


def make(
    identity: str,
    seed: int,
    *,
    backend: Backend | None = None,
    max_episode_steps: Annotated[int, Range(1)] = _EPISODE,
) -> dm_env.Environment:
    """Builds an environment.

    Args:
        backend: the physics engine; None: brax's default.
        max_episode_steps: steps after which an episode is truncated.
    """
    check(identity)
    key = (identity, backend, max_episode_steps)
    if key not in _BUILT:
        _BUILT[key] = _build(identity, backend, max_episode_steps)
    return functional.DmEnvironment(_BUILT[key], seed)


class BraxState(NamedTuple):
    """A state of brax, and the time in the episode."""

    state: Any
    time: jax.Array  # int32[]


def _build(identity: str, backend: Backend | None, limit: int) -> functional.Functional:
    brax = _brax(f'brax/{identity}')
    options = {} if backend is None else {'backend': backend}
    environment = functional.foreign(brax.get_environment)(identity, **options)

    def begin(key: jax.Array) -> tuple[BraxState, jax.Array]:
        state = environment.reset(key)
        return BraxState(state, jnp.int32(0)), jnp.asarray(state.obs, jnp.float32)

    def advance(
        key: jax.Array, state: BraxState, action: jax.Array
    ) -> tuple[BraxState, functional.Outcome]:
        del key  # brax draws only at resets
        after, time = environment.step(state.state, action), state.time + 1
        outcome = functional.Outcome(
            jnp.asarray(after.obs, jnp.float32), after.reward, after.done > 0, time >= limit
        )
        return BraxState(after, time), outcome

    def render(state: BraxState) -> np.ndarray[Any, Any]:
        raise ValueError(f'brax/{identity} has no picture here: brax draws with OpenGL.')

    spec = EnvironmentSpec(
        observation=specs.Array((environment.observation_size,), np.float32, 'observation'),
        action=specs.BoundedArray((environment.action_size,), np.float32, -1.0, 1.0, 'action'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    return functional.Functional(
        spec,
        functional.foreign(begin),
        functional.foreign(advance),
        render,
        measure=lambda state: state.state.metrics,
        metrics=(),
    )


def _brax(environment: str) -> Any:
    # The import prints hints about other packages, which would spoil JSON on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        return arguments.load('brax.envs', environment, 'brax')
