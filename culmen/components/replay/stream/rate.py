"""The rate at which a table allows updates: one formula for every table."""

import math
from fractions import Fraction

from culmen.core.experience import Replay


class Rate:
    """When an update of a Replay is due, exactly.

        updates <= (items - min_size) * samples_per_insert / batch_size

    Items are all ever inserted. `samples_per_insert` is read as the simple fraction that it stands
    for (0.3 as 3/10, 1/3 as a third), so no update comes a step late because of rounding.

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
        self._samples = fraction.numerator  # that so many inserts allow:
        self._inserts = fraction.denominator
        self._batch_size = batch_size

    @classmethod
    def of(cls, replay: Replay) -> 'Rate':
        """The rate that an experience asks for."""
        return cls(replay.min_size, float(replay.samples_per_insert), replay.batch_size)

    def gain_and_cost(self) -> tuple[int, int]:
        """The formula in the smallest whole numbers: what an item gives, what an update takes."""
        cost = self._batch_size * self._inserts
        common = math.gcd(self._samples, cost)
        return self._samples // common, cost // common

    def due(self, items: int, updates: int) -> bool:
        """Whether so many items allow so many updates, counted from the beginning."""
        batches = updates * self._batch_size * self._inserts
        return batches <= (items - self._min_size) * self._samples

    def updates(self, items: int) -> int:
        """How many updates so many items allow, counted from the beginning."""
        samples = max(items - self._min_size, 0) * self._samples
        return samples // (self._batch_size * self._inserts)

    def may_insert(self, items: int, updates: int, lead: float) -> bool:
        """Whether actors may insert on: what they are ahead of the learner by is at most the lead.

            (items - min_size) * samples_per_insert - updates * batch_size <= lead

        Args:
            items, updates: counted from the beginning.
            lead: in samples.
        """
        samples = (items - self._min_size) * self._samples
        return samples - updates * self._batch_size * self._inserts <= lead * self._inserts

    def limits(self, lead: float) -> tuple[float, float]:
        """The two numbers of a limiter that counts samples one by one, in floating point.

            smallest <= items * samples_per_insert - samples drawn <= largest

        Between them a sample keeps to the formula of `due`, an insert to that of `may_insert`. Both are
        half a step of the formula wider, so that rounding decides nothing.

        Args:
            lead: in samples.
        """
        slack = max(0.5 / self._inserts, 1e-6)
        offset = self._min_size * self._samples / self._inserts
        return offset - slack, offset + lead + slack
