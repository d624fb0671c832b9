"""Interval estimates over seeds and tasks, by rliable (Agarwal et al., 2021, arXiv:2108.13264)."""

import contextlib
import logging
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from culmen.launchers.plots import Floats

_INSTALL = "culmen compare needs rliable: pip install 'culmen[compare]'."


class Estimate(NamedTuple):
    """A number with the ends of its interval, None where one run a task gives none."""

    value: float
    low: float | None = None
    high: float | None = None


class Band(NamedTuple):
    """A line with the ends of its intervals; these are its values where there is one run a task."""

    value: Floats  # [n]
    low: Floats  # [n]
    high: Floats  # [n]


def _rliable() -> Any:
    try:
        from rliable import library
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    return library


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Makes what is drawn inside the same each time; rliable draws from NumPy's global generator."""
    kept = np.random.get_state()  # noqa: NPY002
    logger = logging.getLogger('absl')
    level = logger.level
    np.random.seed(seed)  # noqa: NPY002
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        np.random.set_state(kept)  # noqa: NPY002
        logger.setLevel(level)


def interquartile_mean(scores: Floats) -> Floats:
    """The mean of the middle half of all runs of all tasks, [runs, tasks, ...] -> [...]."""
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(scores.reshape(-1, *scores.shape[2:]), 0.25, axis=0))


AGGREGATES: Mapping[str, Callable[[Floats], Any]] = {
    'IQM': interquartile_mean,
    'mean': np.mean,
    'median': lambda scores: np.median(scores.mean(axis=0)),
}


def aggregates(scores: Floats, repetitions: int) -> dict[str, Estimate]:
    """The AGGREGATES of one group with their 95% intervals by stratified bootstrap.

    Args: scores: [runs, tasks]; repetitions: of the bootstrap.
    """
    lines = _bootstrapped(
        scores, lambda each: np.array([f(each) for f in AGGREGATES.values()]), repetitions
    )
    alone = len(scores) == 1
    return {
        name: Estimate(float(value), *(() if alone else (float(low), float(high))))
        for name, value, low, high in zip(AGGREGATES, *lines, strict=True)
    }


def mean(scores: Floats, repetitions: int) -> Estimate:
    """The mean of one group with its 95% interval, as `aggregates` has it. Args: scores: [runs, tasks]."""
    if len(scores) == 1:
        return Estimate(float(scores.mean()))
    (value,), (low,), (high,) = _bootstrapped(
        scores, lambda each: np.array([each.mean()]), repetitions
    )
    return Estimate(float(value), float(low), float(high))


def improvement(scores: Floats, others: Floats, repetitions: int) -> Estimate:
    """The probability that a run of one group scores more than one of another, mean over tasks; a draw
    counts half.

    Args: scores: [runs, tasks]; others: [other runs, tasks].
    """
    library = _rliable()

    def probability(x: Floats, y: Floats) -> Floats:
        # As rliable's probability_of_improvement, which takes a test of ranks for it and is slow.
        wins = np.sign(x[:, np.newaxis] - y[np.newaxis]).mean(axis=(0, 1))
        return np.array([(wins.mean() + 1) / 2])

    if len(scores) == 1 and len(others) == 1:
        return Estimate(float(probability(scores, others)[0]))
    values, intervals = library.get_interval_estimates(
        {'pair': [scores, others]}, probability, reps=repetitions
    )
    (low,), (high,) = intervals['pair']
    return Estimate(float(values['pair'][0]), float(low), float(high))


def profile(scores: Floats, thresholds: Floats, repetitions: int) -> Band:
    """The share of runs that score more than each threshold: the performance profile.

    Args: scores: [runs, tasks]; thresholds: [n].
    """

    def share(each: Floats) -> Floats:
        return (each.reshape(-1, 1) > thresholds).mean(axis=0)

    return _bootstrapped(scores, share, repetitions)


def curve(scores: Floats, repetitions: int) -> Band:
    """The interquartile mean at each point of training. Args: scores: [runs, tasks, points]."""
    return _bootstrapped(scores, interquartile_mean, repetitions)


def _bootstrapped(scores: Floats, f: Callable[[Floats], Floats], repetitions: int) -> Band:
    library = _rliable()
    if len(scores) == 1:  # all draws would be the same
        value = f(scores)
        return Band(value, value, value)
    values, intervals = library.get_interval_estimates({'group': scores}, f, reps=repetitions)
    return Band(values['group'], *intervals['group'])
