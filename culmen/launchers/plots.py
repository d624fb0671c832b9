"""Plots learning curves as PNG: return against actor steps, with mean and spread over seeds."""

import io
import os
import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from culmen.components.files import expanded
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.components.loggers import LogFiles
from culmen.launchers.results import environment_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Logs = Mapping[str, Any]  # data frames by label
Floats = npt.NDArray[np.float64]
Series = tuple[Floats, Floats]  # actor steps [n], increasing; returns [n]

# Colours that can be told apart with any colour vision (Okabe and Ito, 2008).
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
_BINS = 100  # points of a curve of training episodes


class Curve(NamedTuple):
    """One line of a figure: runs of one agent in one environment with different seeds."""

    agent: str
    environment: str
    runs: Sequence[Logs]
    folder: str = ''  # distinguishes curves of the same agent


def read_curve(path: str | os.PathLike[str]) -> Curve:
    """Reads the curve of a workdir: of its run, or of the runs in its folders seed-<s>.

    Raises: FileNotFoundError if there is no run; ValueError if the runs have different agents or
        environments.
    """
    folder = expanded(path)
    folders = [folder] if (folder / 'logs').is_dir() else seed_folders(folder)
    if not folders:
        raise FileNotFoundError(f'{folder} holds no run: there is neither logs nor seed-<s> in it.')
    names = {_names(each) for each in folders}
    if len(names) > 1:
        raise ValueError(f'{folder} holds runs of several experiments: {sorted(names)}.')
    agent, environment = names.pop()
    return Curve(agent, environment, [LogFiles(each / 'logs') for each in folders], str(path))


def seed_folders(folder: Path) -> list[Path]:
    """The folders seed-<s> that hold a run, by seed."""
    found = [(re.fullmatch(r'seed-(\d+)', each.name), each) for each in folder.glob('seed-*')]
    seeds = [(int(m.group(1)), each) for m, each in found if m and (each / 'logs').is_dir()]
    return [each for _, each in sorted(seeds)]


def draw(curves: Sequence[Curve], path: str | os.PathLike[str] | None = None) -> 'Figure':
    """Draws evaluation returns against actor steps: mean and standard deviation over seeds.

    For offline runs the steps are learner steps. If runs were evaluated only once, the returns of their
    training episodes are drawn instead, and the evaluations are marked.

    Args:
        curves: one per line of the figure.
        path: of a PNG, or a file of the format that its suffix names; None: nothing is written.
    Returns: the figure, which a notebook displays.
    Raises: ValueError if a run has no rows yet, or if the suffix of the path isn't known.
    """
    from matplotlib.figure import Figure

    curves = [each for curve in curves for each in _by_environment(curve)]
    evaluations = [_series(curve, evaluation_series) for curve in curves]
    acted = any(len(run.get('actor', ())) for curve in curves for run in curve.runs)
    evaluated = not acted or all(len(steps) > 1 for runs in evaluations for steps, _ in runs)
    figure = Figure(figsize=(7.2, 4.4), dpi=150, layout='constrained')
    axes = figure.add_subplot()
    for number, (curve, label, marks) in enumerate(
        zip(curves, _labels(curves), evaluations, strict=True)
    ):
        series = marks if evaluated else _series(curve, training_series)
        if not any(len(steps) for steps, _ in series):
            raise ValueError(f'{curve.folder or curve.agent} has no episodes to draw yet.')
        colour = COLOURS[number % len(COLOURS)]
        series = [each for each in series if len(each[0])]
        _draw_line(axes, series, label, colour)
        if not evaluated:
            for steps, returns in marks:
                axes.plot(steps, returns, 'o', color=colour, markeredgecolor='white', zorder=4)
    _dress(axes, curves, evaluated, 'actor steps' if acted else 'learner steps')
    if path is not None:
        figure.savefig(expanded(path))
    return shown(figure)


def shown(figure: 'Figure') -> 'Figure':
    """The same figure, which a notebook now displays."""
    figure._repr_png_ = lambda: _png(figure)  # type: ignore[attr-defined]
    return figure


def _by_environment(curve: Curve) -> list[Curve]:
    """A curve for each environment, where its runs have several."""
    with reading(f'{curve.folder or curve.agent}: a log'):
        frames = [
            {label: run[label] for label in ('actor', 'evaluator') if label in run}
            for run in curve.runs
        ]
        labels: dict[str, None] = {}
        for run in frames:
            for frame in run.values():
                labels |= dict.fromkeys(frame['environment'] if 'environment' in frame else ())
    if not labels:
        return [curve]
    return [
        curve._replace(
            environment=label,
            runs=[
                {name: frame[frame['environment'] == label] for name, frame in run.items()}
                for run in frames
            ],
        )
        for label in labels
    ]


def _series(curve: Curve, of_run: Callable[[Logs], Series]) -> list[Series]:
    """The series of each run. Raises: DamagedError that names the folder, if logs can't be read."""
    with reading(f'{curve.folder or curve.agent}: a log'):
        return [of_run(run) for run in curve.runs]


def evaluation_series(run: Logs) -> Series:
    """Steps (actor steps; offline, learner steps) and mean returns of a run's evaluations."""
    frame = run.get('evaluator')
    if frame is None or not len(frame):
        return np.zeros(0), np.zeros(0)
    clock = 'actor_steps' if frame['actor_steps'].any() else 'learner_steps'  # offline: none
    return frame[clock].to_numpy(float), frame['episode_return'].to_numpy(float)


def training_series(run: Logs) -> Series:
    """Actor steps and returns of a run's training episodes, averaged over pieces of the run."""
    frame = run.get('actor')
    if frame is None or not len(frame):
        return np.zeros(0), np.zeros(0)
    steps = frame['actor_steps'].to_numpy(float)
    bins = np.minimum((steps / max(steps[-1], 1) * _BINS).astype(int), _BINS - 1)
    mean = frame[['actor_steps', 'episode_return']].astype(float).groupby(bins).mean()
    return mean['actor_steps'].to_numpy(), mean['episode_return'].to_numpy()


def mean_and_spread(series: Sequence[Series]) -> tuple[Floats, Floats, Floats]:
    """Steps that all seeds reached, and the mean and standard deviation of their returns there.

    Where a seed has no value at one of these steps, it is interpolated linearly.
    """
    start = max(steps[0] for steps, _ in series)
    end = min(steps[-1] for steps, _ in series)
    steps = np.unique(np.concatenate([steps for steps, _ in series]))
    steps = steps[(steps >= start) & (steps <= end)]
    returns = np.stack([np.interp(steps, *each) for each in series])
    return steps, returns.mean(axis=0), returns.std(axis=0)


def _draw_line(axes: 'Axes', series: Sequence[Series], label: str, colour: str) -> None:
    steps, mean, spread = mean_and_spread(series)
    if not len(steps):  # no step that all seeds reached
        steps, mean, spread = mean_and_spread(series[:1])
    marker = 'o' if len(steps) < 2 else None
    axes.plot(steps, mean, color=colour, linewidth=2, label=label, marker=marker, zorder=3)
    if len(series) > 1:
        axes.fill_between(steps, mean - spread, mean + spread, color=colour, alpha=0.18, lw=0)
        for each in series:
            axes.plot(*each, color=colour, linewidth=0.7, alpha=0.35, zorder=2)


def _dress(axes: 'Axes', curves: Sequence[Curve], evaluated: bool, steps: str) -> None:
    title = ', '.join(dict.fromkeys(curve.environment for curve in curves))
    axes.set_title(title, loc='left', fontsize=11)
    axes.set_xlabel(steps)
    axes.set_ylabel('evaluation return' if evaluated else 'training return (dots: evaluation)')
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')
    dress_axes(axes)
    seeds = any(len(curve.runs) > 1 for curve in curves)
    axes.legend(
        frameon=False,
        loc='best',
        title='mean and standard deviation over seeds' if seeds else None,
        title_fontsize=8,
        fontsize=9,
        alignment='left',
    )


def dress_axes(axes: 'Axes') -> None:
    """Gives axes the style of Culmen's figures."""
    axes.grid(color='#e6e6e6', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)


def _labels(curves: Sequence[Curve]) -> list[str]:
    """Labels with the agent's name, and as much more as is needed to tell the curves apart."""

    def environment(curve: Curve) -> str:
        return f' on {curve.environment}'

    def folder(curve: Curve) -> str:
        return f', {curve.folder}' if curve.folder else ''

    labels = [curve.agent for curve in curves]
    if len({curve.environment for curve in curves}) > 1:
        labels = _joined(labels, curves, environment)
    if len(set(labels)) < len(labels):
        labels = _joined(labels, curves, folder)
    return [
        f'{label} ({len(curve.runs)} seeds)' if len(curve.runs) > 1 else label
        for label, curve in zip(labels, curves, strict=True)
    ]


def _joined(
    labels: Sequence[str], curves: Sequence[Curve], ending: Callable[[Curve], str]
) -> list[str]:
    return [label + ending(curve) for label, curve in zip(labels, curves, strict=True)]


def _names(folder: Path) -> tuple[str, str]:
    path = folder / 'config.json'
    with reading(path):
        config = read_json(path)
        return str(config['agent']['name']), environment_name(config['environment'])


def _png(figure: 'Figure') -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png')
    return buffer.getvalue()
