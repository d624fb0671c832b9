"""Named numbers of an environment beside its reward (success, distance, lives), logged by episode.

A dm_env environment has two methods for them. `metrics()` gives the numbers of the last time step by name.
`metric_names()` says which are logged, and how those of an episode become one: 'success' and 'success:last'
are the last of them, 'distance:mean' is the mean over the episode's steps (time steps that are not FIRST).

An environment written in JAX has `metric_names()` too, and `measure(state)` in place of `metrics()`: the
numbers, scalars by name, of the time step that came with a state.
"""

from collections.abc import Iterable
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import get_args

import jax
import numpy as np

from culmen.core.environments import JaxEnvironment
from culmen.core.errors import SettingError
from culmen.core.specs import is_real

Reduction = Literal['last', 'mean']


class Metric(NamedTuple):
    """A number of an environment, as a log has it."""

    name: str  # as the environment calls it
    reduction: Reduction = 'last'

    @property
    def column(self) -> str:
        """The name of its column: 'success', 'distance:mean'."""
        return self.name if self.reduction == 'last' else f'{self.name}:{self.reduction}'


def read_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """Reads names such as 'success', 'success:last' and 'distance:mean'; repeated ones count once.

    Raises: SettingError that names one which a log can't have.
    """
    return tuple(dict.fromkeys(map(_read, names)))


def _read(text: str) -> Metric:
    name, colon, reduction = text.partition(':') if isinstance(text, str) else ('', '', '')
    if not name or any(character in text for character in ',"\r\n'):
        raise SettingError(
            f"metrics must be names without commas and quotes, as 'success' or 'distance:mean', got "
            f'{text!r}.'
        )
    if not colon:
        return Metric(name)
    for known in get_args(Reduction):
        if reduction == known:
            return Metric(name, known)
    raise SettingError(
        f"metrics must end in ':last' or ':mean' where they have a colon, got {text!r}."
    )


def metrics_of(environment: Any) -> tuple[Metric, ...]:
    """What an environment, of dm_env or written in JAX, has logged; () without a method `metric_names`.

    Raises: SettingError that names a name which a log can't have.
    """
    names = getattr(environment, 'metric_names', None)
    return read_metrics(names()) if callable(names) else ()


def measured_names(environment: JaxEnvironment) -> list[str]:
    """The names of an environment's numbers. Raises: ValueError that names one which is no real scalar."""
    measure = getattr(environment, 'measure', None)
    if measure is None:
        return []
    state = jax.eval_shape(environment.reset, jax.eval_shape(lambda: jax.random.key(0)))[0]
    numbers = jax.eval_shape(measure, state)
    for name, number in numbers.items():
        if number.shape != () or not is_real(number.dtype):
            raise ValueError(
                f'the number {name} of an environment must be a real scalar, got '
                f'{number.dtype}{list(number.shape)}.'
            )
    return list(numbers)


def is_number(value: Any) -> bool:
    """Whether a value is one real number: of Python, of NumPy or of JAX, a bool too."""
    dtype = getattr(value, 'dtype', None)
    if dtype is None:
        return isinstance(value, bool | int | float)
    return np.shape(value) == () and is_real(dtype)
