"""What numbers the stream holds: rewards and discounts are float32, and JAX computes in 32 bits.

An adapter casts with `cast_exactly` and `as_float32`, which refuse values that the cast would change.
The loops check every time step against `bounds`. Nothing here depends on lanes.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.core.errors import SettingError

FLOAT32_MAX = float(np.finfo(np.float32).max)
# The types of real numbers, Python's and NumPy's.
NUMBERS = frozenset({float, int, bool, *(np.dtype(code).type for code in '?bhilqBHILQfd')})
_KINDS = 'biuf'
_INT32 = np.iinfo(np.int32)


class SpecError(SettingError):
    """A value that its spec or JAX can't represent."""


def bounds(dtype: Any) -> tuple[float, float] | None:
    """The least and the largest accepted value of a dtype; None: all values are accepted.

    Floats must be finite, also as float32. 64-bit and unsigned 32-bit integers must fit int32, which is how
    JAX holds them. Bools and smaller integers may have any value.
    """
    dtype = np.dtype(dtype)
    if jnp.issubdtype(dtype, np.floating):
        largest = float(jnp.finfo(dtype).max)  # type: ignore[no-untyped-call]
        largest = min(largest, FLOAT32_MAX)
        return -largest, largest
    if dtype.kind == 'i' and dtype.itemsize > 4:
        return _INT32.min, _INT32.max
    if dtype.kind == 'u' and dtype.itemsize >= 4:
        return 0, _INT32.max
    return None


def check_values(path: str, values: NDArray[Any], dtype: Any = None) -> None:
    """Checks the values of a leaf against `bounds`.

    Args: path: of the leaf, for the error. values: of any shape. dtype: of the bounds; None: of the values.
    Raises: SpecError that names the leaf, the first value that is out of bounds and its index.
    """
    accepted = bounds(values.dtype if dtype is None else dtype)
    if accepted is None or not values.size:
        return
    if values.dtype.kind == 'V':  # bfloat16 and its like, which NumPy does not order
        values = values.astype(np.float32)
    low, high = accepted
    if values.min() >= low and values.max() <= high:
        return
    at = tuple(np.argwhere(~((values >= low) & (values <= high)))[0].tolist())
    value = values[at]
    if values.dtype.kind != 'f':
        wanted = 'within int32, as JAX holds integers'
    elif np.isfinite(value):
        wanted = 'within float32, as JAX holds floats'
    else:
        wanted = 'finite'
    raise SpecError(f'{path} must be {wanted}, got {value}{_place(at)}.')


def cast_exactly(path: str, value: Any, dtype: Any) -> NDArray[Any]:
    """Copies a value into a new array of a dtype.

    Floats may be rounded to narrower floats, and integers to floats. No other change is accepted.

    Args: path: of the leaf, for the error. value: anything that NumPy turns into numbers.
    Raises: SpecError that names the leaf, the dtype and the first value that it can't hold.
    """
    try:
        array = np.array(value)
    except ValueError as error:
        raise SpecError(f'{path} must be an array of {np.dtype(dtype)}: {error}') from error
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in _KINDS:
        raise SpecError(f'{path} must be {np.dtype(dtype)}, got {value!r}.')
    with np.errstate(all='ignore'):
        cast = array.astype(dtype)
        if jnp.issubdtype(cast.dtype, np.floating):
            lost = np.isfinite(array) & ~np.isfinite(cast)
        else:  # casting back restores a wrapped integer, but its sign has changed
            lost = (cast.astype(array.dtype) != array) | ((cast < 0) != (array < 0))
    if lost.any():
        at = tuple(np.argwhere(lost)[0].tolist())
        raise SpecError(
            f'{path} must be {cast.dtype}, as its spec has it, which can not hold '
            f'{array[at]}{_place(at)}.'
        )
    return cast


def as_float32(name: str, value: Any) -> Any:
    """Casts a reward or a discount of any real dtype to np.float32 (a scalar or an array).

    Raises: SpecError that names it, if it is not a number, not finite, or beyond float32.
    """
    if type(value) in NUMBERS and -FLOAT32_MAX <= value <= FLOAT32_MAX:
        return np.float32(value)
    array = np.asarray(value)
    if array.dtype.kind not in _KINDS:
        raise SpecError(f'{name} must be a number, got {value!r}.')
    if array.dtype.kind == 'f':
        check_values(name, array)
    return array.astype(np.float32)[()]


def _place(at: tuple[int, ...]) -> str:
    return f' at {list(at)}' if at else ''
