"""Joins what the tables of one rule give to one batch, and divides priorities among them.

The readers of all kinds of tables call it; a lone table needs none of it.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from culmen.core.experience import RuleExperience
from culmen.core.experience import mirror
from culmen.core.experience import unmirror
from culmen.core.workers import Draw


def join_draws(experience: RuleExperience, drawn: Mapping[str, tuple[Any, Any]]) -> Draw:
    """Joins the draws of all tables of a rule.

    Args:
        experience: of the rule.
        drawn: (keys, sample) by table name.
    """
    keys = {name: of_table for name, (of_table, _) in drawn.items()}
    samples = {name: sample for name, (_, sample) in drawn.items()}
    return Draw(mirror(experience, keys), mirror(experience, samples))


def divide_priorities(
    experience: RuleExperience, known: Mapping[str, Any], keys: Any, priorities: Any
) -> Iterator[tuple[str, Any, Any]]:
    """Divides the priorities of a batch among the tables that it was drawn from.

    Args:
        experience: of the rule.
        known: tables by name.
        keys: of the draw.
        priorities: mirrors the experience; None: there are none.
    Returns: (table name, keys, raw priorities) of each table with priorities.
    Raises: ValueError for priorities of a table that is not known.
    """
    if priorities is None:
        return
    of_tables = unmirror(experience, keys)
    for name, raw in unmirror(experience, priorities).items():
        if name not in known:
            raise ValueError(f'priorities must be of the tables {list(known)}, got {name!r}.')
        if raw is not None:
            yield name, of_tables[name], raw
