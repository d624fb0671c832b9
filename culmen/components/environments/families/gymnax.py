"""Environments of gymnax, written in JAX (https://github.com/RobertTLange/gymnax): `gymnax/CartPole-v1`.

gymnax ends an episode by a rule of the task or by its limit on steps, and doesn't say which. Here its
rules run without the limit, and the limit is a truncation.
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
from culmen.components.environments import rendering
from culmen.components.environments.arguments import Argument
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec

# Here the limit on steps belongs to the task: the observation shows how much of it is left.
_LIMIT_IS_THE_END = ('DiscountingChain-bsuite',)
_LEFT_OUT = {
    'MNISTBandit-bsuite': 'it downloads its data, which environments here never do',
    'SimpleBandit-bsuite': "gymnax takes its rewards for its time, and can't step it; it is bsuite/bandit/0",
}
_NO_LIMIT = 2**31 - 1


def names() -> list[str]:
    """gymnax's ids, without those that download their data or can't be stepped."""
    known = _gymnax('gymnax').registration.registered_envs
    return sorted(name for name in known if name not in _LEFT_OUT)


def check(identity: str) -> None:
    """Raises ValueError: with the nearest ids for an unknown one, or with why one is left out."""
    _gymnax(f'gymnax/{identity}')  # named where it is missing
    arguments.check_name('gymnax', identity, names(), _LEFT_OUT)


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The fields of an environment's parameters and the arguments of its constructor, by name."""
    environment, params = _gymnax(f'gymnax/{identity}').make(identity)
    known, _ = arguments.foreign_arguments(type(environment))
    for field in dataclasses.fields(params):
        value = getattr(params, field.name)
        if field.name != 'max_steps_in_episode' and isinstance(value, (bool, int, float)):
            known[field.name] = Argument(field.name, type(value))
    return known, False


_BUILT: dict[Any, functional.Functional] = {}


def make(
    identity: str,
    seed: int,
    *,
    max_episode_steps: Annotated[int | None, Range(1)] = None,
    **options: Any,
) -> dm_env.Environment:
    """Builds an environment.

    Args:
        max_episode_steps: steps after which an episode is truncated; None: gymnax's default.
        **options: fields of the environment's parameters, and arguments of its constructor.
    """
    check(identity)
    key = (identity, max_episode_steps, tuple(sorted(options.items())))
    if key not in _BUILT:
        _BUILT[key] = _build(identity, max_episode_steps, options)
    return functional.DmEnvironment(_BUILT[key], seed)


def _build(identity: str, limit: int | None, options: dict[str, Any]) -> functional.Functional:
    gymnax = _gymnax(f'gymnax/{identity}')
    _, params = gymnax.make(identity)
    fields = {field.name for field in dataclasses.fields(params)}
    of_params = {name: value for name, value in options.items() if name in fields}
    environment, params = gymnax.make(
        identity, **{name: value for name, value in options.items() if name not in fields}
    )
    if limit is None:
        limit = int(params.max_steps_in_episode)
    as_given = type(params.max_steps_in_episode)  # a bandit's is a float
    params = params.replace(max_steps_in_episode=as_given(limit), **of_params)
    ends = identity in _LIMIT_IS_THE_END
    unlimited = params if ends else params.replace(max_steps_in_episode=as_given(_NO_LIMIT))

    def begin(key: jax.Array) -> tuple[Any, Any]:
        observation, state = environment.reset_env(key, params)
        return state, _cast(observation)

    def advance(key: jax.Array, state: Any, action: Any) -> tuple[Any, functional.Outcome]:
        observation, state, reward, done, _ = environment.step_env(key, state, action, unlimited)
        truncated = jnp.bool_(False) if ends else state.time >= limit
        outcome = functional.Outcome(_cast(observation), jnp.float32(reward), done, truncated)
        return state, outcome

    key = jax.random.key(0)
    observation = jax.eval_shape(lambda: functional.foreign(begin)(key)[1])
    spec = EnvironmentSpec(
        observation=_spec(environment.observation_space(params), 'observation', observation),
        action=_spec(environment.action_space(params), 'action'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    shape = jax.tree_util.tree_leaves(spec.observation)[0].shape

    def render(state: Any) -> Any:
        """The board that is observed."""
        seen = functional.foreign(environment.get_obs)(state, params)
        return rendering.draw_planes(np.asarray(seen))

    return functional.Functional(
        spec,
        functional.foreign(begin),
        functional.foreign(advance),
        render if len(shape) in (2, 3) else None,
    )


def _cast(observation: Any) -> Any:
    """Casts to 32 bits, without weak types."""
    return jax.tree_util.tree_map(
        lambda x: jnp.asarray(x, jnp.float32 if jnp.result_type(x).kind == 'f' else None),
        observation,
    )


def _spec(space: Any, name: str, value: Any = None) -> Any:
    """The spec of a space; for observations, with their actual shapes and dtypes."""
    if hasattr(space, 'n'):
        if value is None:
            return specs.DiscreteArray(int(space.n), np.int32, name)
        return specs.BoundedArray(value.shape, value.dtype, 0, int(space.n) - 1, name)
    if value is not None:  # observations do not always keep the space's bounds
        return specs.Array(value.shape, value.dtype, name)
    low, high = (
        np.broadcast_to(np.asarray(bound, np.float32), space.shape)
        for bound in (space.low, space.high)
    )
    return specs.BoundedArray(space.shape, np.float32, low, high, name)


def _gymnax(environment: str) -> Any:
    return arguments.load('gymnax', environment)
