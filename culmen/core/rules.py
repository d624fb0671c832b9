"""Rules: the updates of an agent, each with a clock of its own.

A learner's `update` is one function, or a mapping of them by name over one training state. Each rule has an
experience of its own, and is due when its own tables are. This is the one place that tells the two apart: to
all other code one function is the one rule with the name ''.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from culmen.core.agent import Parts
from culmen.core.errors import SettingTypeError
from culmen.core.experience import LONE
from culmen.core.experience import ByRule
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import RuleExperience
from culmen.core.experience import rules_of
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.experience import within
from culmen.core.types import LearnerCore
from culmen.core.types import Update
from culmen.core.types import Version

_NOT_IN_NAMES = '/,"\r\n'  # a name is part of paths and of the headers of logs


class Rule(NamedTuple):
    """An update, and the tables that it draws from."""

    update: Update
    experience: RuleExperience


def by_rule(core: LearnerCore, value: Any) -> dict[str, Any]:
    """What belongs to each rule of a value that mirrors `core.update`, in the order of declaration."""
    if not isinstance(core.update, Mapping):
        return {LONE: value}
    return {rule: value[rule] for rule in core.update}


def mirrored(core: LearnerCore, values: Mapping[str, Any]) -> Any:
    """The inverse of `by_rule`: the value of a lone rule, or a dict of those of all rules."""
    return dict(values) if isinstance(core.update, Mapping) else values[LONE]


def updates(core: LearnerCore) -> dict[str, Update]:
    """The update of each rule, in the order of declaration."""
    return by_rule(core, core.update)


def map_rules(parts: Parts, function: Callable[[str, Rule], Rule]) -> Parts:
    """An agent with each of its rules changed; the rest of its parts stay.

    Args: function: (name, rule) -> rule; the name of a lone one is ''.
    Raises: ValueError as `arrange`.
    """
    core = parts.learner
    arranged = by_rule(core, arrange(core, parts.experience))
    changed = {
        name: function(name, Rule(update, arranged[name])) for name, update in updates(core).items()
    }
    update = mirrored(core, {name: rule.update for name, rule in changed.items()})
    experience = mirrored(core, {name: rule.experience for name, rule in changed.items()})
    return parts._replace(learner=core._replace(update=update), experience=experience)


def arrange(core: LearnerCore, experience: Experience) -> Experience:
    """Checks that an experience mirrors `core.update`, and puts that of rules in their order.

    Returns: a ByRule, if `update` is a mapping; otherwise the experience as it is.
    Raises: ValueError that names the rule or the table and says what is accepted.
    """
    if isinstance(core.update, Mapping):
        return _arrange_rules(core.update, experience)
    if not callable(core.update):
        raise SettingTypeError(
            f'LearnerCore.update must be a function or a mapping of rules, got {core.update!r}.'
        )
    _check_tables(LONE, experience)
    return experience


def _arrange_rules(rules: Mapping[str, Update], experience: Experience) -> ByRule:
    if not rules:
        raise ValueError('LearnerCore.update must have at least one rule, got an empty mapping.')
    for name, update in rules.items():
        check_name('a rule', name)
        if not callable(update):
            raise SettingTypeError(f'update[{name!r}] must be a function, got {update!r}.')
    if not isinstance(experience, Mapping):
        raise ValueError(
            f'experience must have a table or a dict of tables for each of the rules {list(rules)}, '
            f'got {experience!r}.'
        )
    if set(experience) != set(rules):
        raise ValueError(
            f'experience must have the names of the rules {list(rules)}, got {list(experience)}.'
        )
    arranged: Any = {name: experience[name] for name in rules}
    for name, of_rule in arranged.items():
        _check_tables(name, of_rule)
    return ByRule(arranged)


def _check_tables(rule: str, experience: Any) -> None:
    where = table_label(rule)
    if isinstance(experience, Mapping):
        if not experience:
            raise ValueError(f'{where} must have at least one table, got an empty dict.')
        for name in experience:
            check_name(f'a table of {where}', name)
    for name, table in (
        experience.items() if isinstance(experience, Mapping) else ((LONE, experience),)
    ):
        if not isinstance(table, (Replay, Queue, Dataset)):
            where = table_label(f'{rule}/{name}')
            raise ValueError(
                f'{where} must be a Replay, a Queue, a Dataset{"" if name else " or a dict of them"}, '
                f'got {table!r}.'
            )


def check_name(what: str, name: Any) -> None:
    """Refuses a name that can't be part of a path or of a header. Raises: ValueError."""
    if not isinstance(name, str) or not name or set(name) & set(_NOT_IN_NAMES):
        raise ValueError(
            f'{what} must have a name of at least one character, without any of '
            f'{_NOT_IN_NAMES!r}, got {name!r}.'
        )


def total(version: Version) -> int:
    """The updates of all rules behind some params."""
    return sum(version) if isinstance(version, tuple) else version


def steps_of(version: Version, place: int) -> int:
    """The updates of one rule behind some params. Args: place: of the rule."""
    return version[place] if isinstance(version, tuple) else version


def largest_version(experience: Experience, of_tables: Mapping[str, int]) -> Version:
    """The version with, for each rule, the largest of the numbers of its tables; 0 without a table.

    Args: of_tables: updates of its rule, by name of the table.
    """
    largest = tuple(
        max((of_tables[within(rule, name)] for name in tables(of_rule)), default=0)
        for rule, of_rule in rules_of(experience).items()
    )
    return largest if len(largest) > 1 else largest[0]


def is_older(version: Version, needed: Version) -> bool:
    """Whether a rule has made fewer updates of some params than are needed."""
    return bool(np.any(np.less(version, needed)))


def as_version(saved: Any) -> Version:
    """A version as a checkpoint has it, where tuples are lists."""
    return int(saved) if np.ndim(saved) == 0 else tuple(map(int, saved))
