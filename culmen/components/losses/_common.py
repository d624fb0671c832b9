"""What all losses share: checks of inputs, the switch of gradients, masks and lengths.

Private to this folder. The checks read shapes and dtypes only, so they leave no operation in a
compiled loss.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Numeric = jax.Array | float

_KINDS = {
    'float': 'a floating-point number',
    'real': 'a real number',
    'int': 'an integer',
    'bool': 'a boolean',
    'mask': 'a boolean or a real number',
}


class _Wanted(NamedTuple):
    name: str
    ranks: tuple[int, ...]
    axes: tuple[tuple[str, int], ...]  # A letter and what is added to it: T+1 is ('T', 1).
    kind: str
    text: str


@functools.cache
def _parse(spec: str) -> tuple[_Wanted, ...]:
    """Parses 'values[T+1] lambda_[T?]:real a_t[T]:int' into the requirements of each argument."""
    wanted = []
    for word in spec.split():
        match = re.fullmatch(r'(\w+)\[([^\]]*)\](?::(\w+))?', word)
        assert match is not None, word
        name, inside, kind = match.groups()
        axes = []
        for axis in inside.rstrip('?').split(',') if inside else ():
            letter, added = re.fullmatch(r'([A-Z]\'?|\d+)([+-]\d+)?', axis).groups()  # type: ignore
            axes.append((letter, int(added or 0)))
        ranks = (0, len(axes)) if inside.endswith('?') else (len(axes),)
        text = f'[{inside.rstrip("?")}]' if inside else 'a scalar'
        text = f'a scalar or {text}' if inside.endswith('?') else text
        wanted.append(_Wanted(name, ranks, tuple(axes), kind or 'float', text))
    return tuple(wanted)


def _is_kind(dtype: Any, kind: str) -> bool:
    if kind == 'float':
        return jnp.issubdtype(dtype, jnp.floating)
    if kind == 'int':
        return jnp.issubdtype(dtype, jnp.integer)
    if kind == 'bool':
        return jnp.issubdtype(dtype, jnp.bool_)
    real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    return real or (kind == 'mask' and jnp.issubdtype(dtype, jnp.bool_))


def check(spec: str, *values: Any) -> list[Array]:
    """Returns `values` as arrays, or refuses the first that does not fit `spec`.

    A word of the spec is an argument: its name, its axes in brackets, its kind after a colon.
    Without one it is float: gradients are to flow to it, and none flow to integers. Integers for
    a real become floats. Equal letters must have equal lengths; `T+1` is one longer than `T`;
    `T?` is an axis that a scalar may stand in for.

    Example:
        >>> check('r_t[T] a_t[T]:int', jnp.zeros(3), jnp.zeros(2, int))
        Traceback (most recent call last):
        ...
        ValueError: a_t must have shape [T] with T = 3, got shape (2,)
    """
    sizes: dict[str, int] = {}
    arrays = []
    for wanted, value in zip(_parse(spec), values, strict=True):
        array = value if isinstance(value, jax.Array) else jnp.asarray(value)
        if array.ndim not in wanted.ranks:
            ranks = ' or '.join(str(rank) for rank in wanted.ranks)
            raise ValueError(
                f'{wanted.name} must have rank {ranks} ({wanted.text}), got shape {array.shape}'
            )
        if not _is_kind(array.dtype, wanted.kind):
            raise ValueError(f'{wanted.name} must be {_KINDS[wanted.kind]}, got {array.dtype}')
        for size, (letter, added) in zip(array.shape, wanted.axes):
            expected = int(letter) if letter.isdigit() else sizes.setdefault(letter, size - added)
            if size != expected + added or size < 0 or expected < 0:
                where = '' if letter.isdigit() else f' with {letter} = {expected}'
                raise ValueError(
                    f'{wanted.name} must have shape {wanted.text}{where}, got shape {array.shape}'
                )
        arrays.append(array)
    kinds = [wanted.kind for wanted in _parse(spec)]
    return _as_floats(arrays, [kind == 'real' for kind in kinds])


def _as_floats(arrays: Sequence[Array], chosen: Sequence[bool]) -> list[Array]:
    """Casts the chosen arrays, if they hold integers, to the floats of the others."""
    floats = [array for array in arrays if jnp.issubdtype(array.dtype, jnp.floating)]
    return [
        array.astype(jnp.result_type(*floats) if floats else float)
        if here and jnp.issubdtype(array.dtype, jnp.integer)
        else array
        for array, here in zip(arrays, chosen, strict=True)
    ]


def check_numbers(**arguments: Any) -> list[Array]:
    """Returns the arguments as floats of any shape, or refuses the first that has no real numbers."""
    arrays = [jnp.asarray(value) for value in arguments.values()]
    for name, array in zip(arguments, arrays):
        if not _is_kind(array.dtype, 'real'):
            raise ValueError(f'{name} must be {_KINDS["real"]}, got {array.dtype}')
    return _as_floats(arrays, [True] * len(arrays))


def check_floats(**arguments: Any) -> list[Array]:
    """Returns the arguments as arrays of any shape, or refuses the first that has no floats."""
    arrays = []
    for name, value in arguments.items():
        array = value if isinstance(value, jax.Array) else jnp.asarray(value)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f'{name} must be {_KINDS["float"]}, got {array.dtype}')
        arrays.append(array)
    return arrays


def stop_gradient_if(switch: Array | bool, x: Array) -> Array:
    """Returns x, and stops its gradient where the switch (which may be traced) is true."""
    if isinstance(switch, bool):
        return jax.lax.stop_gradient(x) if switch else x
    return jnp.where(switch, jax.lax.stop_gradient(x), x)


def stop_target_if(switch: Array | bool, errors: Array, predictions: Array) -> Array:
    """Returns errors; where the switch is true, their targets (errors + predictions) get no gradient."""
    if isinstance(switch, bool) and not switch:
        return errors
    stopped = jax.lax.stop_gradient(errors + predictions) - predictions
    return stopped if isinstance(switch, bool) else jnp.where(switch, stopped, errors)


def as_mask(mask: Any, sequence_lengths: Any, length: int, name: str = 'mask') -> Array | None:
    """Joins a mask [T] and a number of steps into one boolean mask; None if all count."""
    if mask is not None:
        [mask] = check(f'{name}[T]:mask', mask)
        if mask.shape != (length,):
            raise ValueError(
                f'{name} must have shape [T] with T = {length}, got shape {mask.shape}'
            )
        mask = mask != 0
    if sequence_lengths is not None:
        [sequence_lengths] = check('sequence_lengths[]:int', sequence_lengths)
        valid = jnp.arange(length) < sequence_lengths
        mask = valid if mask is None else mask & valid
    result: Array | None = mask
    return result


def zero_masked(valid: Array | None, *sequences: Array) -> tuple[Array, ...]:
    """Replaces masked steps of the sequences by 0, so that their values have no effect."""
    if valid is None:
        return sequences
    return tuple(jnp.where(valid, x, 0) for x in sequences)


def cut_before_masked(valid: Array | None, lambda_: Array) -> Array:
    """Sets lambda to 0 at masked steps, and at steps before a masked one."""
    if valid is None:
        return lambda_
    next_valid = jnp.concatenate([valid[1:], jnp.ones_like(valid[:1])])
    return jnp.where(valid & next_valid, lambda_, 0)
