"""The files of a comparison: a picture, a page that needs no network, and JSON for other tools."""

import base64
import html
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from culmen.launchers.comparing.statistics import Estimate
from culmen.launchers.plots import Floats

if TYPE_CHECKING:
    from culmen.launchers.comparing.comparison import Comparison

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1b1b; background: #fff }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; height: auto }
"""


def save(comparison: 'Comparison', folder: Path) -> dict[str, Path]:
    """Writes all files of a comparison. Returns: the path of each by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    title = html.escape('Comparison on ' + ', '.join(comparison.tasks))
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n'
        f'{body(comparison)}\n</body>\n</html>\n'
    )
    contents = {
        'comparison.png': _png(comparison),
        'index.html': page.encode(),
        'scores.json': _json(as_json(comparison)),
        'marl_eval.json': _json(marl_eval(comparison)),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def body(comparison: 'Comparison') -> str:
    """The picture and the tables as HTML."""
    picture = base64.b64encode(_png(comparison)).decode()
    return '\n'.join(
        [
            f'<img alt="Curves, intervals and profiles" src="data:image/png;base64,{picture}">',
            _table(
                ['group', 'seeds', *next(iter(comparison.aggregates.values())), 'best seed'],
                [
                    [
                        label,
                        str(len(comparison.scores[label])),
                        *map(say, estimates.values()),
                        _number(float(comparison.scores[label].mean(axis=1).max())),
                    ]
                    for label, estimates in comparison.aggregates.items()
                ],
            ),
            '<p>The probability that a run of the group in the row scores more than one of the group in '
            'the column:</p>'
            if comparison.improvements
            else '',
            _improvements(comparison) if comparison.improvements else '',
            f'<p>A score is the mean of the last {comparison.last} evaluations of a run'
            + (', scaled by task' if comparison.is_scaled else '')
            + f'. IQM is the mean of the middle half of all runs. Brackets are intervals of 95%, from '
            f'{comparison.repetitions:,} draws of a bootstrap over seeds, stratified by task (rliable).</p>',
        ]
    )


def say(estimate: Estimate) -> str:
    """An estimate and its interval as text."""
    if estimate.low is None or estimate.high is None:
        return _number(estimate.value)
    return f'{_number(estimate.value)} [{_number(estimate.low)}, {_number(estimate.high)}]'


def as_json(comparison: 'Comparison') -> dict[str, Any]:
    """All numbers of a comparison. `scores` is what rliable takes, once each matrix is an array."""
    return {
        'tasks': list(comparison.tasks),
        'scores': {label: mine.tolist() for label, mine in comparison.scores.items()},
        'seeds': {
            label: {task: [run.seed for run in runs] for task, runs in tasks.items()}
            for label, tasks in comparison.groups.items()
        },
        'aggregates': {
            label: {name: estimate._asdict() for name, estimate in estimates.items()}
            for label, estimates in comparison.aggregates.items()
        },
        'improvements': [
            {'of': first, 'over': second, **estimate._asdict()}
            for (first, second), estimate in comparison.improvements.items()
        ],
        'curves': {
            clock: {
                label: {clock: points.tolist(), **_lists(band._asdict())}
                for label, (points, band) in curves.items()
            }
            for clock, curves in (
                ('steps', comparison.by_steps),
                ('seconds', comparison.by_seconds),
            )
        },
        'last': comparison.last,
        'repetitions': comparison.repetitions,
    }


def marl_eval(comparison: 'Comparison') -> dict[str, Any]:
    """The evaluations of each seed in id-marl-eval's layout: environment, task, algorithm, run, step.

    Environment and task are the parts of a name before and after its first slash. The absolute metric, which
    id-marl-eval asks for, is the best evaluation.
    """
    content: dict[str, Any] = {}
    for label, tasks in comparison.groups.items():
        for name, runs in tasks.items():
            environment, _, task = name.partition('/')
            algorithms = content.setdefault(environment, {}).setdefault(task or environment, {})
            for run in runs:
                steps = run.evaluations.steps
                returns = run.evaluations.returns
                logged: dict[str, Any] = {
                    f'step_{number}': {
                        'step_count': int(step),
                        'mean_episode_return': [float(value)],
                    }
                    for number, (step, value) in enumerate(zip(steps, returns, strict=True))
                }
                best = float(np.max(returns))
                logged['absolute_metrics'] = {'mean_episode_return': [best]}
                algorithms.setdefault(label, {})[f'seed_{run.seed}'] = logged
    return content


def _improvements(comparison: 'Comparison') -> str:
    labels = list(comparison.scores)
    rows = [
        [
            first,
            *(
                '' if first == second else say(comparison.improvements[first, second])
                for second in labels
            ),
        ]
        for first in labels
    ]
    return _table(['', *labels], rows)


def _table(header: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str], kind: str) -> str:
        return '<tr>' + ''.join(f'<{kind}>{html.escape(cell)}</{kind}>' for cell in cells) + '</tr>'

    return '\n'.join(
        ['<table>', line(header, 'th'), *(line(row, 'td') for row in rows), '</table>']
    )


def _number(value: float) -> str:
    return f'{value:,.4g}' if abs(value) < 10_000 else f'{value:,.0f}'


def _png(comparison: 'Comparison') -> bytes:
    buffer = io.BytesIO()
    comparison.figure().savefig(buffer, format='png')
    return buffer.getvalue()


def _lists(arrays: dict[str, Floats]) -> dict[str, list[float]]:
    return {name: each.tolist() for name, each in arrays.items()}


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + '\n').encode()
