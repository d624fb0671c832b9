"""The draws of Datasets in a compiled run: the host makes the numbers of the next windows before a call."""

from collections.abc import Mapping

from culmen.components.counts import fold_seed
from culmen.components.replay.device import DeviceTables
from culmen.components.replay.device.datasets import Feed

_UNLIMITED = 2**31 - 1


class Feeds:
    """What a run's Datasets draw next. The draws are those of a run in one process with the same seed."""

    def __init__(self, tables: DeviceTables, seed: int) -> None:
        """Args: tables: of the run. seed: of the experiment."""
        self.now: dict[str, Feed] = {}  # by name of the table
        self._tables = {name: each for name, each in tables.datasets.items() if each.is_fed}
        self._draws = {
            name: each.make_draws(name, fold_seed(seed, 'table'))
            for name, each in self._tables.items()
        }
        self._first: dict[str, int] = {}  # draws before the first of `now`

    def __bool__(self) -> bool:
        """Whether the run has such Datasets."""
        return bool(self._tables)

    def refill(self, draws: Mapping[str, int]) -> bool:
        """Makes further draws where fewer than half of those given are left.

        Args: draws: so far, by name of the table.
        Returns: whether there are any.
        """
        new = False
        for name, table in self._tables.items():
            used = draws[name] - self._first.get(name, -table.num_fed)
            if not 0 <= used <= table.num_fed // 2:
                self.now[name] = table.feed(self._draws[name], draws[name])
                self._first[name] = draws[name]
                new = True
        return new

    def left(self, draws: Mapping[str, int]) -> int:
        """How many draws of each Dataset are left, at least. Args: draws: as for `refill`."""
        ends = {name: self._first[name] + table.num_fed for name, table in self._tables.items()}
        return min((end - draws[name] for name, end in ends.items()), default=_UNLIMITED)

    def ticks(self, draws: Mapping[str, int]) -> int:
        """For how many ticks the draws suffice, at least. Args: draws: as for `refill`."""
        left = {
            name: self._first[name] + table.num_fed - draws[name]
            for name, table in self._tables.items()
        }
        return min(table.ticks(left[name]) for name, table in self._tables.items())
