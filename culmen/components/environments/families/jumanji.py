"""Environments of Jumanji, written in JAX (Bonnet et al. 2024, 2306.09884): `jumanji/Game2048-v1`.

Jumanji calls the end of most time limits a termination; here it is a truncation. Where its mask is of whole
actions of several parts, such as a row and a column, the action here is one choice among all of them, so that
the mask can be kept. Where several agents act, one here acts for all, and gets the sum of their rewards.
"""

import contextlib
import copy
import dataclasses
import functools
import inspect
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

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

# Their levels come from the network.
_DOWNLOADED = ('Sokoban-v0',)
# Its rewards shrink with the time that is left, so that the limit is part of the task.
_LIMIT_IS_THE_END = ('SearchAndRescue-v0',)
_NO_LIMIT = 2**31 - 1
_MASK = 'action_mask'
_DOTS_PER_INCH = 40  # of a picture of ten inches


def names() -> list[str]:
    """Jumanji's ids, without those that download their levels."""
    known = _jumanji('jumanji').registered_environments()
    return sorted(name for name in known if name not in _DOWNLOADED)


def check(identity: str) -> None:
    """Raises ValueError: with the nearest ids for an unknown one, with the reason for one that downloads."""
    registered = _jumanji(f'jumanji/{identity}').registered_environments()
    if identity in _DOWNLOADED and identity in registered:
        raise ValueError(
            f'jumanji/{identity} downloads its levels, which environments here never do.'
        )
    if identity not in registered:
        known = [f'jumanji/{name}' for name in names()]
        raise ValueError(checks.unknown_name('environment', f'jumanji/{identity}', known))


@functools.cache
def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The numbers among the arguments of an environment and of its generator, and False: no others."""
    check(identity)
    environment = _jumanji('jumanji').make(identity)
    values = {**_generator_values(environment), **_values(type(environment), environment)}
    known = {}
    for name, value in values.items():
        kind = float | int if isinstance(value, float) else type(value)
        known[name] = Argument(name, kind, None if isinstance(value, bool) else Range(0))
    return known, False


_BUILT: dict[Any, functional.Functional] = {}


def make(identity: str, seed: int, **options: Any) -> dm_env.Environment:
    """Builds an environment.

    The observation is a dict of the fields of Jumanji's, with its action_mask as `legal_actions`.

    Args:
        **options: arguments of the environment's constructor (time_limit) and of its generator (num_rows).
    """
    check(identity)
    key = (identity, tuple(sorted(options.items())))
    if key not in _BUILT:
        _BUILT[key] = _build(identity, options)
    return functional.DmEnvironment(_BUILT[key], seed)


class JumanjiState(NamedTuple):
    """A state of Jumanji, with what is told beside the observation."""

    state: Any
    time: jax.Array  # int32[]: steps in the episode
    metrics: Mapping[str, jax.Array]  # the numbers in `extras` of the last time step


def _build(identity: str, options: dict[str, Any]) -> functional.Functional:
    environment = _environment(identity, options)
    limit = _NO_LIMIT
    stepped = environment
    if identity not in _LIMIT_IS_THE_END and hasattr(environment, 'time_limit'):
        limit = int(environment.time_limit)
        # A copy that does not end episodes at its limit shows which of them end by themselves.
        stepped = copy.copy(environment)
        stepped.time_limit = _NO_LIMIT
    form = _form(environment)

    def begin(key: jax.Array) -> tuple[JumanjiState, Any]:
        state, timestep = environment.reset(jax.random.key_data(key))
        return JumanjiState(state, jnp.int32(0), _numbers(timestep)), form.observe(timestep)

    def advance(
        key: jax.Array, state: JumanjiState, action: Any
    ) -> tuple[JumanjiState, functional.Outcome]:
        before = _with_key(state.state, jax.random.key_data(key))
        after, timestep = stepped.step(before, form.act(action))
        time = state.time + 1
        ended, goes_on = timestep.last(), jnp.any(timestep.discount > 0)
        outcome = functional.Outcome(
            form.observe(timestep),
            jnp.sum(jnp.asarray(timestep.reward, jnp.float32)),
            ended & ~goes_on,
            (ended & goes_on) | (time >= limit),
        )
        return JumanjiState(after, time, _numbers(timestep)), outcome

    def render(state: JumanjiState) -> np.ndarray[Any, Any]:
        return _picture(environment, state.state)

    spec = EnvironmentSpec(
        observation=form.observation,
        action=form.action,
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    return functional.Functional(
        spec,
        functional.foreign(begin),
        functional.foreign(advance),
        functional.foreign(render),
        measure=lambda state: state.metrics,
        metrics=(),
    )


def _environment(identity: str, options: dict[str, Any]) -> Any:
    """Jumanji's environment, with a generator of its own kind where arguments of that are given."""
    jumanji = _jumanji(f'jumanji/{identity}')
    plain = jumanji.make(identity)
    of_environment = {
        name: options[name] for name in options if name in _values(type(plain), plain)
    }
    of_generator = {name: options[name] for name in options if name not in of_environment}
    try:
        environment = jumanji.make(identity, **of_environment)
        if of_generator:
            # Of the environment that was made: some generators depend on its time limit.
            values = {**_generator_values(environment), **of_generator}
            generator = type(_generator(environment))(**values)
            environment = jumanji.make(identity, generator=generator, **of_environment)
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(f'jumanji/{identity} is refused by jumanji: {error}') from error
    return environment


def _generator(environment: Any) -> Any:
    return getattr(environment, 'generator', getattr(environment, '_generator', None))


def _generator_values(environment: Any) -> dict[str, Any]:
    """The numbers that a generator was made with; none where it needs anything else that it doesn't show."""
    generator = _generator(environment)
    if generator is None:
        return {}
    values = _values(type(generator), generator)
    parameters = inspect.signature(type(generator)).parameters.values()
    needed = {each.name for each in parameters if each.default is inspect.Parameter.empty}
    return values if needed <= set(values) else {}


def _values(kind: type, built: Any) -> dict[str, Any]:
    """The numbers among the arguments of a constructor, as its object holds them or by default."""
    result = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        value = getattr(built, name, getattr(built, f'_{name}', parameter.default))
        if isinstance(value, bool | int | float):
            result[name] = value
    return result


class _Form(NamedTuple):
    """How an environment's observations and actions are given here."""

    observation: Any  # specs
    action: Any
    observe: Any  # Jumanji's time step -> the observation
    act: Any  # the action -> Jumanji's


def _form(environment: Any) -> _Form:
    given = environment.action_spec
    _, timestep = jax.eval_shape(
        functional.foreign(environment.reset), jax.ShapeDtypeStruct((2,), jnp.uint32)
    )
    mask: Any = getattr(timestep.observation, _MASK, None)
    action: Any
    if jnp.issubdtype(given.dtype, jnp.floating):
        action = specs.BoundedArray(given.shape, np.float32, *_bounds(given), 'action')
    elif mask is not None and mask.shape[:-1] == given.shape:  # a mask for each part
        action = _choices(given.shape, np.zeros(given.shape, int), mask.shape[-1] - 1)
    elif mask is not None:  # one mask for all parts together
        action = specs.DiscreteArray(int(np.prod(mask.shape)), np.int32, 'action')
    else:
        action = _choices(given.shape, *_bounds(given))
    is_joint = mask is not None and action.shape != given.shape

    def observe(timestep: Any) -> dict[str, Any]:
        fields = _fields(timestep.observation)
        if mask is not None:
            fields['legal_actions'] = jnp.reshape(fields.pop(_MASK), -1 if is_joint else mask.shape)
        return jax.tree_util.tree_map(jnp.asarray, fields)

    def act(action: jax.Array) -> jax.Array:
        if is_joint:
            action = jnp.stack(jnp.unravel_index(action, mask.shape))
        return jnp.asarray(action, given.dtype)

    observation = _observation_spec(environment.observation_spec, timestep.observation)
    if mask is not None:
        shape = (int(np.prod(mask.shape)),) if is_joint else mask.shape
        del observation[_MASK]
        observation['legal_actions'] = specs.Array(shape, bool, 'legal_actions')
    return _Form(observation, action, observe, act)


def _choices(shape: tuple[int, ...], low: Any, high: Any) -> specs.BoundedArray:
    if shape == ():
        return specs.DiscreteArray(int(high) + 1, np.int32, 'action')
    return specs.BoundedArray(shape, np.int32, low, high, 'action')


def _observation_spec(spec: Any, given: Any) -> Any:
    """Jumanji's spec of an observation, or of a part of it, as a nest of dm_env's."""
    parts = _parts(given)
    if parts is not None:
        return {name: _observation_spec(spec[name], part) for name, part in parts.items()}
    name = spec.name or 'observation'
    if not hasattr(spec, 'minimum'):
        return specs.Array(given.shape, given.dtype, name)
    low, high = _bounds(spec)
    if hasattr(spec, 'num_values') and name == 'step_count':  # the limit itself is seen at the end
        high = high + 1
    return specs.BoundedArray(given.shape, given.dtype, low, high, name)


def _bounds(spec: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.asarray(spec.minimum), np.asarray(spec.maximum)


def _parts(value: Any) -> dict[str, Any] | None:
    """The fields of a named tuple or of a dataclass; None for an array."""
    if hasattr(value, '_asdict'):
        return dict(value._asdict())
    if dataclasses.is_dataclass(value) and not isinstance(value, jax.ShapeDtypeStruct):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _fields(value: Any) -> Any:
    """An observation in dicts."""
    parts = _parts(value)
    return value if parts is None else {name: _fields(part) for name, part in parts.items()}


def _numbers(timestep: Any) -> dict[str, jax.Array]:
    """The scalars in what a time step tells beside the observation."""
    extras = timestep.extras or {}
    return {name: jnp.asarray(value) for name, value in extras.items() if jnp.shape(value) == ()}


def _with_key(state: Any, key: jax.Array) -> Any:
    """A state that draws from a key, so that a step's draws are the step's, and no search foresees them."""
    return state._replace(key=key) if hasattr(state, '_replace') else state.replace(key=key)


def _picture(environment: Any, state: Any) -> np.ndarray[Any, Any]:
    """What Jumanji draws with matplotlib, uint8[H, W, 3], without a window."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _without_windows(plt):
        environment.render(state)
        figure = plt.gcf()
        try:
            figure.set_dpi(_DOTS_PER_INCH)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            return np.array(canvas.buffer_rgba())[..., :3]
        finally:
            plt.close(figure)


@contextlib.contextmanager
def _without_windows(plt: Any) -> Iterator[None]:
    before = plt.get_backend()
    if before.lower() == 'agg':
        yield
        return
    plt.switch_backend('agg')
    try:
        yield
    finally:
        plt.switch_backend(before)


def _jumanji(environment: str) -> Any:
    return arguments.load('jumanji', environment)
