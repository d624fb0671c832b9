"""Sweeps: grids from options and files, pools of processes, searches by Optuna, and what they scored."""

import json
import math
import signal
import sys
from pathlib import Path

import pytest

import culmen
from culmen.components.loggers import Logs
from culmen.launchers import command_line
from culmen.launchers import configs
from culmen.launchers import local
from culmen.launchers.command_line import planning
from culmen.launchers.command_line.pools import Pool
from culmen.launchers.command_line.pools import Task
from culmen.launchers.options import Interruption
from culmen.launchers.results import Result
from culmen.launchers.workdir import make_summary

TOY = 'tests.launchers.toys:Toy'
CORRIDOR = 'tests.launchers.toys:corridor'
TRAIN = ['train', TOY, '--environment', CORRIDOR, '--steps', '100', '--evaluate-every', '50']
AXES = """
[options]
steps = 100
evaluate-every = 50
seeds = 2
agent.clip = 0.5

[axes]
agent.learning_rate = [1e-3, 1e-2]
"""
RANGES = """
[ranges]
agent.learning_rate = { low = 1e-4, high = 1e-2, log = true }
agent.batch_size = { low = 8, high = 16, step = 4 }
agent.kind = { choices = ["adam", "sgd"] }
"""
TUNE = ['--sweep', 'sweep.toml', '--tune', 'optuna', '--sampler', 'random', '--workdir', 'a']


def returns_of(experiment):
    """Two evaluations; the best learning rate is 1e-3, and a seed adds its number."""
    best = -abs(math.log10(experiment.agent.learning_rate) + 3) + experiment.seed
    return [best - 1, best]


class Runs(list):
    """Stands in for `local.run`: keeps experiments, writes what a run leaves, and asks observers."""

    signal_at = None  # the number of the call that a signal ends

    def __call__(self, experiment, workdir, *, observers=(), **options):
        self.append(experiment)
        folder = Path(workdir)
        (folder / 'checkpoints').mkdir(parents=True, exist_ok=True)
        config = configs.to_json(experiment, 'local', 'in_process')
        (folder / 'config.json').write_text(json.dumps(config))
        columns = (
            'actor_steps',
            'learner_steps',
            'episode_return',
            'episode_return_std',
            'episodes',
        )
        logs = Logs(folder / 'logs', {'evaluator': columns})
        summary = make_summary(config, str(folder), (100, 10), 3, resumed_at=0)
        for number, mean in enumerate(returns_of(experiment), 1):
            row = (50 * number, number, mean, 0.0, 2)
            logs.write('evaluator', dict(zip(columns, row, strict=True)))
            summary['evaluation'] = {'return_mean': mean}
            reasons = [
                each.on_evaluation(50 * number, number, summary['evaluation']) for each in observers
            ]
            if any(reasons):
                summary['stopped'] = {'reason': reasons[0], 'by': repr(observers[0])}
                break
        logs.close()
        if len(self) == self.signal_at:
            return Result(experiment, str(folder), summary, True, signal.SIGTERM)
        (folder / 'result.json').write_text(json.dumps(summary))
        return Result(experiment, str(folder), summary)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = Runs()
    monkeypatch.setattr(local, 'run', calls)
    return calls


@pytest.fixture
def train(capfd):
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            command_line.main([str(argument) for argument in arguments])
        output = capfd.readouterr()
        return caught.value.code or 0, output.out, output.err

    return run


def test_a_grid_ends_with_a_table_and_passes_over_what_is_finished(runs, train):
    command = (*TRAIN, '--sweep', 'agent.learning_rate=1e-3,1e-2', '--seeds', 3, '--workdir', 'a')
    code, out, err = train(*command, '--json')
    assert code == 0, err
    said = json.loads(out.splitlines()[-1])
    best, worst = said['table']
    assert [best['run'], best['seeds'], best['best']] == ['learning_rate=0.001', 3, 1.5]
    assert [best['mean'], worst['mean']] == pytest.approx([0.5, -0.5])
    if best['low'] is not None:  # rliable is installed
        assert -0.5 <= best['low'] < best['mean'] < best['high'] <= 1.5
    (Path('a') / 'learning_rate=0.01' / 'seed-1' / 'result.json').unlink()
    code, out, err = train(*command)
    assert (code, len(runs)) == (0, 7)
    assert (runs[-1].agent.learning_rate, runs[-1].seed) == (0.01, 1)
    assert '5 runs are finished and passed over' in err
    rows = [line for line in out.splitlines() if 'learning_rate=0.0' in line and '│' in line]
    assert [row.split()[1] for row in rows] == ['learning_rate=0.001', 'learning_rate=0.01']


def test_runs_as_a_data_frame(runs, train, tmp_path):
    train(*TRAIN, '--sweep', 'agent.learning_rate=1e-3,1e-2', '--seeds', 2, '--workdir', 'a')
    frame = culmen.sweep_frame(tmp_path / 'a', last=1)
    assert frame['agent.learning_rate'].tolist() == [0.001, 0.001, 0.01, 0.01]
    assert frame['seed'].tolist() == [0, 1, 0, 1]
    assert frame['score'].tolist() == pytest.approx([0, 1, -1, 0])
    assert culmen.sweep_frame('a')['score'].tolist() == pytest.approx([-0.5, 0.5, -1.5, -0.5])
    assert frame['best'].tolist() == frame['last'].tolist() == frame['score'].tolist()
    assert set(frame['state']) == {'finished'}
    assert frame['run'][3] == 'learning_rate=0.01/seed-1'
    assert 'agent.clip' not in frame
    with pytest.raises(FileNotFoundError, match='holds no run'):
        culmen.sweep_frame(tmp_path / 'a' / 'nothing')


def test_a_file_gives_axes_and_options_and_what_is_typed_comes_first(runs, train):
    Path('sweep.toml').write_text(AXES)
    code, _, err = train(
        *('train', TOY, '--environment', CORRIDOR, '--sweep', 'sweep.toml'),
        *('--steps', 60, '--agent.clip=2', '--sweep', 'agent.batch_size=8', '--workdir', 'a'),
    )
    assert code == 0, err
    assert [(run.agent.learning_rate, run.seed) for run in runs] == [
        (1e-3, 0), (1e-3, 1), (1e-2, 0), (1e-2, 1),
    ]  # fmt: skip
    assert {(run.max_actor_steps, run.evaluation.every) for run in runs} == {(60, 50)}
    assert {(run.agent.clip, run.agent.batch_size) for run in runs} == {(2.0, 8)}
    assert (Path('a') / 'learning_rate=0.001,batch_size=8' / 'seed-0').is_dir()


def test_code_that_a_file_names_needs_trust(runs, train):
    names = f'[options]\nagent = "{TOY}"\nenvironment = "{CORRIDOR}"\nsteps = 10\n'
    Path('sweep.toml').write_text(names)
    code, _, err = train('train', '--sweep', 'sweep.toml')
    assert (code, len(runs)) == (2, 0)
    assert 'trust' in err
    assert train('train', '--sweep', 'sweep.toml', '--trust')[0] == 0
    assert train('train', TOY, '--sweep', 'sweep.toml', '--environment', CORRIDOR)[0] == 0
    assert len(runs) == 1  # the second finds the first finished


@pytest.mark.parametrize(
    ('text', 'options', 'said'),
    [
        ('[axis]', (), "unknown table 'axis'"),
        ('[axes]\nagent.clip = []', (), 'agent.clip must be a list of values, got []'),
        ('[axes]\nagent.clip = [1, 1]', (), 'agent.clip must have each value once'),
        ('[axes]\nagent.lip = [1.0]', (), 'lip'),
        ('[axes]\nseed = [1]', (), 'seed must be agent.FIELD or environment.FIELD'),
        ('[options]\nstep = 3', (), "unknown option 'step'"),
        ('[options]\ntrust = true', (), "unknown option 'trust'"),
        ('[options]\nsteps = [3]', (), 'steps takes one value'),
        ('[axes', (), 'sweep.toml is no TOML'),
        (RANGES, (), 'has ranges, which are for --tune'),
        (RANGES, ('--tune', 'optuna'), '--tune needs --trials N'),
        (RANGES, ('--tune', 'optuna', '--trials', '0'), 'must be at least 1, got 0'),
        (AXES, ('--tune', 'optuna', '--trials', '2'), 'with ranges of fields, and there are none'),
        (RANGES, ('--trials', '2'), '--trials is for --tune'),
        ('[ranges]\nagent.clip = {low = 2.0, high = 1.0}', (), 'high must be above low'),
        ('[ranges]\nagent.clip = {low = 0.0, high = 1.0, log = true}', (), 'low above 0'),
        ('[ranges]\nagent.clip = {low = 1, high = 4, step = 0}', (), 'step must be above 0'),
        ('[ranges]\nagent.clip = {low = 1, hi = 4}', (), "unknown key 'hi'"),
        ('[ranges]\nagent.clip = {}', (), 'agent.clip must have low and high, or choices'),
        ('[ranges]\nagent.batch_size = {low = 0, high = 4}',
         ('--tune', 'optuna', '--trials', '2'), 'batch_size must be at least 1, got 0'),
        (RANGES + '[axes]\nagent.clip = [1.0]', ('--tune', 'optuna', '--trials', '2'),
         'agent.clip has an axis, which is for a grid'),
        (RANGES, ('--tune', 'optuna', '--trials', '2', '--evaluate-every', '50', '--launcher', 'compiled',
         '--pruner', 'median'), '--pruner is for --launcher local'),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_written(runs, train, text, options, said):
    if '--tune' in options:
        pytest.importorskip('optuna')
    Path('sweep.toml').write_text(text)
    command = ('train', TOY, '--environment', CORRIDOR, '--steps', '100', '--workdir', 'a')
    code, _, err = train(*command, '--sweep', 'sweep.toml', *options)
    assert (code, len(runs)) == (2, 0), err
    assert said in ' '.join(err.split())
    assert not Path('a').exists()


def test_without_optuna_a_search_says_what_to_install(runs, train, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    Path('sweep.toml').write_text(RANGES)
    code, _, err = train(*TRAIN, *TUNE, '--trials', 2)
    assert code == 2
    assert "--tune needs optuna: pip install 'culmen[tuning]'" in err
    assert not Path('a').exists()


def test_jobs_are_of_many_runs(train, runs):
    code, _, err = train(*TRAIN, '--jobs', 2)
    assert code == 2
    assert '--jobs is for many runs' in err


# Pools.


def test_each_run_of_a_pool_is_a_command_that_makes_the_same_run(runs, train, monkeypatch):
    """The commands are called here instead, by a pool that has no processes."""
    commands = []

    class Called(Pool):
        def start(self, task):
            commands.append(task.command)
            super().start(task._replace(command=[sys.executable, '-c', 'print("{}")']))

    monkeypatch.setattr(planning, 'Pool', Called)
    Path('sweep.toml').write_text(AXES)
    command = (
        *('train', TOY, '--environment', CORRIDOR, '--sweep', 'sweep.toml', '--agent.kind=sgd'),
        *('--num-environments', 2, '--sweep', 'agent.hidden_sizes=(8,8)', '--workdir'),
    )
    code, _, err = train(*command, 'a', '--jobs', 2)
    assert (code, len(runs)) == (0, 0), err
    assert 'learning_rate=0.01,hidden_sizes=8,8/seed-1: finished' in err
    for each in commands:
        assert each[:3] == [sys.executable, '-m', 'culmen']
        assert train(*each[3:])[0] == 0
    called = list(runs)
    runs.clear()
    train(*command, 'b')
    assert sorted(map(str, called)) == sorted(map(str, runs))
    assert sorted(path.relative_to('a') for path in Path('a').glob('*/seed-*')) == sorted(
        path.relative_to('b') for path in Path('b').glob('*/seed-*')
    )


def in_pool(tmp_path, jobs, *programs):
    """How programs end in a pool, by their number; a signal is sent when one has said 'up'."""
    interruption, outcomes = Interruption(), {}
    with Pool(jobs, tmp_path, interruption) as pool:
        left = list(enumerate(programs))
        most = 0
        while left or not pool.is_empty:
            while left and pool.has_room:
                number, program = left.pop(0)
                command = [sys.executable, '-c', program]
                pool.start(Task(f'run/{number}', command))
            most = max(most, len(pool._running))
            if 'SIGTERM' in programs[-1]:
                while 'up' not in pool.log_of(f'run/{len(programs) - 1}').read_text():
                    pass
                interruption.ask(signal.SIGINT)
            name, outcome = pool.wait()
            outcomes[int(name[-1])] = outcome
    return [outcomes[number] for number in range(len(programs))], most


def test_a_pool_says_how_each_run_ended(tmp_path):
    done = 'print("loading"); print("{\\"seed\\": 3}")'
    refused = 'import sys; print("culmen: error: no such field", file=sys.stderr); sys.exit(2)'
    failed = 'raise RuntimeError'
    (first, second, third), most = in_pool(tmp_path, 2, done, refused, failed)
    assert (first.summary, first.signal, first.error) == ({'seed': 3}, None, '')
    assert (second.refused, second.summary) == (True, None)
    assert 'no such field' in second.error
    assert 'it ended with code 1' in third.error
    assert not third.refused
    assert 'RuntimeError' in (tmp_path / 'output' / 'run-2.log').read_text()
    assert most == 2


def test_a_signal_reaches_all_runs_of_a_pool_and_they_save(tmp_path):
    waits = (
        'import signal, sys\n'
        'def end(*_):\n'
        '    print("{\\"saved\\": true}")\n'
        '    sys.exit(143)\n'
        'signal.signal(signal.SIGTERM, end)\n'
        'print("up", file=sys.stderr, flush=True)\n'
        'signal.pause()\n'
    )
    outcomes, _ = in_pool(tmp_path, 1, waits)
    assert [(each.summary, each.signal) for each in outcomes] == [({'saved': True}, signal.SIGTERM)]
    assert outcomes[0].state == 'stopped, and goes on with the same command'


# Searches.


@pytest.fixture
def search(runs, train):
    pytest.importorskip('optuna')
    Path('sweep.toml').write_text(RANGES)
    return lambda *options: train(*TRAIN, *TUNE, *options)


def test_a_search_draws_from_its_ranges_and_tells_the_best(search, runs):
    code, out, err = search('--trials', 6, '--seeds', 2, '--pruner', 'none', '--json')
    assert code == 0, err
    assert [run.seed for run in runs] == [0, 1] * 6
    rates = [run.agent.learning_rate for run in runs[::2]]
    assert len(set(rates)) == 6
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert {run.agent.batch_size for run in runs} <= {8, 12, 16}
    assert {run.agent.kind for run in runs} == {'adam', 'sgd'}
    best = min(range(6), key=lambda number: abs(math.log10(rates[number]) + 3))
    assert f'the best of 6 trials is {best} with' in err
    table = json.loads(out.splitlines()[-1])['table']
    assert table[0]['run'].startswith(f'trial {best} (complete), learning_rate=')
    assert [row['seeds'] for row in table] == [2] * 6
    frame = culmen.sweep_frame('a')
    assert frame['agent.learning_rate'].tolist() == [run.agent.learning_rate for run in runs]


def test_an_interrupted_search_goes_on_with_its_trial(search, runs):
    runs.signal_at = 2
    code, _, _ = search('--trials', 3)
    assert (code, len(runs)) == (143, 2)
    code, _, err = search('--trials', 3)
    assert code == 0, err
    assert len(runs) == 4
    assert runs[2] == runs[1]
    assert len({run.agent.learning_rate for run in runs}) == 3
    code, _, err = search('--trials', 3)
    assert (code, len(runs)) == (0, 4)
    code, _, err = search('--trials', 4)
    assert (code, len(runs)) == (0, 5)
    assert len({run.agent.learning_rate for run in runs}) == 4
    code, _, err = search('--trials', 5, '--seeds', 2)
    assert (code, len(runs)) == (2, 5)
    assert 'a is of another study: seeds differ' in err


def test_evaluations_prune_trials(search, runs, tmp_path):
    from culmen.launchers.sweeping import pruning
    from culmen.launchers.sweeping import studies

    code, out, err = search('--trials', 12, '--pruner', 'halving', '--json')
    assert code == 0, err
    assert 'pruned (learning_rate=' in err
    table = json.loads(out.splitlines()[-1])['table']
    states = [row['run'].split()[2] for row in table]
    assert {'(pruned),', '(complete),'} == set(states)
    frame = culmen.sweep_frame('a')
    assert set(frame['state']) == {'finished', 'stopped'}
    assert frame[frame['state'] == 'stopped']['stopped'].str.fullmatch('pruned at 50 steps').all()

    # A run in a process of its own reports to the same study.
    place = studies.Place.of(tmp_path / 'a', None)
    study = place.open()
    trial = study.ask()
    observer = pruning.pruning_of(pruning.pruning_text(place, 'halving', trial.number))
    assert observer.on_evaluation(50, 1, {'return_mean': -9.0}) == 'pruned at 50 steps'
    assert study.trials[trial.number].intermediate_values == {50: -9.0}
    assert 'Pruning(trial=12)' == repr(observer)


def test_a_trial_that_fails_is_one_and_the_others_go_on(search, runs, monkeypatch):
    def run(experiment, workdir, **options):
        if len(runs) == 1:
            runs.append(experiment)
            raise RuntimeError('the loss is nan')
        return runs(experiment, workdir, **options)

    monkeypatch.setattr(local, 'run', run)
    code, _, err = search('--trials', 3)
    assert (code, len(runs)) == (1, 3)
    assert '1 of 3 runs failed: a/trial-0001/seed-0: RuntimeError: the loss is nan' in err
    assert 'culmen: trial 1: failed' in err
