"""What a log and a sink are, and the columns of Culmen's own logs."""

from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Protocol

Row = Mapping[str, float]

# The columns known before anything is traced; a learner's metrics join its own then. A column of
# time has 'time' or 'second' in its name: all others repeat from run to run.
COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        'actor': (
            'actor_steps',
            'learner_steps',
            'episode_return',
            'episode_length',
            'steps_per_second',
        ),
        'learner': ('actor_steps', 'learner_steps', 'loss'),
        'evaluator': (
            'actor_steps',
            'learner_steps',
            'episode_return',
            'episode_length',
            'episode_return_std',
            'episodes',
            'truncations',
        ),
    }
)


def columns_of(reward_names: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """COLUMNS by label, with those of each number of a nest of rewards; `episode_return` is their sum."""
    actor = [f'episode_return/{name}' for name in reward_names]
    stds = [f'episode_return_std/{name}' for name in reward_names]
    return {
        **COLUMNS,
        'actor': (*COLUMNS['actor'], *actor),
        'evaluator': (*COLUMNS['evaluator'], *actor, *stds),
    }


def steps_of(row: Row) -> int:
    """Where a row stands in a run: at its actor steps, or at its learner steps where nobody acts."""
    return int(row.get('actor_steps') or row.get('learner_steps') or 0)


class Sink(Protocol):
    """Takes the rows of every label: TensorBoard, or what a user brings.

    A sink may also have `resume(steps)`, called where a run goes on: rows of later steps (`steps_of`)
    that it was given before are void.
    """

    def write(self, label: str, row: Row) -> None:
        """Takes a row of the log `label`."""
        ...

    def flush(self) -> None:
        """Writes what is held back; a checkpoint follows."""
        ...

    def close(self) -> None:
        """Writes what is held back and lets go of everything."""
        ...


def check_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Column names as a tuple. Raises: ValueError for a name that a header can't hold plainly."""
    for name in columns:
        if not name or any(character in name for character in ',"\r\n'):
            raise ValueError(f'a column must have a name without commas and quotes, got {name!r}.')
    if len(set(columns)) != len(columns):
        raise ValueError(f'columns must differ from each other, got {list(columns)}.')
    return tuple(columns)


def unknown_columns(where: str, row: Row, columns: Sequence[str]) -> ValueError:
    """The error for a row with columns that the header has not."""
    unknown = [name for name in row if name not in columns]
    return ValueError(f'{where} has the columns {list(columns)}, got a row with {unknown} too.')


def widened(columns: Sequence[str], row: Row) -> tuple[str, ...]:
    """A header that takes a row: the first row of a log settles it."""
    return (*columns, *(name for name in row if name not in columns))
