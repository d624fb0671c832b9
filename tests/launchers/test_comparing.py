"""Comparisons of runs: their groups, scores, intervals, files and command."""

import itertools
import json
import re

import numpy as np
import pytest

import culmen
from culmen.components.loggers import Logs
from culmen.launchers.command_line import main
from culmen.launchers.comparing import statistics
from culmen.launchers.comparing.runs import group_runs
from culmen.launchers.comparing.runs import read_runs

pytest.importorskip('rliable')

CATCH, CARTPOLE = 'bsuite/catch/0', 'gymnasium/CartPole-v1'


def write_run(folder, returns, *, seed=1, task=CATCH, seconds=True, every=100, **agent):
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        'agent': {'name': 'dqn', 'learning_rate': 0.001, **agent},
        'seed': seed,
        'environment': {'name': task},
    }
    (folder / 'config.json').write_text(json.dumps(config))
    columns = {'evaluator': ('actor_steps', 'episode_return', *(['seconds'] * seconds))}
    logs = Logs(folder / 'logs', columns)
    for number, value in enumerate(returns, 1):
        logs.write('evaluator', {'actor_steps': every * number, 'episode_return': value})
    logs.close()


def write_seeds(folder, scores, **options):
    """A run that ends at each score, after an evaluation of -9."""
    for seed, score in enumerate(scores, 1):
        write_run(folder / f'seed-{seed}', [-9.0, score], seed=seed, **options)


@pytest.fixture
def two_groups(tmp_path):
    folder = tmp_path / 'groups'
    write_seeds(folder / 'slow', [1.0, 2.0, 3.0, 4.0])
    write_seeds(folder / 'fast', [3.0, 4.0, 5.0, 9.0], learning_rate=0.01)
    return folder


def compared(paths, **options):
    """A comparison by few draws, which are enough where no interval is asked for."""
    return culmen.compare(paths, **{'repetitions': 100, **options})


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(['compare', *map(str, arguments)])
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_runs_that_differ_in_their_seeds_alone_are_a_group(two_groups):
    found = compared([two_groups], last=1)
    assert {label: each.tolist() for label, each in found.scores.items()} == {
        'dqn, learning_rate=0.001': [[1.0], [2.0], [3.0], [4.0]],
        'dqn, learning_rate=0.01': [[3.0], [4.0], [5.0], [9.0]],
    }
    assert found.tasks == (CATCH,)


def test_a_score_is_the_mean_of_the_last_evaluations(two_groups):
    found = compared([two_groups / 'slow'], last=2)
    assert found.scores['dqn'].ravel().tolist() == [-4.0, -3.5, -3.0, -2.5]
    assert (
        compared([two_groups / 'slow'], last=9).scores['dqn'].tolist()
        == found.scores['dqn'].tolist()
    )


def test_aggregates_are_those_of_their_definitions(two_groups):
    estimates = compared([two_groups], last=1).aggregates['dqn, learning_rate=0.01']
    # The middle half of 3, 4, 5, 9 is 4 and 5.
    assert (estimates['IQM'].value, estimates['mean'].value) == (4.5, 5.25)
    assert estimates['median'].value == 5.25  # of one task: its mean
    for estimate in estimates.values():
        assert 3 <= estimate.low < estimate.value < estimate.high <= 9


def test_intervals_are_those_of_all_draws_of_seeds(two_groups):
    # Four seeds have 256 draws: the bootstrap's interval of the mean is that of all of them.
    scores = [3.0, 4.0, 5.0, 9.0]
    means = [np.mean(draw) for draw in itertools.product(scores, repeat=4)]
    low, high = np.percentile(means, [2.5, 97.5])
    found = compared([two_groups / 'fast'], last=1, repetitions=4000)
    estimate = found.aggregates['dqn']['mean']
    assert estimate.low == pytest.approx(low, abs=0.4)
    assert estimate.high == pytest.approx(high, abs=0.4)


def test_the_probability_of_improvement_is_rliables(two_groups):
    from rliable import metrics

    found = compared([two_groups], last=1)
    fast, slow = found.scores
    expected = metrics.probability_of_improvement(found.scores[fast], found.scores[slow])
    assert found.improvements[fast, slow].value == pytest.approx(expected)
    assert found.improvements[fast, slow].low < expected


def test_the_probability_of_improvement_counts_pairs_of_runs(two_groups):
    found = compared([two_groups], last=1)
    fast, slow = found.scores
    pairs = list(itertools.product([3.0, 4.0, 5.0, 9.0], [1.0, 2.0, 3.0, 4.0]))
    share = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert found.improvements[fast, slow].value == pytest.approx(share)
    assert found.improvements[slow, fast].value == pytest.approx(1 - share)


def test_a_profile_is_the_share_of_runs_above_each_threshold(two_groups):
    found = compared([two_groups / 'fast'], last=1)
    band = found.profiles['dqn']
    expected = [np.mean(np.array([3.0, 4.0, 5.0, 9.0]) > each) for each in found.thresholds]
    np.testing.assert_allclose(band.value, expected)
    assert (band.low <= band.value).all() and (band.value <= band.high).all()
    assert (band.low < band.high).any()


def test_curves_are_by_steps_and_by_seconds(two_groups):
    found = compared([two_groups / 'fast'], last=1)
    steps, band = found.by_steps['dqn']
    assert steps.tolist() == [100.0, 200.0]
    assert band.value.tolist() == [-9.0, 4.5]
    seconds, _ = found.by_seconds['dqn']
    logged = [run.evaluations.seconds for run in found.groups['dqn'][CATCH]]
    assert seconds[0] == max(each[0] for each in logged)


def test_logs_without_seconds_have_no_curve_by_seconds(tmp_path):
    write_seeds(tmp_path, [1.0, 2.0], seconds=False)
    found = compared([tmp_path])
    assert found.by_seconds == {}
    assert len([axes for axes in found.figure().axes if axes.get_visible()]) == 3


def test_runs_that_end_at_other_steps_share_those_that_all_reached(tmp_path):
    write_run(tmp_path / 'a', [0.0, 2.0, 4.0], seed=1)
    write_run(tmp_path / 'b', [1.0, 3.0], seed=2, every=150)  # at 150 and 300
    steps, band = compared([tmp_path]).by_steps['dqn']
    assert steps.tolist() == [150.0, 200.0, 300.0]
    np.testing.assert_allclose(band.value, [1.0, (2 + 1 + 2 / 3) / 2, 3.5])


def test_the_same_runs_have_the_same_intervals_and_numpys_generator_stays(two_groups):
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    first = compared([two_groups], repetitions=50)
    assert np.random.random() == expected  # noqa: NPY002
    second = compared([two_groups], repetitions=50)
    assert first.aggregates == second.aggregates
    assert compared([two_groups], repetitions=50, seed=1).aggregates != first.aggregates


def test_one_seed_has_no_interval(tmp_path):
    write_run(tmp_path, [1.0])
    found = compared([tmp_path])
    assert found.aggregates['dqn']['IQM'] == statistics.Estimate(1.0)
    assert '[' not in str(found.table['IQM'][0])


def test_tasks_are_scaled_to_one_mean(tmp_path):
    write_seeds(tmp_path / 'a', [-1.0, 1.0])
    write_seeds(tmp_path / 'b', [100.0, 300.0], task=CARTPOLE)
    scales = {CATCH: (-1.0, 1.0), CARTPOLE: (0.0, 500.0)}
    found = compared([tmp_path], last=1, scales=scales)
    assert found.tasks == (CATCH, CARTPOLE)
    np.testing.assert_allclose(found.scores['dqn'], [[0.0, 0.2], [1.0, 0.6]])
    assert found.aggregates['dqn']['median'].value == pytest.approx((0.5 + 0.4) / 2)


def test_a_field_makes_the_groups(two_groups):
    write_seeds(two_groups / 'other', [1.0], learning_rate=0.01, name='c51')
    groups = group_runs(read_runs([two_groups]), ['agent.name', 'agent.learning_rate'])
    assert list(groups) == [
        'name=dqn, learning_rate=0.01',
        'name=c51, learning_rate=0.01',
        'name=dqn, learning_rate=0.001',
    ]


def test_two_folders_of_one_experiment_are_told_apart_by_their_paths(tmp_path):
    for name in ('before', 'after'):
        write_seeds(tmp_path / name, [1.0, 2.0])
    found = compared([tmp_path / 'before', tmp_path / 'after'])
    assert list(found.scores) == [f'dqn, {tmp_path}/before', f'dqn, {tmp_path}/after']


def test_a_run_with_several_environments_has_a_task_for_each(tmp_path):
    write_run(tmp_path, [])
    config = json.loads((tmp_path / 'config.json').read_text())
    config['environment'] = [{'name': CATCH}, {'name': CARTPOLE}]
    (tmp_path / 'config.json').write_text(json.dumps(config))
    rows = 'actor_steps,episode_return,environment\n9,1.0,A\n9,5.0,B\n'
    (tmp_path / 'logs/evaluator.csv').write_text(rows)
    assert [(run.task, run.evaluations.returns.tolist()) for run in read_runs([tmp_path])] == [
        ('A', [1.0]),
        ('B', [5.0]),
    ]


def test_the_command_writes_a_picture_a_page_and_json(two_groups, capsys):
    out = two_groups / 'out'
    folders = [str(two_groups / name) for name in ('slow', 'fast')]
    main_returns(['compare', *folders, '--repetitions', '100', '--out', str(out)])
    printed = capsys.readouterr().out
    assert 'dqn, learning_rate=0.01 beats dqn, learning_rate=0.001' in printed
    assert printed.splitlines()[-1] == str(out / 'index.html')
    assert (out / 'comparison.png').read_bytes()[:8] == b'\x89PNG\r\n\x1a\n'
    page = (out / 'index.html').read_text()
    assert 'data:image/png;base64,' in page and 'learning_rate=0.01' in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # nothing from the network
    scores = json.loads((out / 'scores.json').read_text())
    assert np.array(scores['scores']['dqn, learning_rate=0.01']).shape == (4, 1)
    assert scores['seeds']['dqn, learning_rate=0.01'] == {CATCH: [1, 2, 3, 4]}
    runs = json.loads((out / 'marl_eval.json').read_text())['bsuite']['catch/0']
    assert runs['dqn, learning_rate=0.01']['seed_4'] == {
        'step_0': {'step_count': 100, 'mean_episode_return': [-9.0]},
        'step_1': {'step_count': 200, 'mean_episode_return': [9.0]},
        'absolute_metrics': {'mean_episode_return': [9.0]},
    }


def main_returns(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0


def test_scores_json_is_what_rliable_takes(two_groups, capsys):
    from rliable import library

    main_returns(
        [
            'compare',
            str(two_groups),
            '--last=1',
            '--repetitions=99',
            '--out',
            str(two_groups / 'o'),
            '--json',
        ]
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    matrices = {label: np.array(each) for label, each in told['scores'].items()}
    means, _ = library.get_interval_estimates(
        matrices, lambda each: np.array([each.mean()]), reps=9
    )
    assert {label: float(each[0]) for label, each in means.items()} == {
        label: told['aggregates'][label]['mean']['value'] for label in matrices
    }


def test_what_cannot_be_compared_is_refused(tmp_path, two_groups, capsys):
    out = tmp_path / 'out'
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert f'{empty} holds no run' in refused(capsys, empty, '--out', out)
    write_run(tmp_path / 'young', [])
    assert 'young has no evaluation yet' in refused(capsys, tmp_path / 'young', '--out', out)
    write_seeds(tmp_path / 'task', [1.0], task=CARTPOLE, learning_rate=0.01)
    error = refused(capsys, two_groups / 'slow', tmp_path / 'task', '--out', out)
    assert "'dqn, learning_rate=0.001' has no run of gymnasium/CartPole-v1" in error
    assert 'unknown field' in refused(
        capsys, two_groups / 'slow', '--by', 'agent.rate', '--out', out
    )
    assert 'agent.learning_rate' in refused(
        capsys, two_groups / 'slow', '--by', 'agent.learnin_rate', '--out', out
    )
    error = refused(capsys, two_groups, '--by', 'agent.name', '--out', out)
    assert 'has seed 1 of bsuite/catch/0 more than once' in error
    write_seeds(tmp_path / 'more', [1.0, 2.0], task=CARTPOLE)
    error = refused(capsys, two_groups / 'slow', tmp_path / 'more', '--out', out)
    assert 'got 4 of bsuite/catch/0, 2 of gymnasium/CartPole-v1' in error
    assert not out.exists()


def test_scales_are_refused_where_they_do_not_fit(tmp_path, capsys):
    out = tmp_path / 'out'
    write_seeds(tmp_path / 'a', [1.0])
    error = refused(capsys, tmp_path / 'a', '--scale', 'catch', '--out', out)
    assert "--scale must be TASK=LOW,HIGH with two numbers, got 'catch'" in error
    error = refused(capsys, tmp_path / 'a', '--scale', 'bsuite/catch/1=0,1', '--out', out)
    assert CATCH in error
    error = refused(capsys, tmp_path / 'a', '--scale', f'{CATCH}=1,1', '--out', out)
    assert 'two finite numbers that rise, got 1.0, 1.0' in error
    write_seeds(tmp_path / 'b', [1.0], task=CARTPOLE)
    error = refused(capsys, tmp_path / 'a', tmp_path / 'b', '--scale', f'{CATCH}=0,1', '--out', out)
    assert 'missing: gymnasium/CartPole-v1' in error


def test_without_rliable_the_error_says_what_to_install(two_groups, monkeypatch, capsys):
    monkeypatch.setitem(__import__('sys').modules, 'rliable', None)
    assert "pip install 'culmen[compare]'" in refused(capsys, two_groups, '--out', two_groups / 'o')
