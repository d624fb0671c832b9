"""Experience: which pieces of the stream become samples. Data only; tables and loops follow it.

A window of `length` transitions is `length + 1` time steps. Within an episode a window starts every
`period` rows, counted from FIRST, and has at least one real transition. Windows that the episode's end
cuts short are padded (step_type LAST, the observation of LAST repeated, the rest 0, mask False). If
windows cross episodes, starts are counted along the lane's whole stream, including LAST rows.

With `Window.start`, windows begin where a field of the rows is True: options, goals, the turns of a player.
One that the next start cuts short is padded in the same way, from the row of that start: its observation and
step type are repeated, so a value is bootstrapped from there.
"""

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import Literal
from typing import TypeAlias

from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.types import Array
from culmen.core.types import Steps
from culmen.core.types import Stream


@dataclass(frozen=True)
class Window:
    """A piece of the stream."""

    # In transitions: 1 for single steps, n for n-step returns, 80 for sequences, more for whole episodes.
    length: Annotated[int, Range(1)] = 1
    period: Annotated[int, Range(1)] = 1  # rows between starts
    cross_episodes: bool = False  # whether a window continues past LAST (on-policy unrolls)
    ends: tuple[str, ...] = ()  # fields kept at both ends only, as paths: 'observation/pixels'
    first: tuple[str, ...] = ()  # fields kept at the start only: 'extras/core_state'
    # The fields that a batch has, as paths: ('observation', 'action'). Step types and masks it always has.
    # None: all. What is left out of a nest leaves no key in a dict, and () in place of anything else.
    fields: tuple[str, ...] | None = None
    # The path of a bool: 'extras/begins'. A window begins at a row where it is True, and ends at the next
    # such row, at LAST, or after `length`. None: by period.
    start: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, 'Window.')
        if self.start is not None and (self.period != 1 or self.cross_episodes):
            raise ValueError(
                f'Window.start needs period 1 and cross_episodes False, got period {self.period} and '
                f'cross_episodes {self.cross_episodes}: such windows follow one another in an episode.'
            )
        if self.fields == ():
            raise ValueError(
                'Window.fields must name at least one field, got (). None: all of them.'
            )
        both = set(self.ends) & set(self.first)
        if both:
            raise ValueError(
                f'Window.ends and Window.first must not share fields, got {sorted(both)} in both.'
            )


@dataclass(frozen=True)
class Replay:
    """Items are kept and drawn many times; the oldest leave first."""

    window: Window
    capacity: Annotated[int, Range(1)]  # items
    min_size: Annotated[int, Range(0, 'capacity')]  # items inserted before the first update
    batch_size: Annotated[int, Range(1)]
    samples_per_insert: Annotated[float, POSITIVE]  # draws of an item on average
    priority_exponent: Annotated[float, Range(0)] = 0.0  # 0: uniform
    # Gives the priorities [N] of new items from their windows; None: the largest priority so far.
    priority: Callable[[Steps], Array] | None = None
    draw: Literal['sample', 'all'] = 'sample'  # 'all': every item, padded to capacity
    # Calls that a hand-off may lag, at most. 0: the actor's next action is made by what this update gave.
    # None: the lag of the experiment decides.
    max_lag: Annotated[int | None, Range(0)] = None
    # Whether an update is due for each tick in which episodes end, in place of the rate (`once_an_episode`).
    by_tick: bool = False

    def __post_init__(self) -> None:
        check_fields(self, 'Replay.')
        if self.by_tick and (
            self.draw != 'all' or self.samples_per_insert != 1 or self.window.cross_episodes
        ):
            raise ValueError(
                f"Replay.by_tick needs draw='all', samples_per_insert 1 and windows that don't cross "
                f'episodes, as Replay.once_an_episode gives them, got {self}.'
            )
        _check_draw(self)
        if self.priority is not None and not self.priority_exponent:
            raise ValueError(
                'Replay.priority needs priority_exponent above 0, got 0: it would not be used.'
            )

    @classmethod
    def once_an_episode(
        cls, length: int, capacity: int, min_size: int = 1, **window: Any
    ) -> 'Replay':
        """Whole episodes, all of them in one update an episode: for a model that is fitted once an episode.

        An update is due for each tick in which episodes end, from the tick on in which the table has
        `min_size` items: lanes whose episodes end in one tick make one update. (This is the one exception of
        the rate formula; a tick is of one actor.) The next episode begins with what this update gave,
        in every launcher. The many gradient steps of an update are a scan within it.

        Args:
            length: steps of the longest episode. A longer one gives several windows, and still one update.
            capacity: episodes; the oldest leave first. A batch is padded to it.
            min_size: episodes before the first update.
            window: further fields of the Window: `ends`, `first`.
        """
        return cls(
            Window(length=length, period=length, **window),
            capacity,
            min_size,
            batch_size=1,
            samples_per_insert=1.0,
            draw='all',
            max_lag=0,
            by_tick=True,
        )

    @property
    def prioritised(self) -> bool:
        """Whether draws follow priorities."""
        return self.priority_exponent > 0


@dataclass(frozen=True)
class Queue:
    """Each window is drawn once, in order."""

    window: Window
    batch_size: Annotated[int | None, Range(1)] = None  # None: one window of every lane
    # How many updates old a window may be: 0: strictly on-policy; None: no bound.
    max_staleness: Annotated[int | None, Range(0)] = None
    max_size: Annotated[int, Range(1)] = 2  # batches that may wait; then the actors wait

    def __post_init__(self) -> None:
        check_fields(self, 'Queue.')
        if self.window.start is None:
            return
        if self.max_staleness is not None:
            raise ValueError(
                f'Queue.max_staleness must be None where Window.start is given, got {self.max_staleness}: '
                f'where a window begins is known only after the action.'
            )
        if self.batch_size is None:
            raise ValueError(
                'Queue.batch_size must be a number where Window.start is given, got None: lanes begin '
                'windows at different rates.'
            )


@dataclass(frozen=True)
class Dataset:
    """Recorded streams, cut into windows in the same way; no actor writes to it."""

    window: Window
    source: str | Callable[[], Any]  # a folder that a run recorded, or () -> an iterator of Streams
    batch_size: Annotated[int, Range(1)]
    # Fills or derives fields of a stream (returns, absorbing states, missing extras), in NumPy. It is called
    # once for each stream, before that is checked; of a folder it gets what `recorded_streams` gives.
    map: Callable[[Stream], Stream] | None = None
    priority_exponent: Annotated[float, Range(0)] = (
        0.0  # 0: uniform; the first priorities are all 1
    )
    draw: Literal['sample', 'all'] = 'sample'  # 'all': every window, in order
    # Pretraining: updates of its rule before the first action, none later. Only in a rule of Datasets alone,
    # beside rules that learn from what actors write.
    updates_before: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        check_fields(self, 'Dataset.')
        _check_draw(self)

    @property
    def prioritised(self) -> bool:
        """Whether draws follow priorities."""
        return self.priority_exponent > 0


def _check_draw(table: Replay | Dataset) -> None:
    """Refuses settings of a table that is drawn whole. Raises: ValueError that names the field."""
    if table.draw != 'all':
        return
    name = type(table).__name__
    if table.batch_size != 1:
        raise ValueError(f"{name}.batch_size must be 1 where draw='all', got {table.batch_size}.")
    if table.priority_exponent:
        raise ValueError(
            f"{name}.priority_exponent must be 0 where draw='all': every item is drawn."
        )


Table: TypeAlias = Replay | Queue | Dataset
RuleExperience: TypeAlias = Table | Mapping[str, Table]
Experience: TypeAlias = RuleExperience | Mapping[str, RuleExperience]

LONE = ''  # the name of a lone table, and of a lone rule


class ByRule(dict[str, RuleExperience]):
    """The experience of an agent with rules, as launchers give it to tables: that of each rule, in order.

    Agents give plain dicts; `culmen.core.rules.arrange` makes this of them.
    """


def rules_of(experience: Experience) -> dict[str, RuleExperience]:
    """The experience of each rule, in order; that of a lone rule has the name ''."""
    if isinstance(experience, ByRule):
        return dict(experience)
    lone: Any = experience
    return {LONE: lone}


def within(rule: str, name: str) -> str:
    """The name of what a rule has: 'rule/name', or the one name where the other is ''."""
    return f'{rule}/{name}' if rule and name else rule or name


def tables(experience: Experience) -> dict[str, Table]:
    """The tables of an experience by name; a single table has the name ''.

    Those of a rule have the rule's name, or 'rule/name' in a dict of tables.
    """
    return {
        within(rule, name): table
        for rule, of_rule in rules_of(experience).items()
        for name, table in _of_rule(of_rule).items()
    }


def places_of_rules(experience: Experience) -> dict[str, int]:
    """The place of the rule that draws from each table, by the table's name."""
    return {
        within(rule, name): place
        for place, (rule, of_rule) in enumerate(rules_of(experience).items())
        for name in _of_rule(of_rule)
    }


def _of_rule(experience: RuleExperience) -> dict[str, Table]:
    return dict(experience) if isinstance(experience, Mapping) else {LONE: experience}


def table_label(name: str) -> str:
    """How errors name a table: `experience`, or `experience['name']` in a dict of tables."""
    return 'experience' + ''.join(f'[{part!r}]' for part in name.split('/') if part)


def version_shape(experience: Experience) -> tuple[int, ...]:
    """The shape of a `Version` in the rows of a stream: (), or a number for each of several rules."""
    num_rules = len(rules_of(experience))
    return (num_rules,) if num_rules > 1 else ()


def recorded(experience: Experience) -> dict[str, Dataset]:
    """The Datasets of an experience by name."""
    return {name: table for name, table in tables(experience).items() if isinstance(table, Dataset)}


def live(experience: Experience) -> Experience | None:
    """The tables that actors write to: an experience without its Datasets; None if none is left."""
    if isinstance(experience, ByRule):
        # A rule of Datasets alone keeps its place, since a version has a number for each rule.
        of_rules: Any = {rule: live(of_rule) or {} for rule, of_rule in experience.items()}
        return ByRule(of_rules) if any(of_rules.values()) else None
    if isinstance(experience, Mapping):
        left: Any = {
            name: table for name, table in experience.items() if not isinstance(table, Dataset)
        }
        return left or None
    return None if isinstance(experience, Dataset) else experience


def mirror(experience: Experience, values: Mapping[str, Any]) -> Any:
    """Values by table name in the structure of the experience: a single value or a dict."""
    if isinstance(experience, ByRule):
        return {
            rule: mirror(of_rule, {name: values[within(rule, name)] for name in _of_rule(of_rule)})
            for rule, of_rule in experience.items()
        }
    return (
        {name: values[name] for name in experience}
        if isinstance(experience, Mapping)
        else values[LONE]
    )


def unmirror(experience: Experience, value: Any) -> dict[str, Any]:
    """The inverse of `mirror`. A lone None means None for every table."""
    if value is None:
        return dict.fromkeys(tables(experience))
    if isinstance(experience, ByRule):
        return {
            within(rule, name): of_table
            for rule, of_rule in experience.items()
            for name, of_table in unmirror(of_rule, value[rule]).items()
        }
    return dict(value) if isinstance(experience, Mapping) else {LONE: value}
