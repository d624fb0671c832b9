"""What every server of tables keeps to: which tables it may have, and where writers wait."""

import sys
from typing import Literal

from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Table
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.staleness import waits_at_first

Lead = float | Literal['none'] | None

NEVER = sys.float_info.max  # a difference that no limiter reaches


def table_name(name: str) -> str:
    """A server's name for a table of an experience, since Reverb has no empty names."""
    return name or 'experience'


def check_tables(experience: Experience) -> dict[str, Table]:
    """The tables of an experience by name. Raises: ValueError for a Dataset."""
    found = tables(experience)
    for name, table in found.items():
        if isinstance(table, Dataset):
            where = table_label(name)
            raise ValueError(
                f'{where} must be a Replay or a Queue here, got a Dataset: a Dataset is read by '
                f'a DatasetReader.'
            )
    return found


def lead_of(replay: Replay, lead: Lead, where: str = 'experience') -> float:
    """By how many samples actors may be ahead of the learner, in one table.

    Args:
        replay: of the experience.
        lead: from the launcher; None: two batches and an insert; 'none': no bound.
    Raises: ValueError if a batch could never become due.
    """
    if lead == 'none':
        return NEVER
    least = replay.batch_size + replay.samples_per_insert
    if lead is None:
        return least + replay.batch_size
    if lead < least:
        raise ValueError(
            f'lead must be at least batch_size + samples_per_insert = {least:g} of {where}, '
            f'got {lead:g}: the actors would wait before a batch is due.'
        )
    return float(lead)


def split_lead(replay: Replay, lead: Lead, where: str = 'experience') -> tuple[float, float]:
    """Splits the lead of a table whose items wait in the reader. With `by_tick` there is no bound.

    Returns: (by how many samples the reader may be ahead, how many items may wait in the server).
    """
    samples = NEVER if replay.by_tick else lead_of(replay, lead, where)
    if samples == NEVER:
        return NEVER, NEVER
    of_reader = max(replay.batch_size + replay.samples_per_insert, samples / 2)
    return of_reader, max(1.0, (samples - of_reader) // replay.samples_per_insert)


def may_wait(table: Table, num_lanes: int, lead: Lead) -> float:
    """How many items of a table may wait in the server, if the reader takes each once."""
    if isinstance(table, Replay):
        # Every batch has all items, so the reader keeps them; part of the lead waits in the server.
        return split_lead(table, lead)[1]
    if isinstance(table, Queue) and not is_ordered(table, num_lanes) and lead != 'none':
        assert table.batch_size is not None
        return float(table.max_size * table.batch_size)
    return NEVER


def is_ordered(queue: Queue, num_lanes: int) -> bool:
    """Whether batches take windows in order of their number in their lane, not of arrival."""
    bounded = queue.max_staleness is not None and not waits_at_first(queue, num_lanes)
    return queue.batch_size is None or bounded
