"""Saving environments in the middle of an episode, bit for bit.

The protocol is two methods: `get_state()` returns something that pickles and shares no memory with
the environment; `set_state(state)` puts it into a freshly built environment of the same name,
arguments and seed, which then goes on as the saved one would have. An environment without these
methods is not restorable, and one that has them may still declare that it is not (`restorable = False`).
"""

import io
import pickle
import sys
import types
from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np


def layers_of(environment: Any, kind: type) -> list[Any]:
    """An environment and those that it holds as attributes, wrapped or not, outermost first.

    Args: kind: what counts as an environment: gymnasium.Env.
    """
    layers = [environment]
    for layer in layers:  # which grows
        for value in vars(layer).values():
            if isinstance(value, kind) and not any(value is each for each in layers):
                layers.append(value)
    return layers


def is_restorable(environment: dm_env.Environment) -> bool:
    """Whether an environment can be saved in mid-episode and go on with the same bits."""
    has_methods = all(
        callable(getattr(environment, name, None)) for name in ('get_state', 'set_state')
    )
    return has_methods and bool(getattr(environment, 'restorable', True))


def capture(layers: Sequence[object]) -> object:
    """Pickles the attributes of some objects, except for what fresh objects have anyway.

    References to the objects, and to their functions, emulators and renderers, are kept as
    references, and found again in the fresh objects. A plain copy would fail for a lambda that holds
    the old object, or for a class that pickles as a call of its constructor.

    Args: layers: an environment and the environments that it holds, outermost first.
    Returns: bytes, and the states of emulators that live outside Python.
    Raises: TypeError, AttributeError or pickle.PicklingError where some attribute can't be copied.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, layers).dump([vars(layer) for layer in layers])
    emulators = {
        id(value): (index, name, value)
        for index, layer in reversed(list(enumerate(layers)))
        for name, value in vars(layer).items()
        if _is_emulator(value)
    }
    outside = [(index, name, _emulator_state(value)) for index, name, value in emulators.values()]
    return buffer.getvalue(), outside


def restore(layers: Sequence[object], state: Any) -> None:
    """Puts what `capture` returned into fresh objects of the same classes."""
    attributes, outside = state
    # Everything is read before anything changes: references are resolved through the fresh attributes.
    loaded = _Unpickler(io.BytesIO(attributes), layers).load()
    for layer, values in zip(layers, loaded, strict=True):
        vars(layer).clear()
        vars(layer).update(values)
    for index, name, value in outside:
        _set_emulator_state(layers[index], name, value)


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, layers: Sequence[object]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._known = {id(layer): ('layer', index) for index, layer in enumerate(layers)}
        for index, layer in enumerate(layers):
            for name, value in vars(layer).items():
                if _is_fixture(value) or _is_memory_of_mujoco(value, layer):
                    self._known.setdefault(id(value), ('attribute', index, name))  # type: ignore[arg-type]
        gymnasium = sys.modules.get('gymnasium')
        self._constructed = () if gymnasium is None else (gymnasium.utils.EzPickle,)

    def persistent_id(self, obj: Any) -> Any:
        known = self._known.get(id(obj))
        if known is not None:
            return known
        if type(obj).__module__.startswith('pygame'):
            return ('nothing',)  # windows and surfaces are made again for the next picture
        if self._constructed and isinstance(obj, self._constructed):
            raise pickle.PicklingError(f'{type(obj).__name__} pickles as a call of its constructor')
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, layers: Sequence[object]) -> None:
        super().__init__(file)
        self._layers = layers

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == 'nothing':
            return None
        layer = self._layers[pid[1]]
        return layer if pid[0] == 'layer' else vars(layer)[pid[2]]


_FIXED_MODULES = (
    'mujoco',
    'ale_py',
    'gymnasium.envs.mujoco.mujoco_rendering',
    'gymnasium.envs.registration',
)


def _is_fixture(value: object) -> bool:
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.ModuleType)):
        return True
    return type(value).__module__.startswith(_FIXED_MODULES)


def _is_emulator(value: object) -> bool:
    return type(value).__name__ in ('MjData', 'ALEInterface') and _is_fixture(value)


def _is_memory_of_mujoco(value: object, layer: object) -> bool:
    """Whether an attribute is no array of its own, but shows a field of the MjData beside it."""
    if type(getattr(value, 'base', None)).__name__ != 'PyCapsule':
        return False
    data = next((each for each in vars(layer).values() if type(each).__name__ == 'MjData'), None)
    fields = [] if data is None else [getattr(data, name, None) for name in ('qpos', 'qvel')]
    return any(field is not None and np.may_share_memory(value, field) for field in fields)


def _emulator_state(value: Any) -> bytes:
    if type(value).__name__ == 'ALEInterface':
        return bytes(value.cloneState(include_rng=True).serialize())
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def _set_emulator_state(layer: Any, name: str, state: bytes) -> None:
    value = getattr(layer, name)
    if type(value).__name__ == 'ALEInterface':
        import ale_py

        value.restoreState(ale_py.ALEState(state))
    else:
        import mujoco

        saved = pickle.loads(state)
        _copy_arrays(saved.model, value.model)
        # mj_setState is not exact for every model; a copy of all of MjData is.
        mujoco.mj_copyData(value, value.model, saved)


def _copy_arrays(source: Any, target: Any) -> None:
    """Copies what differs in a model: some environments draw masses or places anew each episode."""
    for name in dir(source):
        value = None if name.startswith('_') else getattr(source, name)
        if isinstance(value, np.ndarray):
            now = getattr(target, name)
            if not np.array_equal(now, value, equal_nan=value.dtype.kind == 'f'):
                now[...] = value
