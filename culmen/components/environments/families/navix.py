"""Environments of NAVIX (Pignatelli et al. 2024, 2407.19396), MiniGrid in JAX: `navix/Navix-Empty-5x5-v0`."""

import contextlib
import dataclasses
import sys
import types
from collections.abc import Iterator
from typing import Annotated
from typing import Any
from typing import Literal

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

Observation = Literal[
    'symbolic',
    'symbolic_first_person',
    'categorical',
    'categorical_first_person',
    'rgb',
    'rgb_first_person',
]

# Set when an environment is made, or without an effect here.
_NOT_OPTIONS = ('height', 'width', 'max_steps', 'gamma', 'disable_autoreset')


def names() -> list[str]:
    """navix's ids."""
    return sorted(_navix('navix').registry())


def check(identity: str) -> None:
    """Raises ValueError with the nearest ids where there is no such environment."""
    _navix(f'navix/{identity}')  # named where it is missing
    arguments.check_name('navix', identity, names())


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The numbers and switches among an environment's fields, by name."""
    check(identity)
    environment = _navix('navix').make(identity)
    values = {
        field.name: getattr(environment, field.name) for field in dataclasses.fields(environment)
    }
    known = {
        name: Argument(name, type(value))
        for name, value in values.items()
        if name not in _NOT_OPTIONS and isinstance(value, bool | int | float)
    }
    return known, False


_BUILT: dict[Any, functional.Functional] = {}


def make(
    identity: str,
    seed: int,
    *,
    observation: Observation | None = None,
    max_episode_steps: Annotated[int | None, Range(1)] = None,
    **options: Any,
) -> dm_env.Environment:
    """Builds an environment.

    Args:
        observation: what is seen: the whole board or (first_person) 7x7 tiles before the agent, as numbers
            of object, colour and state (symbolic), numbers of objects (categorical) or pixels (rgb); None:
            the environment's own.
        max_episode_steps: steps after which an episode is truncated; None: navix's.
        **options: other fields of the environment, such as random_start.
    """
    check(identity)
    key = (identity, observation, max_episode_steps, tuple(sorted(options.items())))
    if key not in _BUILT:
        _BUILT[key] = _build(identity, observation, max_episode_steps, options)
    return functional.DmEnvironment(_BUILT[key], seed)


def _build(
    identity: str, seen: Observation | None, limit: int | None, options: dict[str, Any]
) -> functional.Functional:
    navix = _navix(f'navix/{identity}')
    views = navix.observations
    settings: dict[str, Any] = {} if limit is None else {'max_steps': limit}
    if seen is not None:
        settings['observation_fn'] = getattr(views, seen)
    environment = navix.make(identity, **settings).replace(**options)

    def observe(timestep: Any) -> jax.Array:
        """What is seen. Numbers of objects are not bytes, which networks would take for pixels."""
        is_symbolic = environment.observation_fn in (views.symbolic, views.symbolic_first_person)
        return jnp.asarray(timestep.observation, jnp.int8 if is_symbolic else None)

    def begin(key: jax.Array) -> tuple[Any, Any]:
        timestep = environment.reset(jax.random.key_data(key))
        return timestep, observe(timestep)

    def advance(key: jax.Array, timestep: Any, action: Any) -> tuple[Any, functional.Outcome]:
        # What moves by chance draws from the state's key.
        state = timestep.state.replace(key=jax.random.key_data(key))
        # Without the package's own reset, which `Functional` makes.
        timestep = environment._step(timestep.replace(state=state), action)
        outcome = functional.Outcome(
            observe(timestep),
            timestep.reward,
            timestep.is_termination(),
            timestep.is_truncation(),
        )
        return timestep, outcome

    def render(timestep: Any) -> np.ndarray[Any, Any]:
        return rendering.enlarge(np.asarray(views.rgb(timestep.state), np.uint8), 256)

    image = jax.eval_shape(functional.foreign(begin), jax.random.key(0))[1]
    spec = EnvironmentSpec(
        observation=_observation_spec(environment.observation_fn, image, navix),
        action=specs.DiscreteArray(len(environment.action_set), np.int32, 'action'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    return functional.Functional(
        spec, functional.foreign(begin), functional.foreign(advance), functional.foreign(render)
    )


def _observation_spec(view: Any, given: Any, navix: Any) -> specs.BoundedArray:
    """The spec of what a view gives, with the range of its numbers."""
    if view in (navix.observations.rgb, navix.observations.rgb_first_person):
        return specs.BoundedArray(given.shape, given.dtype, 0, 255, 'observation')
    # -1: a wall among the categories, a colour or a state that the object has not.
    most = int(navix.entities.EntityIds.PLAYER)
    return specs.BoundedArray(given.shape, given.dtype, -1, most, 'observation')


def _navix(environment: str) -> Any:
    with _without_tensorflow():
        return arguments.load('navix', environment)


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Keeps TensorFlow Probability, which navix imports for JAX alone, from checking TensorFlow.

    Where TensorFlow is loaded, as with Reverb, it would refuse the version that Launchpad needs. What
    stands in has all that TensorFlow has, but does not list it.
    """
    loaded = sys.modules.get('tensorflow')
    if loaded is None or not hasattr(loaded, 'compat') or 'navix' in sys.modules:
        yield
        return
    sys.modules['tensorflow'] = _Unlisted(loaded)
    try:
        yield
    finally:
        sys.modules['tensorflow'] = loaded


class _Unlisted(types.ModuleType):
    def __init__(self, module: Any) -> None:
        super().__init__(module.__name__)
        self.__spec__ = module.__spec__  # whoever looks for TensorFlow meanwhile finds it
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __dir__(self) -> list[str]:
        return []
