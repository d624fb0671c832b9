"""The interfaces of logs and sinks, and the columns of Culmen's own logs."""

from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Protocol

Row = Mapping[str, float | str]  # the column `environment` is text, all others are numbers

# A column of this name is filled by `Logs`: the seconds of wall clock that the run had taken.
SECONDS = 'seconds'

# The columns known before tracing, which adds a learner's metrics to its own. Names with 'time' or
# 'second' mark columns of time; all other columns are the same when a run is repeated.
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


def columns_of(
    reward_names: Sequence[str] = (),
    metric_names: Sequence[str] = (),
    *,
    has_environments: bool = False,
) -> dict[str, tuple[str, ...]]:
    """COLUMNS by label, with one for each number in a nest of rewards; `episode_return` is their sum.

    Args:
        metric_names: further columns of the actors and the evaluator, one for each named number of the
            environment.
        has_environments: whether they have a column `environment`, since there are several.
    Raises: ValueError that names one of them which is a column already.
    """
    actor = [f'episode_return/{name}' for name in reward_names]
    stds = [f'episode_return_std/{name}' for name in reward_names]
    columns = {
        **COLUMNS,
        'actor': (*COLUMNS['actor'], *actor),
        'evaluator': (*COLUMNS['evaluator'], *actor, *stds),
    }
    for name in metric_names:
        if name in (*columns['actor'], *columns['evaluator'], 'environment', SECONDS):
            raise ValueError(f'metrics must not be named as columns of the logs are, got {name!r}.')
    for label in ('actor', 'evaluator'):
        named = ('environment',) if has_environments else ()
        columns[label] = (*columns[label], *named, *metric_names)
    columns['evaluator'] = (*columns['evaluator'], SECONDS)
    return columns


def steps_of(row: Row) -> int:
    """The position of a row in its run: its actor steps or, in a run without actors, its learner steps."""
    return int(row.get('actor_steps') or row.get('learner_steps') or 0)


class Sink(Protocol):
    """Receives the rows of every label: TensorBoard, or a user's own sink.

    A sink may also have `resume(steps)`, called when a run resumes: rows of later steps (`steps_of`) that
    it received before are void.
    """

    def write(self, label: str, row: Row) -> None:
        """Receives a row of the log `label`."""
        ...

    def flush(self) -> None:
        """Writes all rows it still holds, before a checkpoint."""
        ...

    def close(self) -> None:
        """Writes all rows it still holds, and releases its resources."""
        ...


def check_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Column names as a tuple. Raises: ValueError for a name that would need quotes in a header."""
    for name in columns:
        if not name or any(character in name for character in ',"\r\n'):
            raise ValueError(f'a column must have a name without commas and quotes, got {name!r}.')
    if len(set(columns)) != len(columns):
        raise ValueError(f'columns must differ from each other, got {list(columns)}.')
    return tuple(columns)


def unknown_columns(where: str, row: Row, columns: Sequence[str]) -> ValueError:
    """The error for a row with columns that are not in the header."""
    unknown = [name for name in row if name not in columns]
    return ValueError(f'{where} has the columns {list(columns)}, got a row with {unknown} too.')


def widened(columns: Sequence[str], row: Row) -> tuple[str, ...]:
    """A header extended by the columns of a row; the first row of a log fixes its header."""
    return (*columns, *(name for name in row if name not in columns))
