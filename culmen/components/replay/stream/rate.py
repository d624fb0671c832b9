"""The rate at which a table allows updates, with one formula for every table."""

import math
from fractions import Fraction

from culmen.core.experience import Replay


class Rate:
    """Decides exactly when updates from a Replay are due.

        updates <= (items - min_size) * samples_per_insert / batch_size

    `items` counts all inserts so far. `samples_per_insert` is converted to a simple fraction (0.3 to
    3/10, 1/3 to a third), so that rounding never delays an update by a step.

    Example:
        >>> rate = Rate(min_size=10, samples_per_insert=0.3, batch_size=1)
        >>> rate.updates(19), rate.updates(20)
        (2, 3)
    """

    def __init__(self, min_size: int, samples_per_insert: float, batch_size: int) -> None:
        """Args: as in Replay."""
        fraction = Fraction(samples_per_insert).limit_denominator(1_000_000)
        if abs(fraction - Fraction(samples_per_insert)) > abs(samples_per_insert) * 2.0**-50:
            fraction = Fraction(samples_per_insert)
        self._min_size = min_size
        self._samples = fraction.numerator  # samples for this many inserts:
        self._inserts = fraction.denominator
        self._cost = batch_size * self._inserts  # samples of an update, times that

    @classmethod
    def of(cls, replay: Replay) -> 'Rate':
        """The rate of a Replay."""
        return cls(replay.min_size, float(replay.samples_per_insert), replay.batch_size)

    def gain_and_cost(self) -> tuple[int, int]:
        """The formula in the smallest whole numbers: (what an item adds, what an update takes)."""
        common = math.gcd(self._samples, self._cost)
        return self._samples // common, self._cost // common

    def due(self, items: int, updates: int) -> bool:
        """Whether this many items allow this many updates, counted from the beginning."""
        return updates * self._cost <= (items - self._min_size) * self._samples

    def updates(self, items: int) -> int:
        """How many updates this many items allow, counted from the beginning."""
        samples = max(items - self._min_size, 0) * self._samples
        return samples // self._cost

    def may_insert(self, items: int, updates: int, lead: float) -> bool:
        """Whether actors may insert: they are ahead of the learner by at most the lead.

            (items - min_size) * samples_per_insert - updates * batch_size <= lead

        Args:
            items, updates: counted from the beginning.
            lead: in samples.
        """
        samples = (items - self._min_size) * self._samples
        return samples - updates * self._cost <= lead * self._inserts

    def limits(self, lead: float) -> tuple[float, float]:
        """The bounds of a limiter that counts single samples in floating point.

            smallest <= items * samples_per_insert - samples drawn <= largest

        Within them, samples follow the formula of `due`, and inserts that of `may_insert`. Both bounds are
        half a step wider than the formula, so that rounding errors have no effect.

        Args:
            lead: in samples.
        """
        slack = max(0.5 / self._inserts, 1e-6)
        offset = self._min_size * self._samples / self._inserts
        return offset - slack, offset + lead + slack
