"""Curves of workdirs: what is read, mean and spread over seeds, and the picture itself."""

import json

import numpy as np
import pytest

from culmen.components.loggers import Logs
from culmen.launchers import plots


def write_run(folder, returns, episodes=(), agent='dqn', every=100):
    folder.mkdir(parents=True)
    names = {'agent': {'name': agent}, 'environment': {'name': 'bsuite/catch/0'}}
    (folder / 'config.json').write_text(json.dumps(names))
    logs = Logs(folder / 'logs')
    for number, value in enumerate(returns):
        logs.write('evaluator', {'actor_steps': every * number, 'episode_return': value})
    for step, value in episodes:
        logs.write('actor', {'actor_steps': step, 'episode_return': value})
    logs.close()


def coloured_pixels(path):
    """Points of the picture that are neither white, grey nor black, as (row, column)."""
    from matplotlib.image import imread

    picture = imread(path)[..., :3]
    return np.argwhere(np.ptp(picture, axis=-1) > 0.3), picture.shape


def test_mean_and_spread_over_seeds(tmp_path):
    for seed, returns in ((1, [0.0, 1.0, 2.0]), (2, [2.0, 3.0, 4.0]), (10, [1.0, 2.0, 3.0])):
        write_run(tmp_path / f'seed-{seed}', returns)
    curve = plots.read_curve(tmp_path)
    assert [dict(run)['evaluator']['episode_return'][0] for run in curve.runs] == [0.0, 2.0, 1.0]
    steps, mean, spread = plots.mean_and_spread([plots.evaluation_series(r) for r in curve.runs])
    assert steps.tolist() == [0, 100, 200]
    assert mean.tolist() == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(spread, np.std([0.0, 1.0, 2.0]))


def test_seeds_measured_at_other_steps_are_read_between_their_points():
    first = (np.array([0.0, 100.0]), np.array([0.0, 10.0]))
    second = (np.array([50.0, 200.0]), np.array([3.0, 3.0]))
    steps, mean, _ = plots.mean_and_spread([first, second])
    assert steps.tolist() == [50, 100]
    assert mean.tolist() == [(5 + 3) / 2, (10 + 3) / 2]


def test_the_picture_has_a_line_for_each_folder(tmp_path):
    for seed in (1, 2):
        write_run(tmp_path / f'a/seed-{seed}', [0.0, 0.5, 1.0 / seed])
    write_run(tmp_path / 'b', [1.0, 0.5, 0.0], agent='ppo')
    curves = [plots.read_curve(tmp_path / name) for name in ('a', 'b')]
    figure = plots.draw(curves, tmp_path / 'curve.png')
    axes = figure.axes[0]
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert lines['dqn (2 seeds)'] == [0.0, 0.5, 0.75]
    assert lines['ppo'] == [1.0, 0.5, 0.0]
    assert len(axes.collections) == 1  # the spread of the seeds, none for a single run
    assert axes.get_ylabel() == 'evaluation return'
    pixels, shape = coloured_pixels(tmp_path / 'curve.png')
    height, width = np.ptp(pixels, axis=0) / shape[:2]
    assert height > 0.6  # the curves fill the picture
    assert width > 0.7


def test_a_run_evaluated_once_shows_its_training(tmp_path):
    episodes = [(step, float(step >= 500)) for step in range(1, 1001)]
    write_run(tmp_path / 'a', [], episodes)
    write_run(tmp_path / 'b', [0.9], episodes, every=1000)
    figure = plots.draw([plots.read_curve(tmp_path / 'a'), plots.read_curve(tmp_path / 'b')])
    axes = figure.axes[0]
    line = axes.lines[0]
    assert len(line.get_xdata()) == 100
    assert line.get_ydata()[0] == 0.0
    assert line.get_ydata()[-1] == 1.0
    assert axes.get_ylabel() == 'training return (dots: evaluation)'
    assert [line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata()) == 1] == [
        [0.9]
    ]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f'dqn, {tmp_path}/a', f'dqn, {tmp_path}/b']


def test_training_returns_are_means_over_pieces(tmp_path):
    write_run(tmp_path / 'a', [], [(1, 0.0), (2, 1.0), (150, 4.0), (200, 8.0)])
    steps, returns = plots.training_series(plots.read_curve(tmp_path / 'a').runs[0])
    assert steps.tolist() == [1, 2, 150, 200]
    assert returns.tolist() == [0.0, 1.0, 4.0, 8.0]
    write_run(tmp_path / 'b', [], [(1, 0.0), (2, 1.0), (1500, 4.0), (2000, 8.0)])
    steps, returns = plots.training_series(plots.read_curve(tmp_path / 'b').runs[0])
    assert steps.tolist() == [1.5, 1500, 2000]
    assert returns.tolist() == [0.5, 4.0, 8.0]


def test_folders_without_runs_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'{tmp_path} holds no run'):
        plots.read_curve(tmp_path)
    write_run(tmp_path / 'seed-1', [])
    with pytest.raises(ValueError, match=f'{tmp_path} has no episodes to draw yet'):
        plots.draw([plots.read_curve(tmp_path)])
    write_run(tmp_path / 'seed-2', [1.0], agent='ppo')
    with pytest.raises(ValueError, match='runs of several experiments'):
        plots.read_curve(tmp_path)
    (tmp_path / 'seed-1' / 'config.json').write_text('{')
    with pytest.raises(ValueError, match=r'seed-1/config\.json is damaged'):
        plots.read_curve(tmp_path)
