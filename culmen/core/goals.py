"""Goals: environments whose observation says what is to be achieved, and what has been.

    observation = {'observation': ..., 'achieved_goal': ..., 'desired_goal': ...}

The last two have one structure. A method `goals()` of a dm_env environment, or `EnvironmentSpec.goals` of one
written in JAX, gives the reward as a function of the two, so that a learner can give a transition another
goal and compute its reward anew, inside its compiled update (`relabel`; Andrychowicz et al. 2017, hindsight
experience replay, 1707.01495). Agents find it in `EnvironmentSpec.goals`.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from culmen.core.errors import SettingError
from culmen.core.types import Array
from culmen.core.types import Nest

if TYPE_CHECKING:
    from culmen.core.specs import EnvironmentSpec

ACHIEVED, DESIRED = 'achieved_goal', 'desired_goal'  # fields of an observation


class Goals(NamedTuple):
    """The reward of an environment as a function of what was achieved and what was desired.

    Both functions are of JAX, or come `from_numpy`. The goals may have leading axes, both
    the same: leaves [..., *shape of the spec].
    """

    reward: Callable[
        [Nest, Nest], Array
    ]  # (achieved, desired) -> float32[...], of the same time step
    reached: Callable[[Nest, Nest], Array]  # (achieved, desired) -> bool[...]
    ends: bool = False  # whether an episode is over, with discount 0, where the goal is reached


def goals_of(environment: dm_env.Environment) -> Goals | None:
    """The goals of an environment; None for one without a method `goals`, or whose class has none."""
    # Asked of the class: a wrapper that delegates its attributes is not what it wraps.
    if not callable(getattr(type(environment), 'goals', None)):
        return None
    given: Goals | None = environment.goals()
    if given is not None and not isinstance(given, Goals):
        raise SettingError(f'goals() must give Goals or None, got {given!r}.')
    return given


def relabel(
    goals: Goals, observation: Mapping[str, Nest], discount: Array, desired: Nest
) -> tuple[dict[str, Nest], Array, Array]:
    """Time steps as they were if another goal had been desired.

    Args:
        goals: of the environment.
        observation: its fields, leaves [..., ...].
        discount: float32[...] that came with the observation, as the environment gave it.
        desired: the other goal, leaves [..., ...].
    Returns: (observation, reward float32[...], discount float32[...]). Where goals end an episode, the
        discount is 0 at the new goal and 1 at the old one; it is as given elsewhere.
    """
    achieved = observation[ACHIEVED]
    if goals.ends:
        was = goals.reached(achieved, observation[DESIRED])
        now = goals.reached(achieved, desired)
        discount = jnp.where(now, 0.0, jnp.where(was, 1.0, discount))
    return {**observation, DESIRED: desired}, goals.reward(achieved, desired), discount


def from_numpy(
    reward: Callable[[Any, Any], Any],
    reached: Callable[[Any, Any], Any],
    goal_spec: Any,
    ends: bool = False,
) -> Goals:
    """Goals of functions in Python, of one pair of goals each. An update calls back to the host for them.

    A call takes as long as Python takes for its pairs, one by one; a function of JAX is much faster.

    Args:
        reward: (achieved, desired) -> a number, of NumPy arrays in the spec's shapes and dtypes.
        reached: (achieved, desired) -> a bool.
        goal_spec: of both, a nest.
        ends: as in `Goals`.
    """

    def lifted(function: Callable[[Any, Any], Any], dtype: Any) -> Callable[[Nest, Nest], Array]:
        leaves, structure = jax.tree_util.tree_flatten(goal_spec)

        def on_host(axes: tuple[int, ...], *both: Any) -> np.ndarray[Any, Any]:
            given = np.empty(axes, dtype)
            cast = [
                np.asarray(each, leaf.dtype)
                for each, leaf in zip(both, [*leaves, *leaves], strict=True)
            ]
            for index in np.ndindex(*axes):
                parts = [each[index] for each in cast]
                pair = parts[: len(leaves)], parts[len(leaves) :]
                given[index] = function(*(structure.unflatten(each) for each in pair))
            return given

        def call(achieved: Nest, desired: Nest) -> Array:
            both = [
                jnp.asarray(x)
                for nest in (achieved, desired)
                for x in structure.flatten_up_to(nest)
            ]
            ranks = [len(leaf.shape) for leaf in [*leaves, *leaves]]
            axes = [x.shape[: x.ndim - rank] for x, rank in zip(both, ranks, strict=True)]
            shape = jnp.broadcast_shapes(*axes)
            both = [
                jnp.broadcast_to(x, (*shape, *x.shape[x.ndim - rank :]))
                for x, rank in zip(both, ranks, strict=True)
            ]
            host = lambda *leaves: on_host(shape, *leaves)
            result: Array = jax.pure_callback(
                host, _struct(shape, dtype), *both, vmap_method='sequential'
            )
            return result

        return call

    return Goals(lifted(reward, np.float32), lifted(reached, np.bool_), ends)


def check_goals(spec: 'EnvironmentSpec') -> None:
    """Refuses goals that do not fit the observation; computes nothing.

    Raises: SettingError that names the field or the function, and what is accepted.
    """
    if spec.goals is None:
        return
    observation = spec.observation
    fields = list(observation) if isinstance(observation, Mapping) else None
    for name in (ACHIEVED, DESIRED):
        if fields is None or name not in fields:
            raise SettingError(
                f'an environment with goals must observe a dict with the fields {ACHIEVED} and {DESIRED}, '
                f'got {observation if fields is None else fields}.'
            )
    achieved, desired = (_shapes(observation[name]) for name in (ACHIEVED, DESIRED))
    if achieved != desired:
        raise SettingError(
            f'{ACHIEVED} must have the spec of {DESIRED}, got {achieved} and {desired}.'
        )
    for name, kind in (('reward', 'fi'), ('reached', 'b')):
        for axes in ((), (2, 3)):
            goal = jax.tree_util.tree_map(
                lambda leaf: _struct((*axes, *leaf.shape), leaf.dtype),  # noqa: B023
                observation[ACHIEVED],
            )
            given = jax.eval_shape(getattr(spec.goals, name), goal, goal)
            if getattr(given, 'shape', None) != axes or np.dtype(given.dtype).kind not in kind:
                wanted = 'float32' if name == 'reward' else 'bool'
                raise SettingError(
                    f'goals.{name} must give {wanted}{list(axes)} for goals with the leading axes '
                    f'{list(axes)}, got {given}.'
                )


def _shapes(spec: Any) -> Any:
    return jax.tree_util.tree_map(lambda leaf: (tuple(leaf.shape), str(leaf.dtype)), spec)


def _struct(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of JAX without values; of 32 bits where JAX has no 64."""
    make: Any = jax.ShapeDtypeStruct
    return make(shape, jax.dtypes.canonicalize_dtype(dtype))
