"""What actors ask of the learner's node before they act: where their windows begin, whether all updates are
made, and who may begin an episode.
"""

import threading
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from culmen.components.replay.served import ServedReader
from culmen.components.replay.stream.gates import Ended
from culmen.components.replay.stream.gates import Gates
from culmen.core.experience import Experience
from culmen.core.types import Version
from culmen.launchers.programs.remote import NotReady

_ANSWER_SECONDS = 0.2  # for the learner's loop; then the actor asks again


class ActorWaits:
    """The part of the learner's node that answers actors which wait. Several threads call it."""

    def __init__(self, experience: Experience, num_lanes: int, reader: ServedReader) -> None:
        """Begins with no open episode.

        Args:
            experience: of the agent.
            num_lanes: of the whole program.
            reader: of its tables, restored.
        """
        self._told = reader.tell_ended
        self._next_windows = reader.next_windows
        self._windows = reader.next_windows()
        self._has_windows = bool(self._windows)
        self._of_windows = threading.Condition()
        self._windows_asked = self._windows_given = 0
        self._gates = Gates(experience, num_lanes, reader.arrived())
        self._of_gates = threading.Lock()
        self._looks = self._settled = 0
        self._asked = threading.Event()

    def tell_ended(self, items: Mapping[str, int]) -> None:
        """An actor tells of a tick in which episodes ended, as `ServedReader.tell_ended`."""
        self._told(items)

    def admit(self, ended: Sequence[Ended], lanes: Sequence[int], version: Version) -> list[int]:
        """An actor asks which lanes may begin an episode, as `Gates.admit`."""
        with self._of_gates:
            return self._gates.admit(ended, lanes, version)

    def get_first_windows(self, again: bool) -> Mapping[str, NDArray[Any]]:
        """The number of each lane's first window, as `ServedReader.next_windows`.

        Args: again: whether to look now: an actor that is started again has stored windows since the start.
        Raises: NotReady if the learner's loop, which alone uses the reader, is busy.
        """
        if again and self._has_windows:
            with self._of_windows:
                self._windows_asked += 1
                number = self._windows_asked
                self._asked.set()
                if not self._of_windows.wait_for(
                    lambda: self._windows_given >= number, _ANSWER_SECONDS
                ):
                    raise NotReady
        return self._windows

    def get_looks(self) -> tuple[int, int]:
        """For actors that wait for the updates that are due: where a Replay has max_lag.

        Returns: (how many looks at the tables have begun, the number of the last one that found no update to
            be made). Once the second exceeds the first of an earlier answer, all updates that were due then
            are made, and their variables can be fetched.
        """
        self._asked.set()
        return self._looks, self._settled

    def begin_look(self) -> None:
        """The learner is about to ask its tables whether an update is due."""
        self._looks += 1
        if self._windows_given < self._windows_asked:
            with self._of_windows:
                self._windows, self._windows_given = self._next_windows(), self._windows_asked
                self._of_windows.notify_all()

    def settle(self) -> None:
        """No update is due, and the variables of all are published."""
        self._settled = self._looks

    def await_question(self, seconds: float) -> bool:
        """Waits this long, or until an actor asks. Returns: whether one did."""
        asked = self._asked.wait(seconds)
        self._asked.clear()
        return asked
