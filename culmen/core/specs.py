"""The specs of an environment's time steps and actions, and checks of real values against them."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.core.environments import JaxEnvironment
from culmen.core.environments import model_of
from culmen.core.errors import SettingError
from culmen.core.goals import Goals
from culmen.core.goals import goals_of
from culmen.core.ranges import SpecError
from culmen.core.ranges import as_float32
from culmen.core.ranges import check_values
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import TimeStep

REWARD = specs.Array((), np.float32, 'reward')
DISCOUNT = specs.BoundedArray((), np.float32, 0.0, 1.0, 'discount')


class EnvironmentSpec(NamedTuple):
    """Specs of one environment, without a batch axis: nests of `dm_env.specs.Array`."""

    observation: Any
    action: Any
    reward: Any
    discount: Any
    # The environment itself, for agents that search or plan; None where it is not written in JAX.
    model: JaxEnvironment | None = None
    # The reward as a function of goals (culmen.core.goals); None where the observation has none.
    goals: Goals | None = None
    # Environments that the lanes of a run share: lane i has task i modulo this number.
    num_tasks: int = 1

    @property
    def has_functions(self) -> bool:
        """Whether it holds functions of its environment, which do not pickle."""
        return self.model is not None or self.goals is not None

    def without_functions(self) -> 'EnvironmentSpec':
        """The specs alone, without the model and the goals."""
        return self._replace(model=None, goals=None)

    def nests(self) -> dict[str, Any]:
        """The nests of specs by name, without its functions."""
        return {
            'observation': self.observation,
            'action': self.action,
            'reward': self.reward,
            'discount': self.discount,
        }


class StackedArray(specs.BoundedArray):  # type: ignore[misc]
    """A spec of consecutive frames stacked on the last axis, oldest first.

    At FIRST all frames of the stack are equal. This lets a table store each frame only once.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        minimum: Any,
        maximum: Any,
        num_frames: int,
        name: str | None = None,
    ) -> None:
        """Args: num_frames: frames in a stack; divides the last axis. Others: as for BoundedArray."""
        super().__init__(shape=shape, dtype=dtype, minimum=minimum, maximum=maximum, name=name)
        if num_frames < 1 or self.shape[-1] % num_frames:
            raise ValueError(
                f'num_frames must divide the last axis of {self.shape}, got {num_frames}.'
            )
        self._num_frames = num_frames

    @property
    def num_frames(self) -> int:
        """Frames in a stack."""
        return self._num_frames

    def __repr__(self) -> str:
        return f'Stacked{super().__repr__()[len("Bounded") : -1]}, num_frames={self._num_frames})'

    def __reduce__(self) -> Any:
        return StackedArray, (
            self.shape,
            self.dtype,
            self.minimum,
            self.maximum,
            self._num_frames,
            self.name,
        )


def make_environment_spec(environment: dm_env.Environment) -> EnvironmentSpec:
    """Reads the specs of an environment, its model and its goals. Rewards and discounts become float32.

    Raises: SettingError that names a path if two leaves share it.
    """
    spec = EnvironmentSpec(
        observation=environment.observation_spec(),
        action=environment.action_spec(),
        reward=in_float32(environment.reward_spec()),
        discount=in_float32(environment.discount_spec()),
        model=model_of(environment),
        goals=goals_of(environment),
    )
    for name, nest in spec.nests().items():
        check_paths([path for path, _ in leaf_paths(nest, name)])
    return spec


def in_float32(spec: Any) -> Any:
    """The spec of rewards or of discounts, a nest, in float32."""
    return jax.tree_util.tree_map(lambda leaf: leaf.replace(dtype=np.float32), spec)


def check_paths(paths: list[str]) -> None:
    """Raises a SettingError if two leaves share a path, as 'a/b' and {'a': {'b': ...}} do."""
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise SettingError(f'{twice[0]} is the path of two leaves; rename one of their keys.')


def unbounded(spec: specs.Array) -> specs.Array:
    """A spec of the same shape and dtype that accepts any values."""
    return specs.Array(spec.shape, spec.dtype, spec.name)


def leaf_paths(nest: Nest, prefix: str = '') -> list[tuple[str, Any]]:
    """The leaves of a nest with their paths, joined by '/': [('observation/pixels', leaf), ...]."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(nest)
    parts = [prefix] if prefix else []
    return [('/'.join(parts + [_key_name(key) for key in path]), leaf) for path, leaf in leaves]


def _key_name(key: Any) -> str:
    for attribute in ('key', 'name', 'idx'):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def shape_dtypes(spec: Any) -> Any:
    """A nest of specs as a nest of `jax.ShapeDtypeStruct`."""
    make: Any = jax.ShapeDtypeStruct
    return jax.tree_util.tree_map(lambda leaf: make(leaf.shape, leaf.dtype), spec)


def zeros_like(spec: Any, batch_shape: tuple[int, ...] = ()) -> Nest:
    """NumPy zeros of a spec's shapes and dtypes, with batch axes in front."""
    return jax.tree_util.tree_map(lambda leaf: np.zeros(batch_shape + leaf.shape, leaf.dtype), spec)


def first_timestep(spec: EnvironmentSpec, num_lanes: int) -> TimeStep:
    """A time step of zeros at FIRST, NumPy leaves [num_lanes, ...]: an example of shapes and dtypes."""
    nests = (spec.reward, spec.discount, spec.observation)
    return TimeStep(
        np.full(num_lanes, FIRST, np.int32), *(zeros_like(nest, (num_lanes,)) for nest in nests)
    )


def check_spec(spec: EnvironmentSpec) -> None:
    """Refuses dtypes that networks and tables can't handle: complex numbers, text, objects.

    Raises: ValueError that names the leaf and its dtype.
    """
    for name, nest in spec.nests().items():
        for path, leaf in leaf_paths(nest, name):
            dtype = getattr(leaf, 'dtype', None)
            if dtype is None or not is_real(dtype):
                raise ValueError(
                    f'{path} must be of bools, integers or floats, got {dtype or type(leaf)} in its '
                    f'spec {leaf!r}.'
                )


def is_real(dtype: Any) -> bool:
    """Whether a dtype is a bool, integer or float type, including JAX's own such as bfloat16."""
    return any(jnp.issubdtype(dtype, kind) for kind in (np.floating, np.integer, np.bool_))


def check_storable(what: str, nest: Nest) -> None:
    """Refuses arrays that a checkpoint or a table can't hold: typed PRNG keys.

    Args:
        what: names the nest in the error: 'training_state'.
        nest: of arrays or `jax.ShapeDtypeStruct`s.
    Raises: ValueError that names the first leaf that is a typed PRNG key.
    """
    for path, leaf in leaf_paths(nest, what):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            raise ValueError(
                f'{path} must be a plain array, got a typed PRNG key ({leaf.dtype}), which can not be '
                f'stored: keep jax.random.key_data(key), and make the key of it where it is used, '
                f'with jax.random.wrap_key_data.'
            )


def conform(name: str, spec: Any, value: Nest) -> Nest:
    """Rebuilds a nest with the containers of its spec. Mappings match by keys, sequences by length.

    So an OrderedDict in another order matches a dict of the spec, and a list matches a tuple.

    Args: name: of the nest, for the error. spec: a nest. value: a nest with leaves of any kind.
    Raises: SpecError that names the leaves of both, if they do not match.
    """
    structure = jax.tree_util.tree_structure(spec)
    try:
        return structure.unflatten(structure.flatten_up_to(_conform(spec, value)))
    except (LookupError, ValueError):
        wanted, given = ([path for path, _ in leaf_paths(nest, name)] for nest in (spec, value))
        if wanted == given:  # they differ in something that paths do not show
            wanted, given = str(structure), str(jax.tree_util.tree_structure(value))  # type: ignore[assignment]
        raise SpecError(f'{name} must have the leaves {wanted} of its spec, got {given}.') from None


def _conform(spec: Any, value: Any) -> Any:
    if isinstance(spec, Mapping):
        if not isinstance(value, Mapping) or set(spec) != set(value):
            raise LookupError
        inner = {key: _conform(leaf, value[key]) for key, leaf in spec.items()}
        return OrderedDict(inner) if isinstance(spec, OrderedDict) else inner
    if isinstance(spec, tuple | list):
        fields = getattr(spec, '_fields', None)
        if not isinstance(value, tuple | list) or len(spec) != len(value):
            raise LookupError
        if fields is not None and getattr(value, '_fields', fields) != fields:
            raise LookupError
        parts = [_conform(leaf, each) for leaf, each in zip(spec, value, strict=True)]
        if fields is not None:
            return type(spec)(*parts)
        return parts if isinstance(spec, list) else tuple(parts)
    if isinstance(value, Mapping):
        raise LookupError
    return value


def validate_timestep(spec: EnvironmentSpec, timestep: dm_env.TimeStep) -> None:
    """Checks one unbatched time step of an environment against its spec.

    Observations must have the structure, shapes and dtypes of the spec (a scalar float may be any number),
    and values that JAX can hold: floats finite, also as float32, and integers within int32. Rewards and
    discounts must have the structure and shapes of the spec and be numbers that float32 holds; discounts
    must lie in [0, 1]. At FIRST both may be None.

    Raises: SpecError (a ValueError) that names the leaf, what the spec says and the value.
    """
    if not is_step_type(timestep.step_type):
        raise SpecError(f'step_type must be FIRST, MID or LAST, got {timestep.step_type!r}.')
    for path, leaf_spec, leaf in _leaves('observation', spec.observation, timestep.observation):
        array = np.asarray(leaf)
        if array.dtype != leaf_spec.dtype and not (
            takes_any_number(leaf_spec) and array.dtype.kind in 'biuf'
        ):
            raise SpecError(f'{path} must have dtype {leaf_spec.dtype}, got {array.dtype}.')
        check_values(path, array, leaf_spec.dtype)
    for name in ('reward', 'discount'):
        value = getattr(timestep, name)
        if value is None:
            if int(timestep.step_type) != 0:
                raise SpecError(f'{name} must be a number after FIRST, got None.')
            continue
        for path, _, leaf in _leaves(name, getattr(spec, name), value):
            as_float32(path, leaf)
            if name == 'discount' and not 0 <= np.min(leaf) <= np.max(leaf) <= 1:
                raise SpecError(f'{path} must be in [0, 1], got {leaf}.')


def integer_range(spec: specs.Array) -> tuple[Any, Any] | None:
    """The least and the largest integer of a leaf (arrays if they vary within it); None for floats."""
    if spec.dtype.kind not in 'biu':
        return None
    if isinstance(spec, specs.BoundedArray):
        low, high = spec.minimum, spec.maximum
        return (low.item(), high.item()) if low.size == high.size == 1 else (low, high)
    if spec.dtype.kind == 'b':
        return 0, 1
    return np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max


def check_action(spec: Any, action: Nest) -> None:
    """Raises a SpecError if the action of one lane has an integer out of range."""
    leaves = jax.tree_util.tree_structure(spec).flatten_up_to(conform('action', spec, action))
    for (path, leaf), value in zip(leaf_paths(spec, 'action'), leaves, strict=True):
        accepted = integer_range(leaf)
        if accepted is None:
            continue
        array = np.asarray(value)
        if (
            array.dtype.kind not in 'biu'
            or (array < accepted[0]).any()
            or (array > accepted[1]).any()
        ):
            raise SpecError(
                f'{path} must be in [{accepted[0]}, {accepted[1]}], in {leaf.dtype}, got {value}.'
            )


def is_step_type(value: Any) -> bool:
    """Whether a value is FIRST, MID or LAST, as a dm_env.StepType or as a plain integer."""
    return bool(np.shape(value) == () and value in (0, 1, LAST))


def takes_any_number(spec: specs.Array) -> bool:
    """Whether a leaf of an observation accepts Python and NumPy numbers of any type."""
    return bool(spec.dtype.kind == 'f' and spec.shape == ())


def _leaves(name: str, spec: Any, value: Nest) -> list[tuple[str, Any, Any]]:
    """The leaves of a nest as (path, spec, value), after checking its structure and shapes."""
    wanted = leaf_paths(spec, name)
    given = jax.tree_util.tree_structure(spec).flatten_up_to(conform(name, spec, value))
    for (path, leaf_spec), leaf in zip(wanted, given, strict=True):
        shape = np.asarray(leaf).shape
        if shape != tuple(leaf_spec.shape):
            raise SpecError(f'{path} must have shape {tuple(leaf_spec.shape)}, got {shape}.')
    return [(path, spec, leaf) for (path, spec), leaf in zip(wanted, given, strict=True)]


def legal_actions(observation: Nest) -> Any:
    """The field `legal_actions` of an observation or of its spec; None without one.

    bool[..., num_actions] where the action is one choice; a nest of masks where it has several leaves
    (`culmen.core.actions`). Where players have observations of their own, a dict of their fields by player.
    """
    if not isinstance(observation, Mapping):
        return getattr(observation, 'legal_actions', None)
    if 'legal_actions' in observation:
        return observation['legal_actions']
    of_players = {
        name: legal_actions(each) for name, each in observation.items() if isinstance(each, Mapping)
    }
    return {name: mask for name, mask in of_players.items() if mask is not None} or None


def allowed_actions(observation: Nest) -> Array | None:
    """`legal_actions` of one choice, but all where none is legal: a policy has to choose something."""
    given = legal_actions(observation)
    if given is None:
        return None
    legal = jnp.asarray(given, bool)
    return legal | ~jnp.any(legal, axis=-1, keepdims=True)


def without_legal_actions(observation: Nest) -> Nest:
    """An observation (or its spec) without `legal_actions`; if one field remains, that field itself."""
    if legal_actions(observation) is None:
        return observation
    fields = dict(observation) if isinstance(observation, Mapping) else dict(observation._asdict())
    if 'legal_actions' not in fields:
        return {name: without_legal_actions(each) for name, each in fields.items()}
    del fields['legal_actions']
    return next(iter(fields.values())) if len(fields) == 1 else fields
