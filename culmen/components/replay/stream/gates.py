"""Which lanes may begin an episode: how windows within episodes keep to the staleness that a Queue allows.

Windows are drawn in order of arrival. While the episode of one lane goes on, others may bring any number of
windows, and each batch of them makes its window older by an update, in one process too. A lane therefore
waits at FIRST until all windows that may still arrive leave every open episode within its bound:

    windows arrived + windows to come <= (oldest version + max_staleness + 1) * batch_size

An episode of at most `length` steps brings at most one window for each `period`. The oldest version is that
of the params that began the open episodes. A lane that waits is not stepped: its FIRST is repeated.

`Gates` decides, for all lanes of a run; a program has one. Each actor has a `Doorkeeper` for its lanes.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import places_of_rules
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.rules import as_version
from culmen.core.rules import steps_of
from culmen.core.staleness import waits_at_first
from culmen.core.staleness import windows_at_once
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import Version

# An episode that has ended: its lane, and how many windows it brought, by table.
Ended = tuple[int, dict[str, int]]


class Gatekeeper(Protocol):
    """What a `Doorkeeper` asks: `Gates`, or a client of them."""

    def admit(self, ended: Sequence[Ended], lanes: Sequence[int], version: Version) -> list[int]:
        """Tells of episodes that have ended, whose windows are stored, and asks for lanes at FIRST.

        Args:
            ended: since the last call.
            lanes: that would begin an episode.
            version: of the params with which they would.
        Returns: the lanes that may.
        """
        ...


def gated(experience: Experience, num_lanes: int) -> dict[str, Queue]:
    """The Queues for which lanes wait at FIRST, by name. Args: num_lanes: of the whole run."""
    return {
        name: table
        for name, table in tables(experience).items()
        if isinstance(table, Queue) and waits_at_first(table, num_lanes)
    }


class Gates:
    """Decides which lanes may begin an episode. Not thread-safe."""

    def __init__(
        self, experience: Experience, num_lanes: int, arrived: Mapping[str, int] | None = None
    ) -> None:
        """Begins with no open episode.

        Args:
            experience: whose lanes are asked about.
            num_lanes: of the whole run.
            arrived: windows ever, by table; None: none.
        """
        self._queues = gated(experience, num_lanes)
        self._rules = places_of_rules(experience)
        # By table: windows that have arrived, and those that open episodes may still bring.
        self._windows = {name: (arrived or {}).get(name, 0) for name in self._queues}
        self._open: dict[int, Version] = {}  # version of the params that began the lane's episode
        self._waiting: dict[int, None] = {}  # lanes at FIRST, the longest first

    def admit(self, ended: Sequence[Ended], lanes: Sequence[int], version: Version) -> list[int]:
        """As `Gatekeeper.admit`. Lanes are admitted in the order in which they came to FIRST."""
        for lane, brought in ended:
            self._end(lane, brought)
        for lane in lanes:
            self._waiting.setdefault(lane)
        began = [version, *self._open.values()]
        oldest = {
            name: min(steps_of(each, self._rules[name]) for each in began) for name in self._queues
        }
        places = {lane: place for place, lane in enumerate(self._waiting)}
        admitted = [lane for lane in lanes if self._fits(places[lane], oldest)]
        for lane in admitted:
            del self._waiting[lane]
            self._open[lane] = version
            for name, queue in self._queues.items():
                self._windows[name] += windows_at_once(queue.window)
        return admitted

    def _fits(self, place: int, oldest: Mapping[str, int]) -> bool:
        """Whether the lane at this place of those that wait may begin, after those before it.

        Args: oldest: updates of a table's rule behind the oldest params that began an open episode, by table.
        """
        for name, queue in self._queues.items():
            assert queue.batch_size is not None and queue.max_staleness is not None
            windows = self._windows[name] + (place + 1) * windows_at_once(queue.window)
            if windows > (oldest[name] + queue.max_staleness + 1) * queue.batch_size:
                return False
        return True

    def _end(self, lane: int, brought: Mapping[str, int]) -> None:
        del self._open[lane]
        for name, queue in self._queues.items():
            self._windows[name] -= windows_at_once(queue.window) - brought[name]

    def forget(self, name: str, num: int) -> None:
        """Takes back windows that have arrived and are lost."""
        if name in self._windows:
            self._windows[name] -= num

    def get_state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            'windows': dict(self._windows),
            'open': [list(each) for each in self._open.items()],
            'waiting': list(self._waiting),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `get_state`."""
        self._windows = {name: int(state['windows'][name]) for name in self._queues}
        self._open = {int(lane): as_version(version) for lane, version in state['open']}
        self._waiting = dict.fromkeys(map(int, state['waiting']))


class Doorkeeper:
    """Knows which lanes of an actor are within an episode, and asks for those at FIRST."""

    def __init__(self, experience: Experience, lane_index: NDArray[Any], num_lanes: int) -> None:
        """Args: lane_index: int[B], of the actor's lanes in the run. num_lanes: of the whole run."""
        queues = gated(experience, num_lanes)
        self.is_needed = bool(queues)
        self._index = np.asarray(lane_index).tolist()
        self._most = {name: windows_at_once(queue.window) for name, queue in queues.items()}
        self._periods = {name: queue.window.period for name, queue in queues.items()}
        self._step_type = np.zeros(len(self._index), np.int32)
        self._open = np.zeros(len(self._index), bool)
        self._brought = {name: np.zeros(len(self._index), np.int64) for name in queues}
        self._ended: list[Ended] = []

    def observe(self, step_type: NDArray[Any]) -> None:
        """Takes the time step of a tick. An open lane at FIRST was interrupted: its episode has ended."""
        self._step_type = np.array(step_type)
        for lane in np.flatnonzero(self._open & (self._step_type == FIRST)).tolist():
            self._end(lane)

    def add(self, name: str, lanes: NDArray[Any]) -> None:
        """Counts windows of a table that have appeared.

        Args: lanes: int[N], which of the actor's lanes brought them.
        Raises: ValueError if an episode brings more windows than were allowed for.
        """
        if name not in self._most:
            return
        brought, most = self._brought[name], self._most[name]
        np.add.at(brought, lanes, 1)
        over = np.flatnonzero(brought > most)
        if over.size:
            raise ValueError(
                f'{too_long(table_label(name), self._periods[name] * most)}; got a longer one in lane '
                f'{self._index[int(over[0])]}.'
            )

    def close(self) -> None:
        """Ends the episodes whose LAST is the present row, once all their windows have appeared."""
        for lane in np.flatnonzero(self._open & (self._step_type == LAST)).tolist():
            self._end(lane)

    def _end(self, lane: int) -> None:
        brought = {name: int(counts[lane]) for name, counts in self._brought.items()}
        self._ended.append((self._index[lane], brought))
        self._open[lane] = False

    def ask(self, gates: Gatekeeper, version: Version) -> NDArray[Any] | None:
        """Asks for the lanes at FIRST.

        Args:
            gates: whom to ask.
            version: of the params that act next.
        Returns: bool[B], the lanes that wait; None if none does.
        """
        first = (self._step_type == FIRST) & ~self._open
        if not (self._ended or first.any()):
            return None
        places = {self._index[lane]: lane for lane in np.flatnonzero(first).tolist()}
        ended, self._ended = self._ended, []
        for lane in gates.admit(ended, list(places), version):
            self._open[places[lane]] = True
            for counts in self._brought.values():
                counts[places[lane]] = 0
        held: NDArray[Any] = first & ~self._open
        return held if held.any() else None

    def get_state(self) -> dict[str, Any]:
        """Arrays and plain values."""
        return {
            'step_type': self._step_type.copy(),
            'open': self._open.copy(),
            'brought': {name: counts.copy() for name, counts in self._brought.items()},
            'ended': [[lane, dict(brought)] for lane, brought in self._ended],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `get_state`."""
        self._step_type = np.array(state['step_type'], np.int32)
        self._open = np.array(state['open'], bool)
        self._brought = {name: np.array(state['brought'][name], np.int64) for name in self._most}
        self._ended = [(int(lane), dict(brought)) for lane, brought in state['ended']]


def too_long(where: str, steps: int) -> str:
    """How errors say that an episode brings more windows than lanes allow for. Args: where: the table."""
    return (
        f'episodes must have at most {steps} steps where {where}, a Queue of windows within episodes, has '
        f'max_staleness (Window.length is that of the longest episode)'
    )
