"""How old the windows of a table may get in a run, and what the run has to keep to for it.

The bounds are `Queue.max_staleness` and `Replay.max_lag`. `check_experience` refuses a run that breaks them.
"""

from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.experience import places_of_rules
from culmen.core.experience import table_label
from culmen.core.experience import tables


def windows_at_once(window: Window) -> int:
    """The most windows that are open at a time in a lane: those that begin before the first one ends."""
    return -(-window.length // window.period)


def waits_at_first(queue: Queue, num_lanes: int) -> bool:
    """Whether lanes wait before their episodes so that windows keep to `max_staleness`.

    Windows that cross episodes are drawn in order of their numbers, and a lane waits at the start of its
    window. Windows within episodes of several lanes are drawn as they arrive.

    Args: num_lanes: of the whole run.
    """
    bounded = queue.max_staleness is not None
    return bounded and not queue.window.cross_episodes and num_lanes > 1


def check_experience(experience: Experience, num_lanes: int, updates_per_call: int = 1) -> None:
    """Checks that an experience fits the way it is run, before anything is computed.

    Args:
        experience: an agent's.
        num_lanes: lanes of the whole program.
        updates_per_call: of the Experiment.
    Raises: ValueError that names the field.
    """
    for name, table in tables(experience).items():
        where = table_label(name)
        if isinstance(table, Replay) and table.max_lag == 0 and updates_per_call > 1:
            raise ValueError(
                f'updates_per_call must be 1 where {where} has max_lag 0, got {updates_per_call}: '
                f'an update would wait for the others of its call.'
            )
        if not isinstance(table, Queue):
            continue
        if updates_per_call > table.max_size:
            raise ValueError(
                f'updates_per_call must be at most max_size {table.max_size} of {where}, a Queue, '
                f'got {updates_per_call}.'
            )
        if table.max_staleness is None:
            continue
        window = table.window
        if num_lanes > 1 and window.cross_episodes and window.period != window.length:
            raise ValueError(
                f'{where} with max_staleness needs period == length where there is more than one lane and '
                f'cross_episodes=True, got {window} with {num_lanes} lanes.'
            )
        if waits_at_first(table, num_lanes):
            _check_waits(name, table, num_lanes, experience)
        late = late_by_overlap(table)
        if table.max_staleness < late:
            raise ValueError(
                f'max_staleness of {where} must be at least {late} where up to '
                f'{windows_at_once(window)} windows of a lane overlap, got {table.max_staleness}.'
            )
        if updates_per_call > table.max_staleness - late + 1:
            raise ValueError(
                f'updates_per_call must be 1 where {where} has max_staleness 0, and at most one more '
                f'than max_staleness {table.max_staleness} otherwise, got {updates_per_call}.'
            )
        if (
            table.max_staleness == 0
            and window.cross_episodes
            and table.batch_size is not None
            and table.batch_size % num_lanes
        ):
            raise ValueError(
                f'batch_size of {where} with max_staleness 0 must be None or a multiple of the '
                f'{num_lanes} lanes, '
                f'got {table.batch_size}.'
            )


def late_by_overlap(queue: Queue) -> int:
    """By how many updates a window is late because others of its lane were open when it began."""
    return -(-(windows_at_once(queue.window) - 1) // (queue.batch_size or 1))


def _check_waits(name: str, queue: Queue, num_lanes: int, experience: Experience) -> None:
    """Refuses a Queue whose lanes would wait at FIRST for ever, and tables that its lanes would cut.

    Raises: ValueError.
    """
    what = f'{table_label(name)}, a Queue of windows within episodes with max_staleness,'
    if queue.batch_size is None:
        raise ValueError(
            f'batch_size of {what} must be a number where there is more than one lane, got None with '
            f'{num_lanes} lanes.'
        )
    rules = places_of_rules(experience)
    for other, table in tables(experience).items():
        if other == name or isinstance(table, Dataset):
            continue
        if rules[other] == rules[name]:
            raise ValueError(
                f'{what} must be the only table of its rule that actors write to, where there is more than '
                f'one lane: its lanes wait for updates, which would wait for {table_label(other)}.'
            )
        if table.window.cross_episodes:
            raise ValueError(
                f'{table_label(other)} must have cross_episodes=False beside {what} where there is more '
                f'than one lane: a lane that waits at FIRST would cut its windows.'
            )


def effective_lag(
    experience: Experience, lag: int, updates_per_call: int = 1, bounded: bool = False
) -> int:
    """The largest lag, up to `lag`, that keeps every table within its max_lag or max_staleness.

    A call makes u updates. With a lag of L calls, a window may have begun with the parameters from L + 1
    calls before the one that learns from it, and up to u - 1 updates of that call come before its own: the
    staleness is at most (L + 1) u + u - 1. Without lag it is at most u - 1, so staleness 0 means no lag
    and u = 1. Where windows of a lane overlap, those that are open when a window begins come before it, too.

    Args:
        experience: an agent's.
        lag: of the experiment.
        updates_per_call: of the experiment.
        bounded: whether actors also wait when they are `max_size` updates ahead in a Queue that takes
            windows in order, as in a program. There a larger lag would be a deadlock.
    """
    bounds = [lag]
    for table in tables(experience).values():
        if isinstance(table, Replay) and table.max_lag is not None:
            bounds.append(table.max_lag)
        if not isinstance(table, Queue):
            continue
        stale = [
            each - late_by_overlap(table) for each in (table.max_staleness,) if each is not None
        ]
        if bounded and (stale or table.batch_size is None):
            stale.append(table.max_size)
        bounds += [max((each - updates_per_call + 1) // updates_per_call - 1, 0) for each in stale]
    return min(bounds)
