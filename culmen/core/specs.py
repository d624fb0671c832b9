"""What an environment's steps look like, and checks of real steps against that."""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.core.types import LAST
from culmen.core.types import Array
from culmen.core.types import Nest


class EnvironmentSpec(NamedTuple):
    """Specs of one environment, without a batch axis: nests of `dm_env.specs.Array`."""

    observation: Any
    action: Any
    reward: Any
    discount: Any


class StackedArray(specs.BoundedArray):  # type: ignore[misc]
    """A spec of consecutive frames stacked on the last axis, oldest first.

    At FIRST every frame equals the first. A table may then store each frame once.
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
        """Args: num_frames: frames in a stack; divides the last axis. The rest as BoundedArray."""
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
    """Reads the specs of an environment. Scalar rewards and discounts become float32."""
    return EnvironmentSpec(
        observation=environment.observation_spec(),
        action=environment.action_spec(),
        reward=jax.tree_util.tree_map(_as_float32, environment.reward_spec()),
        discount=jax.tree_util.tree_map(_as_float32, environment.discount_spec()),
    )


def _as_float32(spec: specs.Array) -> specs.Array:
    return spec.replace(dtype=np.float32)


def unbounded(spec: specs.Array) -> specs.Array:
    """A spec of the same shape and dtype, whose values may be any."""
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
    """A nest of NumPy zeros of a spec's shapes and dtypes, with axes put in front."""
    return jax.tree_util.tree_map(lambda leaf: np.zeros(batch_shape + leaf.shape, leaf.dtype), spec)


def check_spec(spec: EnvironmentSpec) -> None:
    """Refuses specs of what no network and no table takes: complex numbers, texts, objects.

    Raises: ValueError that names the leaf and its dtype.
    """
    for name, nest in spec._asdict().items():
        for path, leaf in leaf_paths(nest, name):
            dtype = getattr(leaf, 'dtype', None)
            if dtype is None or not is_real(dtype):
                raise ValueError(
                    f'{path} must be of bools, integers or floats, got {dtype or type(leaf)} in its '
                    f'spec {leaf!r}.'
                )


def is_real(dtype: Any) -> bool:
    """Whether a dtype is of bools, integers or floats, those of JAX too."""
    return any(jnp.issubdtype(dtype, kind) for kind in (np.floating, np.integer, np.bool_))


def check_storable(what: str, nest: Nest) -> None:
    """Refuses what a checkpoint and a table can't hold among arrays, or their shapes and dtypes.

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


def validate_timestep(spec: EnvironmentSpec, timestep: dm_env.TimeStep) -> None:
    """Checks one unbatched time step of an environment against its spec.

    Observations are held to structure, shape and dtype; rewards and discounts to structure and
    shape (their floats are cast), to being finite, and discounts to [0, 1]. None is accepted for
    the reward and the discount of FIRST.

    Raises: ValueError that names the leaf, what the spec says and what came.
    """
    if int(timestep.step_type) not in (0, 1, LAST):
        raise ValueError(f'step_type must be FIRST, MID or LAST, got {timestep.step_type!r}.')
    _validate_nest('observation', spec.observation, timestep.observation, exact_dtype=True)
    for name in ('reward', 'discount'):
        value = getattr(timestep, name)
        if value is None:
            if not timestep.first():
                raise ValueError(f'{name} must be a number after FIRST, got None.')
            continue
        _validate_nest(name, getattr(spec, name), value, exact_dtype=False)
        for path, leaf in leaf_paths(value, name):
            if not np.all(np.isfinite(leaf)):
                raise ValueError(f'{path} must be finite, got {leaf}.')
            if name == 'discount' and not (np.all(leaf >= 0) and np.all(leaf <= 1)):
                raise ValueError(f'{path} must be in [0, 1], got {leaf}.')


def _validate_nest(name: str, spec: Any, value: Any, exact_dtype: bool) -> None:
    wanted = leaf_paths(spec, name)
    given = leaf_paths(value, name)
    if [path for path, _ in wanted] != [path for path, _ in given]:
        raise ValueError(
            f'{name} must have the leaves {[path for path, _ in wanted]} of its spec, '
            f'got {[path for path, _ in given]}.'
        )
    for (path, leaf_spec), (_, leaf) in zip(wanted, given, strict=True):
        array = np.asarray(leaf)
        if array.shape != tuple(leaf_spec.shape):
            raise ValueError(f'{path} must have shape {tuple(leaf_spec.shape)}, got {array.shape}.')
        if exact_dtype and array.dtype != leaf_spec.dtype:
            raise ValueError(f'{path} must have dtype {leaf_spec.dtype}, got {array.dtype}.')
        if not exact_dtype and array.dtype.kind not in 'fiub':
            raise ValueError(f'{path} must be a number, got {leaf!r}.')


def legal_actions(observation: Nest) -> Array | None:
    """The field `legal_actions` of an observation (bool[..., num_actions]), or None without one."""
    if isinstance(observation, Mapping):
        return observation.get('legal_actions')
    return getattr(observation, 'legal_actions', None)


def allowed_actions(observation: Nest) -> Array | None:
    """`legal_actions`; where none is legal, all actions: nothing is left to do, but something is chosen."""
    legal = legal_actions(observation)
    if legal is None:
        return None
    legal = jnp.asarray(legal, bool)
    return legal | ~jnp.any(legal, axis=-1, keepdims=True)


def without_legal_actions(observation: Nest) -> Nest:
    """An observation (or its spec) less its field `legal_actions`; a lone remaining field itself."""
    if legal_actions(observation) is None:
        return observation
    fields = dict(observation) if isinstance(observation, Mapping) else dict(observation._asdict())
    del fields['legal_actions']
    return next(iter(fields.values())) if len(fields) == 1 else fields
