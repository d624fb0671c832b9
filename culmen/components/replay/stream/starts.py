"""Windows that begin where a row says so: `Window.start`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.row_spec import is_of_decision
from culmen.components.replay.stream.windows import Cutter
from culmen.components.replay.stream.windows import Items
from culmen.core.experience import Window
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import TimeStep


class Starts:
    """Reads the leaf that `Window.start` names from the rows of B lanes, traced or not."""

    def __init__(self, row_spec: RowSpec, path: str) -> None:
        """Args: row_spec: of the stream. path: of the leaf.

        Raises: ValueError that names the path, if it is not of one bool, and those that are.
        """
        bools = [
            leaf.path
            for leaf in row_spec.leaves.values()
            if leaf.dtype == np.bool_ and leaf.shape == ()
        ]
        if path not in bools:
            raise ValueError(
                f'Window.start must name a leaf of a row that is one bool, {bools}, got {path!r}.'
            )
        self._with_decision = is_of_decision(path)
        half = row_spec.decision if self._with_decision else row_spec.timestep
        self._tree = half.tree
        self._place = [leaf.path for leaf in half.leaves].index(path)

    def of_timestep(self, timestep: TimeStep) -> Array | None:
        """bool[B]: where windows begin at this row; None: the action tells."""
        return None if self._with_decision else self._at(timestep[1:])

    def of_decision(self, action: Nest, extras: Nest) -> Array | None:
        """bool[B]: where windows begin at this row; None: the time step told."""
        return self._at((action, extras)) if self._with_decision else None

    def _at(self, nests: tuple[Nest, ...]) -> Array:
        leaf: Array = self._tree.flatten_up_to(nests)[self._place]
        return leaf


class StartCutter(Cutter):
    """Cuts the stream of B lanes into windows that begin where a row says so, one tick at a time.

    A window ends at the next row that says so, at LAST, or after `length` transitions, whichever comes first,
    so windows of a lane don't overlap. It appears when the row at which it ends is closed. None begins at
    LAST. A FIRST drops the open window of its lane.
    """

    def __init__(self, window: Window, num_lanes: int, starts: Starts | None = None) -> None:
        """Args: window: has a `start`. num_lanes: B. starts: reads it; None: `mark` is called instead."""
        super().__init__(window, num_lanes)
        self._starts = starts
        self._marked = np.zeros(num_lanes, bool)  # whether the newest row says so
        self._is_marked = False  # whether that is known
        self._open = np.full(num_lanes, -1, np.int64)  # the tick at which the open window began
        self._since = np.zeros(num_lanes, np.int64)  # the tick of the newest FIRST
        self._allowed = np.zeros(num_lanes, np.int64)  # the first tick at which a window may begin

    def observe(self, step_type: NDArray[Any]) -> Items | None:
        """Opens a row in every lane; no window appears here. Args: step_type: int[B]."""
        self._tick += 1
        first = step_type == FIRST
        self._since[first] = self._allowed[first] = self._tick
        self._open[first] = -1
        self._ended = step_type == LAST
        self._is_marked = False
        return None

    def mark(self, begins: Array) -> None:
        """Tells where windows begin at the newest row. Args: begins: bool[B]."""
        self._marked = np.array(begins, bool)
        self._is_marked = True

    def read_timestep(self, timestep: TimeStep) -> None:
        begins = None if self._starts is None else self._starts.of_timestep(timestep)
        if begins is not None:
            self.mark(begins)

    def read_decision(self, action: Nest, extras: Nest) -> None:
        begins = None if self._starts is None else self._starts.of_decision(action, extras)
        if begins is not None:
            self.mark(begins)

    def act(self) -> Items | None:
        """Closes the rows. Returns: the windows that end here; None if there are none."""
        assert self._is_marked, 'it is not known where windows begin'
        length = self._tick - self._open
        ends = self._marked | self._ended | (length == self._length)
        lane = ((self._open >= 0) & ends).nonzero()[0]
        items = Items(lane, self._open[lane], length[lane]) if lane.size else None
        self._open[lane] = -1
        self._open[self.may_begin()] = self._tick
        return items

    def may_begin(self) -> NDArray[Any]:
        allowed: NDArray[Any] = ~self._ended & (self._tick >= self._allowed)
        return allowed & self._marked if self._is_marked else allowed

    @property
    def has_ended(self) -> bool:
        return bool(self._ended.any())

    def skip_before(self, tick: int, reach: int = 0) -> None:
        early = self._since < tick
        self._allowed[early] = np.maximum(self._allowed[early], tick + reach)
        self._open[early & (self._open < self._allowed)] = -1

    def get_state(self) -> dict[str, Any]:
        return {
            'tick': self._tick,
            'ended': self._ended.copy(),
            'marked': self._marked.copy(),
            'is_marked': self._is_marked,
            'open': self._open.copy(),
            'since': self._since.copy(),
            'allowed': self._allowed.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self._tick = int(state['tick'])
        self._ended = np.array(state['ended'], bool)
        self._marked = np.array(state['marked'], bool)
        self._is_marked = bool(state['is_marked'])
        self._open = np.array(state['open'], np.int64)
        self._since = np.array(state['since'], np.int64)
        self._allowed = np.array(state['allowed'], np.int64)


def make_cutter(window: Window, num_lanes: int, row_spec: RowSpec) -> Cutter:
    """The cutter of a table.

    Args: window: what to cut. num_lanes: B. row_spec: of the stream.
    Raises: ValueError that names `Window.start`, if it is not the path of one bool.
    """
    if window.start is None:
        return Cutter(window, num_lanes)
    return StartCutter(window, num_lanes, Starts(row_spec, window.start))
