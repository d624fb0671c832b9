"""Puts the state of an environment written in JAX into its observation, for agents that search.

It maps a JAX environment to another, so it is compiled as well as stepped by the host. A search goes on
from the state of a time step: `spec.model.step(key, observation['environment_state'], action)`.
"""

from collections.abc import Mapping
from typing import Any

import dm_env
import jax
import jax.numpy as jnp
from dm_env import specs

from culmen.components.environments.around import around_once
from culmen.components.environments.functional import DmEnvironment
from culmen.core.environments import STATE
from culmen.core.environments import JaxEnvironment
from culmen.core.metrics import metrics_of
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import check_storable
from culmen.core.types import Nest
from culmen.core.types import TimeStep


class ObserveState:
    """A JaxEnvironment whose observations hold its state, as the field `environment_state`.

    A dict gains the field; anything else becomes the field `observation`. The state is that of the
    environment inside, but leaves of uint32, such as keys, have their bits in int32: a stream holds no
    larger numbers.
    """

    def __init__(self, environment: JaxEnvironment) -> None:
        """Args: environment: what is inside, with a state of plain arrays.

        Raises: ValueError that names a leaf which can't be stored, or a field that it has already.
        """
        inner = environment.spec()
        self._environment = environment
        key = jax.eval_shape(lambda: jax.random.key(0))
        self._state = jax.eval_shape(environment.reset, key)[0]
        check_storable('state', self._state)
        if isinstance(inner.observation, Mapping) and STATE in inner.observation:
            raise ValueError(f'observe_state: the observation has a field {STATE} already.')
        held = jax.tree_util.tree_map(
            lambda leaf: specs.Array(leaf.shape, leaf.dtype),
            jax.eval_shape(_as_held, self._state),
        )
        self._spec = inner._replace(observation=_join(inner.observation, held))
        draw = getattr(environment, 'render', None)
        self.render = None if draw is None else lambda state: draw(self._as_inside(state))

    def metric_names(self) -> tuple[str, ...]:
        """The numbers that are logged: those of the environment inside."""
        return tuple(metric.column for metric in metrics_of(self._environment))

    def measure(self, state: Any) -> Mapping[str, Any]:
        """The numbers of the environment inside."""
        measure = getattr(self._environment, 'measure', None)
        return {} if measure is None else measure(self._as_inside(state))

    def spec(self) -> EnvironmentSpec:
        """The specs of one environment."""
        return self._spec

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Begins an episode: (state, FIRST)."""
        return self._with_state(*self._environment.reset(key))

    def step(self, key: jax.Array, state: Any, action: Nest) -> tuple[Any, TimeStep]:
        """Takes a step. Args: state: of `reset`, of `step`, or of an observation."""
        return self._with_state(*self._environment.step(key, self._as_inside(state), action))

    def _with_state(self, state: Any, timestep: TimeStep) -> tuple[Any, TimeStep]:
        held = _as_held(state)
        return held, timestep._replace(observation=_join(timestep.observation, held))

    def _as_inside(self, state: Any) -> Any:
        return jax.tree_util.tree_map(
            lambda wanted, leaf: (
                jax.lax.bitcast_convert_type(jnp.asarray(leaf), jnp.uint32)
                if wanted.dtype == jnp.uint32
                else leaf
            ),
            self._state,
            state,
        )


def _as_held(state: Any) -> Any:
    """A state as an observation holds it, strongly typed."""

    def hold(leaf: Any) -> jax.Array:
        array = jax.lax.convert_element_type(leaf, jnp.result_type(leaf))
        if array.dtype == jnp.uint32:
            return jax.lax.bitcast_convert_type(array, jnp.int32)
        return array

    return jax.tree_util.tree_map(hold, state)


def _join(observation: Any, state: Any) -> dict[str, Any]:
    is_mapping = isinstance(observation, Mapping)
    fields = dict(observation) if is_mapping else {'observation': observation}
    return {**fields, STATE: state}


def observing_state(environment: dm_env.Environment) -> DmEnvironment:
    """An environment whose observations hold its state.

    Raises: ValueError if it is not written in JAX.
    """
    if not isinstance(environment, DmEnvironment):
        raise ValueError(
            f'observe_state needs an environment written in JAX (a DmEnvironment, without wrappers), got '
            f'{type(environment).__name__}.'
        )
    return environment.around(around_once(environment.functions, ObserveState))
