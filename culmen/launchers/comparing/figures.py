"""The picture of a comparison."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from culmen.launchers.comparing.statistics import Band
from culmen.launchers.plots import COLOURS
from culmen.launchers.plots import Floats
from culmen.launchers.plots import dress_axes
from culmen.launchers.plots import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from culmen.launchers.comparing.comparison import Comparison


def draw(comparison: 'Comparison') -> 'Figure':
    """Curves by steps, and by seconds where the logs have them; intervals; performance profiles."""
    from matplotlib.figure import Figure

    panels: list[Any] = [_draw_steps]
    if comparison.by_seconds:
        panels.append(_draw_seconds)
    panels += [_draw_intervals, _draw_profiles]
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(10.5, 3.9 * rows), dpi=130, layout='constrained')
    grid = figure.subplots(rows, 2).ravel()
    for panel, axes in zip(panels, grid, strict=False):
        panel(axes, comparison)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(', '.join(comparison.tasks), x=0.01, ha='left', fontsize=11)
    grid[0].legend(frameon=False, fontsize=9)
    return shown(figure)


def _unit(comparison: 'Comparison') -> str:
    return 'score' if comparison.is_scaled else 'return'


def _draw_steps(axes: 'Axes', comparison: 'Comparison') -> None:
    _draw_lines(axes, comparison.by_steps)
    dress_axes(axes)
    axes.set_xlabel('steps')
    axes.set_ylabel(f'IQM of the {_unit(comparison)}')
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')


def _draw_seconds(axes: 'Axes', comparison: 'Comparison') -> None:
    _draw_lines(axes, comparison.by_seconds)
    dress_axes(axes)
    axes.set_xlabel('seconds of wall clock')
    axes.set_ylabel(f'IQM of the {_unit(comparison)}')


def _draw_profiles(axes: 'Axes', comparison: 'Comparison') -> None:
    thresholds = comparison.thresholds
    _draw_lines(axes, {name: (thresholds, band) for name, band in comparison.profiles.items()})
    dress_axes(axes)
    axes.set_xlabel(f'{_unit(comparison)} τ')
    axes.set_ylabel(f'share of runs with a {_unit(comparison)} above τ')


def _draw_lines(axes: 'Axes', lines: Mapping[str, tuple[Floats, Band]]) -> None:
    for number, (label, (points, band)) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        marker = 'o' if len(points) < 2 else None
        axes.plot(points, band.value, color=colour, linewidth=2, label=label, marker=marker)
        axes.fill_between(points, band.low, band.high, color=colour, alpha=0.18, lw=0)


def _draw_intervals(axes: 'Axes', comparison: 'Comparison') -> None:
    names = list(next(iter(comparison.aggregates.values())))
    groups = list(comparison.aggregates)
    width = len(groups) + 1
    for number, label in enumerate(groups):
        colour = COLOURS[number % len(COLOURS)]
        for place, name in enumerate(names):
            estimate = comparison.aggregates[label][name]
            height = -(place * width + number)
            if estimate.low is not None and estimate.high is not None:
                axes.plot(
                    [estimate.low, estimate.high],
                    [height, height],
                    color=colour,
                    lw=7,
                    alpha=0.3,
                    solid_capstyle='butt',
                )
            axes.plot(estimate.value, height, 'o', color=colour, markersize=6)
    middle = (len(groups) - 1) / 2
    axes.set_yticks(-(np.arange(len(names)) * width + middle), names)
    dress_axes(axes)
    axes.grid(visible=False, axis='y')
    axes.set_xlabel(f'{_unit(comparison)}, mean of the last {comparison.last} evaluations')
