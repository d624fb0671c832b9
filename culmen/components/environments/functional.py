"""Environments written in JAX: how to write one, and the bridge to dm_env.

An author writes the two functions of an episode for one lane, `begin(key)` and `advance(key, state, action)`.
`Functional` makes a `JaxEnvironment` (culmen.core.environments) of them that begins a new episode on the step
after LAST, keeps the true last observation, and distinguishes terminations from truncations. The compiled
loop runs it as it is, all lanes at once; `DmEnvironment` is the same environment for the loops of the host.

A lane owns a key, split at every step, so its episodes depend on its seed and its actions alone, in every
loop and with any number of lanes.
"""

import functools
import warnings
import weakref
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from culmen.core import specs as core_specs
from culmen.core.environments import JaxEnvironment
from culmen.core.goals import Goals
from culmen.core.metrics import measured_names
from culmen.core.metrics import metrics_of
from culmen.core.ranges import SpecError
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import check_storable
from culmen.core.specs import leaf_paths
from culmen.core.specs import shape_dtypes
from culmen.core.specs import zeros_like
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Nest
from culmen.core.types import TimeStep

REWARD, DISCOUNT = core_specs.REWARD, core_specs.DISCOUNT


class Outcome(NamedTuple):
    """The result of a step within an episode."""

    observation: Nest  # leaves as the spec says
    reward: Nest  # float32[], or a nest of them as the spec says
    terminated: Any  # bool[]: the task is over, and every discount 0
    truncated: Any = False  # bool[]: only the episode is over, and the discount stays 1
    discount: Nest = None  # float32[]s as the spec says, where there is no termination; None: 1


class EpisodeState(NamedTuple):
    """The state of a `Functional`."""

    state: Any  # of the author's functions
    last: jax.Array  # bool[]: the time step was LAST


class Functional:
    """A JaxEnvironment from the functions of an episode, for one lane and without a batch axis.

    Example:
        >>> box = specs.BoundedArray((), np.int32, 0, 2)
        >>> count = Functional(
        ...     EnvironmentSpec(box, specs.DiscreteArray(2), REWARD, DISCOUNT),
        ...     begin=lambda key: (jnp.int32(0), jnp.int32(0)),
        ...     advance=lambda key, n, action: (n + 1, Outcome(n + 1, 1.0, n == 1)),
        ... )
        >>> state, timestep = count.reset(jax.random.key(0))
        >>> for _ in range(3):
        ...     state, timestep = count.step(jax.random.key(0), state, 0)
        ...     print(int(timestep.step_type), int(timestep.observation), float(timestep.discount))
        1 1 1.0
        2 2 0.0
        0 0 1.0
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        begin: Callable[[jax.Array], tuple[Any, Nest]],
        advance: Callable[[jax.Array, Any, Nest], tuple[Any, Outcome]],
        render: Callable[[Any], np.ndarray[Any, Any]] | None = None,
        measure: Callable[[Any], Mapping[str, Any]] | None = None,
        metrics: Sequence[str] | None = None,
    ) -> None:
        """Makes the environment; computes nothing.

        Args:
            spec: of one environment.
            begin: key -> (state, observation).
            advance: (key, state, action) -> (state, Outcome).
            render: state -> uint8[height, width, 3]; None: it can't be drawn.
            measure: state -> numbers by name, scalars (culmen.core.metrics); None: it has none.
            metrics: which are logged, as 'success' or 'distance:mean'; None: all, the last of an episode.
        Raises: ValueError that names the leaf of an observation that does not fit the spec, or one of the
            state that can't be saved, a typed PRNG key.
        """
        self._spec = spec
        self._begin, self._advance = begin, advance
        self.render = None if render is None else lambda state: render(state.state)
        self.measure = (lambda state: {}) if measure is None else lambda state: measure(state.state)
        self._check()
        self._metrics = tuple(measured_names(self) if metrics is None else metrics)

    def _check(self) -> None:
        key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype)
        state, observation = jax.eval_shape(self._begin, key)
        action = shape_dtypes(self._spec.action)
        state, outcome = jax.eval_shape(self._advance, key, state, action)
        # Both may hold Python numbers: they get the dtypes of the states that `advance` gives.
        self._state = state
        check_storable('state', state)
        for given in (observation, outcome.observation):
            _as_in_spec(self._spec, given)

    def spec(self) -> EnvironmentSpec:
        """The specs of one environment."""
        return self._spec

    def metric_names(self) -> tuple[str, ...]:
        """The numbers that are logged."""
        return self._metrics

    def reset(self, key: jax.Array) -> tuple[EpisodeState, TimeStep]:
        """Begins an episode. Returns: (state, FIRST)."""
        state, observation = self._begin(key)
        timestep = TimeStep(
            jnp.int32(FIRST),
            self._numbers(self._spec.reward, 0.0),
            self._numbers(self._spec.discount, 1.0),
            _like(self._spec.observation, _as_in_spec(self._spec, observation)),
        )
        return EpisodeState(_like(self._state, state), jnp.bool_(False)), timestep

    def step(
        self, key: jax.Array, state: EpisodeState, action: Nest
    ) -> tuple[EpisodeState, TimeStep]:
        """Takes a step. From a state at LAST it ignores the action and gives FIRST."""
        after, outcome = self._advance(key, state.state, action)
        terminated = jnp.asarray(outcome.terminated, bool)
        last = terminated | jnp.asarray(outcome.truncated, bool)
        kept = self._numbers(self._spec.discount, outcome.discount, 1.0)
        going_on = (
            EpisodeState(after, last),
            TimeStep(
                jnp.where(last, LAST, MID).astype(jnp.int32),
                self._numbers(self._spec.reward, outcome.reward),
                jax.tree_util.tree_map(lambda leaf: jnp.where(terminated, 0.0, leaf), kept),
                _as_in_spec(self._spec, outcome.observation),
            ),
        )
        # Only one of the two results is used, so no key is used twice.
        return jax.tree_util.tree_map(
            lambda new, old: jnp.where(state.last, new, old), self.reset(key), going_on
        )

    @staticmethod
    def _numbers(spec: Any, values: Nest, otherwise: float = 0.0) -> Nest:
        """Rewards or discounts as in a spec, float32[]. Args: values: a nest, or one number for all."""
        leaves, structure = jax.tree_util.tree_flatten(spec)
        if values is None or not isinstance(values, Mapping):
            one = otherwise if values is None else values
            return structure.unflatten([jnp.asarray(one, jnp.float32)] * len(leaves))
        given = structure.flatten_up_to(values)
        return structure.unflatten([jnp.asarray(leaf, jnp.float32) for leaf in given])


def foreign(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps foreign code, which then runs without this process's strict settings (of warnings and ranks)."""

    @functools.wraps(function)
    def spared(*args: Any, **options: Any) -> Any:
        with warnings.catch_warnings(), jax.numpy_rank_promotion('allow'):
            for category in (DeprecationWarning, FutureWarning, UserWarning):
                warnings.simplefilter('ignore', category)
            return function(*args, **options)

    return spared


class LaneState(NamedTuple):
    """The state that a lane of a JAX environment carries."""

    key: jax.Array  # uint32[2]
    state: Any


def begin(environment: JaxEnvironment, key: jax.Array) -> tuple[LaneState, TimeStep]:
    """Begins an episode with the key of a lane: (lane, FIRST). To be vmapped over keys uint32[B, 2]."""
    key, of_step = _split(key)
    state, timestep = environment.reset(of_step)
    return LaneState(key, _strong(state)), _held(environment, timestep)


def advance(
    environment: JaxEnvironment, lane: LaneState, action: Nest
) -> tuple[LaneState, TimeStep]:
    """Takes a step in a lane. To be vmapped over lanes and actions [B, ...]."""
    key, of_step = _split(lane.key)
    action = core_specs.conform('action', environment.spec().action, action)
    state, timestep = environment.step(of_step, lane.state, action)
    return LaneState(key, _strong(state)), _held(environment, timestep)


def _held(environment: JaxEnvironment, timestep: TimeStep) -> TimeStep:
    """A time step in the containers of its spec and with a TimeStep's dtypes, also where JAX has 64 bits."""
    step_type, reward, discount, observation = _strong(timestep)
    reward, discount = jax.tree_util.tree_map(
        lambda leaf: jnp.asarray(leaf, jnp.float32), (reward, discount)
    )
    step_type = jnp.asarray(step_type, jnp.int32)
    return TimeStep(step_type, reward, discount, _as_in_spec(environment.spec(), observation))


def _as_in_spec(spec: EnvironmentSpec, observation: Nest) -> Nest:
    """An observation in the containers of its spec. Raises: SpecError that names a leaf."""
    observation = core_specs.conform('observation', spec.observation, observation)
    wanted = leaf_paths(spec.observation, 'observation')
    for (path, leaf), value in zip(wanted, jax.tree_util.tree_leaves(observation), strict=True):
        shape, dtype = jnp.shape(value), jnp.result_type(value)
        if shape != leaf.shape or dtype != leaf.dtype:
            raise SpecError(
                f'{path} must be {leaf.dtype}{list(leaf.shape)} as in its spec, '
                f'got {dtype}{list(shape)}.'
            )
    return observation


def _strong(tree: Any) -> Any:
    """Arrays without weak types: a loop that carries weakly typed arrays is compiled twice."""
    return jax.tree_util.tree_map(
        lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), tree
    )


def lane_keys(seeds: Any) -> jax.Array:
    """The keys uint32[B, 2] that lanes begin with, from their seeds int[B]."""
    return jax.vmap(lambda seed: jax.random.key_data(jax.random.key(seed)))(
        jnp.asarray(seeds, jnp.uint32)
    )


def _split(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(the key to keep, uint32[2]; the key to use, typed)."""
    keep, use = jax.random.split(jax.random.wrap_key_data(key))
    return jax.random.key_data(keep), use


class DmEnvironment(dm_env.Environment):
    """A JaxEnvironment as a dm_env environment, saved exactly in the middle of an episode.

    A step is one compiled call. In the batched loop, N of them around the same JaxEnvironment object are
    stepped together in one call (`culmen.environment_loops.batching`).
    """

    def __init__(self, environment: JaxEnvironment, seed: int) -> None:
        """Args: environment: what to step, with a state of arrays only. seed: of all that it draws."""
        self.functions = environment
        self.first_key = lane_keys([seed])[0]
        self.lane: LaneState | None = None  # None: no episode has begun
        self._spec = environment.spec()
        self._compiled = compiled(environment)
        self._ignores_action = True  # whether the next step is known to ignore its action

    @property
    def jax_environment(self) -> JaxEnvironment:
        """The same as `functions`: it makes this environment the model of its spec."""
        return self.functions

    def around(self, environment: JaxEnvironment) -> 'DmEnvironment':
        """Another environment with the key of this one, before its first episode."""
        other = DmEnvironment(environment, 0)
        other.first_key = self.first_key
        return other

    def metric_names(self) -> tuple[str, ...]:
        """The numbers that are logged."""
        return tuple(metric.column for metric in metrics_of(self.functions))

    def metrics(self) -> Mapping[str, Any]:
        """The numbers of the last time step; none before the first."""
        return {} if self.lane is None else self._compiled.measure(self.lane.state)

    def goals(self) -> Goals | None:
        """The goals of its spec."""
        return self._spec.goals

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode."""
        key = self.first_key if self.lane is None else self.lane.key
        self.lane, timestep = self._compiled.begin(key)
        return self._tell(timestep)

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes a step; gives FIRST after LAST, and before the first episode.

        Raises: SpecError that names an action which is not of the spec.
        """
        if self.lane is None:
            return self.reset()
        if action is None:  # after LAST, where it is ignored
            action = zeros_like(self._spec.action)
        elif not self._ignores_action:
            core_specs.check_action(self._spec.action, action)
        self.lane, timestep = self._compiled.advance(self.lane, action)
        return self._tell(timestep)

    def _tell(self, timestep: TimeStep) -> dm_env.TimeStep:
        told = _to_dm_env(timestep)
        self._ignores_action = told.step_type == LAST
        return told

    def observation_spec(self) -> Any:
        return self._spec.observation

    def action_spec(self) -> Any:
        return self._spec.action

    def reward_spec(self) -> Any:
        return self._spec.reward

    def discount_spec(self) -> Any:
        return self._spec.discount

    def render(self) -> np.ndarray[Any, Any]:
        """uint8[height, width, 3]. Raises: ValueError where it can't be drawn."""
        draw = getattr(self.functions, 'render', None)
        if draw is None:
            raise ValueError('this environment can not be drawn: it has no render function.')
        lane = self._compiled.begin(self.first_key)[0] if self.lane is None else self.lane
        return np.asarray(draw(lane.state))

    def get_state(self) -> Any:
        if self.lane is None:
            return None
        return [np.array(leaf) for leaf in jax.tree_util.tree_leaves(self.lane)]

    def set_state(self, state: Any) -> None:
        self.lane, self._ignores_action = None, True
        if state is not None:
            template = jax.eval_shape(self._compiled.begin, self.first_key)[0]
            structure = jax.tree_util.tree_structure(template)
            self.lane = structure.unflatten([jnp.asarray(leaf) for leaf in state])


class Compiled(NamedTuple):
    """The functions of a JaxEnvironment, compiled: for one lane, and for lanes side by side."""

    begin: Any
    advance: Any
    begin_all: Any
    advance_all: Any
    measure: Any  # state -> numbers by name
    measure_all: Any


_COMPILED: 'weakref.WeakKeyDictionary[Any, Compiled]' = weakref.WeakKeyDictionary()


def compiled(environment: JaxEnvironment) -> Compiled:
    """Compiles the functions of an environment, once for all its lanes.

    Raises: ValueError that names a leaf of its state that can't be saved.
    """
    if environment not in _COMPILED:
        if not isinstance(environment, Functional):  # a Functional has checked this
            key = jax.eval_shape(lambda: jax.random.key(0))
            check_storable('state', jax.eval_shape(environment.reset, key)[0])
        proxy = weakref.proxy(environment)
        first, then = functools.partial(begin, proxy), functools.partial(advance, proxy)
        measure = lambda state: proxy.measure(state) if hasattr(proxy, 'measure') else {}
        _COMPILED[environment] = Compiled(
            jax.jit(first),
            jax.jit(then),
            jax.jit(jax.vmap(first)),
            jax.jit(jax.vmap(then)),
            jax.jit(measure),
            jax.jit(jax.vmap(measure)),
        )
    return _COMPILED[environment]


def _like(template: Any, values: Any) -> Any:
    """Values as arrays of the template's dtypes, strongly typed."""
    return jax.tree_util.tree_map(lambda leaf, x: jnp.asarray(x, leaf.dtype), template, values)


def _to_dm_env(timestep: TimeStep) -> dm_env.TimeStep:
    step_type, reward, discount, observation = jax.tree_util.tree_map(np.asarray, timestep)
    if int(step_type) == FIRST:
        return dm_env.restart(observation)
    reward, discount = (
        jax.tree_util.tree_map(lambda leaf: leaf[()], each) for each in (reward, discount)
    )
    return dm_env.TimeStep(dm_env.StepType(int(step_type)), reward, discount, observation)
