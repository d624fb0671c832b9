"""The command line: what is refused, what is run, what is printed, and the exit codes."""

import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from culmen.agents.catalogue import ENTRIES
from culmen.components.loggers import JsonlLog
from culmen.components.loggers import MlflowLog
from culmen.components.loggers import TensorBoardLog
from culmen.components.loggers import WandbLog
from culmen.launchers import command_line
from culmen.launchers import launchpad
from culmen.launchers import local
from culmen.launchers import offline
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from tests.conftest import is_installed
from tests.launchers.toys import Around
from tests.launchers.toys import Toy

TOY = 'tests.launchers.toys:Toy'
CORRIDOR = 'tests.launchers.toys:corridor'
TRAIN = ['train', TOY, '--environment', CORRIDOR, '--steps', '100']


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def culmen(capfd):
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            command_line.main([str(argument) for argument in arguments])
        output = capfd.readouterr()
        return caught.value.code or 0, output.out, output.err

    return run


@pytest.fixture
def runs(monkeypatch):
    """Stands in for `local.run`: keeps the calls, and does what `runs.then` says."""

    class Runs(list):
        def then(self, experiment, workdir):
            summary = {'agent': 'toy', 'seed': experiment.seed, 'workdir': str(workdir)}
            return Result(experiment, str(workdir), summary)

    calls = Runs()

    def run(experiment, workdir, **options):
        calls.append((experiment, workdir, options))
        return calls.then(experiment, workdir)

    monkeypatch.setattr(local, 'run', run)
    return calls


def test_the_options_make_the_experiment(culmen, runs, tmp_path):
    code, _, _ = culmen(
        *('train', '--agent.learning_rate', '3e-4', TOY, '--environment', CORRIDOR),
        *('--steps', '2e4', '--learner-steps', 1_000, '--seed', 7, '--workdir', 'a'),
        *('--evaluate-every', '5_000', '--evaluation-episodes', 3, '--checkpoint-every', 11),
        *('--num-environments', 2, '--lag', 0, '--updates-per-call', 4),
        *('--agent.hidden-sizes=32,16', '--environment.prize=2', '--until-return', '-1.5'),
        *('--on-non-finite', 'log', '--agent.clip', '-1', '--replay', 'in_process'),
    )
    [(experiment, workdir, options)] = runs
    assert code == 0
    assert experiment.agent == Toy(learning_rate=3e-4, hidden_sizes=(32, 16), clip=-1.0)
    assert experiment.environment.name == CORRIDOR
    assert dict(experiment.environment.arguments) == {'prize': 2.0}
    assert (experiment.max_actor_steps, experiment.max_learner_steps) == (20_000, 1_000)
    assert (experiment.evaluation.every, experiment.evaluation.episodes) == (5_000, 3)
    assert experiment.checkpoint.every == 11
    assert (experiment.seed, experiment.num_environments) == (7, 2)
    assert (experiment.lag, experiment.updates_per_call) == (0, 4)
    assert str(workdir) == 'a'
    assert options == {
        'replay': 'in_process',
        'loggers': [],
        'on_non_finite': 'log',
        'on_lost_rows': 'drop',
        'trust': False,
        'until_return': -1.5,
        'device': None,
        'actor_device': None,
        'record': None,
    }


def test_an_agent_made_of_another(culmen, runs):
    culmen(
        *('train', 'tests.launchers.toys:Around', '--environment', CORRIDOR, '--steps', 10),
        *('--agent.base.batch_size', 8, '--agent.base', TOY, '--agent.other.clip', '0.5'),
    )
    assert runs[0][0].agent == Around(Toy(batch_size=8), other=Toy(clip=0.5, kind='sgd'))


def test_a_config_then_a_preset_then_the_options(culmen, runs, tmp_path):
    file = tmp_path / 'config.json'
    agent = {'name': TOY, 'batch_size': 5, 'learning_rate': 0.5, 'clip': 2.0}
    environment = {'name': CORRIDOR, 'prize': 3.0}
    config = {'agent': agent, 'environment': environment, 'seed': 4, 'max_actor_steps': 10}
    file.write_text(json.dumps({**config, 'launcher': 'local', 'replay': 'in_process'}))
    culmen('train', '--config', file, '--trust')
    culmen(
        'train',
        '--config',
        file,
        '--trust',
        '--preset',
        'paper',
        '--agent.batch_size',
        6,
        '--steps',
        20,
    )
    first, second = (experiment for experiment, _, _ in runs)
    assert first.agent == Toy(batch_size=5, learning_rate=0.5, clip=2.0)
    assert (first.seed, first.environment.arguments['prize']) == (4, 3.0)
    assert second.agent == Toy(batch_size=6, learning_rate=2.5e-4, clip=2.0, hidden_sizes=(512,))
    assert second.max_actor_steps == 20


def test_the_workdir_has_a_default_which_is_told(culmen, runs):
    _, _, err = culmen(*TRAIN, '--seed', 3)
    folder = 'runs/tests.launchers.toys-Toy/tests.launchers.toys-corridor/seed-3'
    assert str(runs[0][1]) == folder
    assert f'the workdir is {folder}' in err


def test_json_is_the_only_line_on_standard_output(culmen, runs):
    def noisy(experiment, workdir):
        print('from Python')
        os.system('echo from a library')
        nan = float('nan')
        return Result(experiment, None, {'seed': 1, 'evaluation': {'return_mean': nan}})

    runs.then = noisy
    code, out, err = culmen(*TRAIN, '--json')
    assert code == 0
    assert json.loads(out) == {'seed': 1, 'evaluation': {'return_mean': None}}
    assert out.count('\n') == 1
    assert 'from Python' in err
    assert 'from a library' in err
    _, out, _ = culmen(*TRAIN)
    assert 'seed: 1' in out


def test_seeds_run_one_after_another_in_folders_of_their_own(culmen, runs):
    code, out, _ = culmen(*TRAIN, '--seed', 5, '--seeds', 2, '--workdir', 'a', '--json')
    assert code == 0
    assert [(e.seed, str(w)) for e, w, _ in runs] == [(5, 'a/seed-5'), (6, 'a/seed-6')]
    assert [run['workdir'] for run in json.loads(out)['runs']] == ['a/seed-5', 'a/seed-6']


def test_a_run_is_recorded_and_of_several_seeds_each(culmen, runs):
    culmen(*TRAIN, '--record', 'recorded')
    assert runs[0][2]['record'] == Path('recorded')
    culmen(*TRAIN, '--seeds', 2, '--record', 'recorded', '--workdir', 'a')
    assert [each[2]['record'] for each in runs[1:]] == [
        Path('recorded/seed-0'), Path('recorded/seed-1')
    ]  # fmt: skip


def test_offline_needs_no_steps_of_actors(culmen, runs, monkeypatch):
    calls = []

    def run(experiment, workdir, **options):
        calls.append((experiment, workdir, options))
        return runs.then(experiment, workdir)

    monkeypatch.setattr(offline, 'run', run)
    code, _, _ = culmen(
        *TRAIN[:4], '--launcher', 'offline', '--learner-steps', 50, '--device', 'cpu'
    )
    assert code == 0
    [(experiment, workdir, options)] = calls
    assert (experiment.max_actor_steps, experiment.max_learner_steps) == (None, 50)
    assert options['device'][0].platform == 'cpu'
    assert not runs


def test_a_recording_is_cloned_offline(culmen):
    code, _, _ = culmen(
        *('train', 'dqn', '--environment', 'bsuite/catch/0', '--steps', 60),
        *('--evaluation-episodes', 1, '--record', 'recorded', '--workdir', 'a'),
    )
    assert code == 0
    clone = (
        *('train', 'bc', '--agent.source', 'recorded', '--environment', 'bsuite/catch/0'),
        *('--evaluation-episodes', 1, '--learner-steps', 20, '--json'),
    )
    code, out, _ = culmen(*clone, '--launcher', 'offline', '--workdir', 'b')
    assert code == 0
    line = json.loads(out.splitlines()[-1])
    assert (line['agent'], line['launcher'], line['learner_steps']) == ('bc', 'offline', 20)
    code, _, err = culmen(*clone, '--workdir', 'c')
    assert code == 2
    assert 'the offline launcher trains on it' in err
    code, out, _ = culmen('train', '--config', 'b/config.json', '--workdir', 'b', '--json')
    assert (code, json.loads(out)['resumed_at']) == (0, 20)
    assert culmen('evaluate', 'b', '--episodes', 1)[0] == 0
    assert culmen('plot', 'b')[0] == 0


def test_rows_go_to_the_sinks_that_are_named(culmen, runs):
    names = {
        'jsonl': JsonlLog,
        'tensorboard': TensorBoardLog,
        'wandb': WandbLog,
        'mlflow': MlflowLog,
    }
    for name in names:
        culmen(*TRAIN, '--workdir', 'a', '--log', name)
    assert [type(sink) for run in runs for sink in run[2]['loggers']] == [*names.values()]
    culmen(*TRAIN, '--workdir', 'a', '--log', 'jsonl', '--log', 'mlflow', '--log', 'jsonl')
    assert [type(sink) for sink in runs[-1][2]['loggers']] == [JsonlLog, MlflowLog]
    assert not os.path.exists('a')
    code, _, err = culmen(*TRAIN, '--workdir', 'a', '--log', 'comet')
    assert code == 2 and "'wandb'" in err


def test_devices_are_given_by_name(culmen, runs):
    culmen(*TRAIN, '--device', 'cpu', '--actor-device', 'cpu:0')
    options = runs[0][2]
    assert [device.platform for device in options['device']] == ['cpu']
    assert options['actor_device'].id == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['train'], 'AGENT is needed, one of'),
        (['train', 'dqm', *TRAIN[2:]], "unknown agent 'dqm'"),
        (TRAIN[:2], '--environment is needed'),
        (TRAIN[:4], '--steps or --learner-steps is needed'),
        ([*TRAIN[:3], 'bsuit/catch/0', '--steps', '5'], "unknown environment 'bsuit/catch/0'"),
        ([*TRAIN[:4], '--steps', '-5'], "'--steps': must be at least 1, got -5"),
        ([*TRAIN[:4], '--steps', '1.5'], "'--steps': must be an int, got '1.5'"),
        ([*TRAIN, '--agent.learning_rat', '1'], "unknown field 'learning_rat'; .* learning_rate"),
        ([*TRAIN, '--agent.batch_size', '0'], 'batch_size must be at least 1, got 0'),
        ([*TRAIN, '--agent.batch_size', 'x'], 'batch_size must be an int, got .x.'),
        ([*TRAIN, '--agent.batch_size'], '--agent.batch_size needs a value'),
        ([*TRAIN, '--agent.double', '--json'], '--agent.double needs a value'),
        ([*TRAIN, '--agent.name', 'dqn'], '--agent.name is no field'),
        ([*TRAIN, '--environment.price', '1'], "unknown argument 'price'; .* prize"),
        ([*TRAIN, '--environment.prize', 'x'], 'prize must be a float'),
        ([*TRAIN, '--preset', 'papers'], "unknown preset 'papers'; .* paper"),
        ([*TRAIN, '--replay', 'disk'], "'disk' is not one of 'in_process', 'reverb'"),
        ([*TRAIN, '--device', 'tpu:3'], "--device 'tpu:3' is not here; there are cpu:0"),
        (
            [*TRAIN[:4], '--launcher', 'offline', '--learner-steps', '5', '--replay', 'reverb'],
            '--replay must be in_process with --launcher offline',
        ),
        (
            [*TRAIN[:4], '--launcher', 'offline', '--learner-steps', '5', '--actors', '2'],
            '--actors is for --launcher threads, processes, hosts or ray',
        ),
        (
            [*TRAIN[:4], '--launcher', 'offline', '--learner-steps', '5', '--record', 'a'],
            '--record is for --launcher local, got offline',
        ),
        (
            [*TRAIN[:4], '--launcher', 'offline', '--learner-steps', '5', '--actor-device', 'cpu'],
            '--actor-device is for --launcher local, threads, processes, hosts or ray, got offline',
        ),
        ([*TRAIN, '--launcher', 'threads', '--record', 'a'], '--record is for --launcher local'),
        (
            [*TRAIN, '--actors-per-process', '2'],
            '--actors-per-process is for programs, --launcher threads, processes, hosts or ray, got local',
        ),
        ([*TRAIN, '--variables', 'actor.A=1'], '--variables is for programs'),
        ([*TRAIN, '--launcher', 'offline'], 'max_actor_steps is for launchers with actors'),
        ([*TRAIN, '--config', 'none.json'], 'none.json'),
        ([*TRAIN, '--step', '5'], 'No such option.*--step'),
        (['evaluate', 'a'], 'a holds no run'),
        (['plot', 'a'], 'a holds no run'),
        (['list', 'agent'], "'agent' is not one of"),
    ],
)
def test_a_bad_command_is_refused_in_words_and_leaves_nothing(culmen, runs, arguments, message):
    import re

    code, out, err = culmen(*arguments)
    assert (code, out) == (2, '')
    assert re.search(message, ' '.join(err.split()))
    assert 'Traceback' not in err
    assert not runs
    assert os.listdir('.') == []


@pytest.mark.parametrize(
    ('text', 'message'),
    [('{', 'is no JSON'), ('[]', 'must hold a mapping'), ('{"agent": 3}', 'agent must be a name')],
)
def test_a_bad_config_file_is_refused(culmen, runs, tmp_path, text, message):
    (tmp_path / 'c.json').write_text(text)
    code, _, err = culmen(*TRAIN, '--config', 'c.json')
    assert code == 2
    assert message in err


def test_a_config_for_another_agent_is_refused(culmen, runs, tmp_path):
    (tmp_path / 'c.json').write_text('{"agent": "dqn"}')
    code, _, err = culmen(*TRAIN, '--config', 'c.json')
    assert (code, len(runs)) == (2, 0)
    assert f'AGENT is {TOY}, but the config is for dqn' in err


def test_another_experiment_is_refused_before_the_first_seed(culmen, runs, tmp_path):
    other = {'agent': {'name': TOY, 'batch_size': 9}, 'launcher': 'local'}
    (tmp_path / 'a' / 'seed-1').mkdir(parents=True)
    (tmp_path / 'a' / 'seed-1' / 'config.json').write_text(json.dumps(other))
    code, _, err = culmen(*TRAIN, '--seeds', 2, '--workdir', 'a')
    assert (code, len(runs)) == (2, 0)
    assert 'a/seed-1 holds another experiment: agent.batch_size' in err
    code, _, err = culmen(*TRAIN, '--seeds', 2, '--workdir', 'a/seed-1')
    assert (code, len(runs)) == (2, 0)
    assert 'with --seeds or --sweep it must be a folder of runs' in err


@pytest.mark.parametrize(
    ('sweep', 'values', 'folders'),
    [
        ('hidden_sizes=(8,8),(16,)', [(8, 8), (16,)], ['hidden_sizes=8,8', 'hidden_sizes=16']),
        ('hidden_sizes=[8, 8],4', [(8, 8), (4,)], ['hidden_sizes=8,8', 'hidden_sizes=4']),
        ('learning_rate=1e-3,0.001,2', [1e-3, 2.0], ['learning_rate=0.001', 'learning_rate=2.0']),
        ('clip=none,None,1', [None, 1.0], ['clip=none', 'clip=1.0']),
        ('double=true,False', [True, False], ['double=true', 'double=false']),
        ("kind='adam',sgd", ['adam', 'sgd'], ['kind=adam', 'kind=sgd']),
    ],
)
def test_a_sweep_reads_values_and_calls_runs_by_them(culmen, runs, sweep, values, folders):
    code, _, err = culmen(*TRAIN, '--workdir', 'a', '--sweep', f'agent.{sweep}')
    assert code == 0, err
    field = sweep.partition('=')[0]
    assert [getattr(experiment.agent, field) for experiment, _, _ in runs] == values
    assert [str(workdir) for _, workdir, _ in runs] == [f'a/{name}/seed-0' for name in folders]


def test_a_sweep_of_environments_and_agents_is_called_by_what_is_read(culmen, runs):
    code, _, err = culmen(
        *('train', 'tests.launchers.toys:Around', '--environment', CORRIDOR, '--steps', 10),
        *('--sweep', f'agent.base={TOY}', '--sweep', 'agent.base.batch_size=8,8.0'),
        *('--sweep', 'environment.prize=2,2.0', '--workdir', 'a'),
    )
    assert code == 0, err
    [(experiment, workdir, _)] = runs
    assert experiment.agent.base == Toy(batch_size=8)
    name = 'base=tests.launchers.toys-Toy,base.batch_size=8,prize=2.0'
    assert str(workdir) == f'a/{name}/seed-0'


@pytest.mark.parametrize('many', [(), ('--seeds', '2')])
@pytest.mark.parametrize('in_the_way', ['a file', 'a link'])
def test_a_folder_that_can_not_be_made_is_refused(culmen, runs, tmp_path, in_the_way, many):
    if in_the_way == 'a file':
        (tmp_path / 'way').write_text('')
    else:
        (tmp_path / 'way').symlink_to(tmp_path / 'nowhere')
    for folder in ('way/run', 'way'):
        code, _, err = culmen(*TRAIN, '--workdir', folder, *many)
        assert (code, len(runs)) == (2, 0)
        assert 'can not be made: ' in err
        why = 'no folder' if in_the_way == 'a file' else 'a link that leads nowhere'
        assert f'{tmp_path / "way"} is {why}.' in err
        assert [path.name for path in tmp_path.iterdir()] == ['way']


@pytest.mark.parametrize(
    ('command', 'words'),
    [
        (['evaluate', '~/run'], '{home}/run holds no run'),
        (['plot', '~/run'], '{home}/run holds no run'),
        (['train', '--config', '~/c.json'], "File '{home}/c.json' does not exist"),
        (['plot', 'run', '--out', '~/there'], "File '{home}/there' is a directory"),
    ],
)
def test_a_tilde_is_the_home_in_every_path(culmen, tmp_path, monkeypatch, command, words):
    home = tmp_path / 'home'
    (home / 'there').mkdir(parents=True)
    monkeypatch.setenv('HOME', str(home))
    code, _, err = culmen(*command)
    assert code == 2
    assert words.format(home=home) in err


def test_a_tilde_is_the_home_in_the_folders_of_a_run(culmen, runs, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    code, _, _ = culmen(*TRAIN, '--workdir=~/run', '--record=~/recording')
    [(_, workdir, options)] = runs
    assert (code, workdir) == (0, tmp_path / 'home' / 'run')
    assert options['record'] == tmp_path / 'home' / 'recording'


@pytest.mark.parametrize(
    ('error', 'code', 'line'),
    [
        (Refused('no continuous actions'), 2, 'culmen: error: no continuous actions'),
        (RuntimeError('lane 0\nbroke'), 1, 'culmen: error: RuntimeError: lane 0 broke'),
        (ValueError('in a step'), 1, 'culmen: error: ValueError: in a step'),
        (OSError(28, 'full', 'a.csv'), 1, "culmen: error: OSError: [Errno 28] full: 'a.csv'"),
        (KeyboardInterrupt(), 130, 'culmen: error: interrupted.'),
    ],
)
def test_errors_are_one_line_and_an_exit_code(culmen, runs, error, code, line):
    def fail(experiment, workdir):
        raise error

    runs.then = fail
    found, out, err = culmen(*TRAIN, '--workdir', 'a')
    assert (found, out, err) == (code, '', f'{line}\n')
    found, out, err = culmen(*TRAIN, '--workdir', 'a', '--debug')
    assert found == code
    assert 'Traceback' in err


@pytest.mark.parametrize(
    ('number', 'code'), [(None, 130), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_run_that_was_stopped_is_told_by_the_exit_code(culmen, runs, number, code):
    def stop(experiment, workdir):
        return Result(experiment, None, {'seed': experiment.seed}, interrupted=True, signal=number)

    runs.then = stop
    found, out, _ = culmen(*TRAIN, '--seeds', 3, '--json')
    assert found == code
    assert json.loads(out)['runs'] == [{'seed': 0}]  # what there is; the others were not begun


def test_the_lists(culmen):
    code, out, _ = culmen('list', 'agents', '--json')
    agents = {row['name']: row for row in json.loads(out)}
    assert code == 0
    assert agents['dqn']['class'] == 'culmen.agents.dqn:DQN'
    assert agents['dqn']['about'].startswith('Deep Q-Networks')
    assert agents['rainbow']['paper'] == 'Hessel et al. 2018 (1710.02298)'
    _, out, _ = culmen('list', 'agents')
    assert re.search(
        r'^values:\n(.*\n)*continuous control:\n(.*\n)*recorded data:$', out, re.MULTILINE
    )
    assert '    learns: off-policy' in out
    _, out, _ = culmen('list', 'environments', '--json')
    assert {'bsuite', 'gymnasium', 'atari'} <= {row['family'] for row in json.loads(out)}
    _, out, _ = culmen('list', 'environments')
    assert 'restorable: ' in out


def test_the_list_of_environments_is_filtered(culmen):
    code, out, _ = culmen('list', 'environments', '--family', 'jax', '--actions', 'continuous')
    assert (code, out.split()) == (0, ['jax/cartpole_swingup', 'jax/pixel_reach', 'jax/u_maze'])
    _, out, _ = culmen('list', 'environments', '--jax', '--actions', 'discrete', '--json')
    rows = json.loads(out)
    assert {'name': 'jax/catch', 'actions': 'discrete', 'jax': True} in rows
    assert all(row['jax'] and row['actions'] == 'discrete' for row in rows)
    code, _, error = culmen('list', 'environments', '--family', 'jx')
    assert (code, "unknown family 'jx'" in error) == (2, True)
    code, _, error = culmen('list', 'agents', '--jax')
    assert (code, 'are of environments' in error) == (2, True)


@pytest.mark.parametrize('name', sorted(set(ENTRIES) - {'bc'}))
def test_the_example_of_an_agent_in_the_list_is_accepted(culmen, runs, name):
    program, *arguments = shlex.split(ENTRIES[name].example)
    if 'dm_control' in ENTRIES[name].example:
        pytest.importorskip('dm_control')
    code, _, err = culmen(*arguments)
    assert (program, code) == ('culmen', 0), err
    assert len(runs) == 1


def test_the_example_of_bc_asks_for_a_recording(culmen, runs):
    code, _, err = culmen(*shlex.split(ENTRIES['bc'].example)[1:])
    assert code == 2
    assert 'runs/recording' in err


def test_train_evaluate_and_plot(culmen):
    pytest.importorskip('imageio_ffmpeg')
    train = [
        *('train', 'dqn', '--environment', CORRIDOR, '--steps', 400, '--seed', 1, '--workdir', 'a'),
        *(
            '--agent.min_replay_size',
            50,
            '--agent.batch_size',
            16,
            '--evaluate-every',
            100,
            '--json',
        ),
    ]
    code, out, err = culmen(*train)
    assert code == 0, err
    first = json.loads(out)
    assert (first['agent'], first['environment'], first['launcher']) == ('dqn', CORRIDOR, 'local')
    assert (first['actor_steps'], first['episodes'], first['resumed_at']) == (400, 100, 0)
    assert first['evaluation']['episodes'] == 20

    code, out, _ = culmen(*train)  # it is finished: the stored result, and nothing is trained
    assert code == 0
    assert json.loads(out) == {**first, 'resumed_at': 400}

    code, out, _ = culmen(
        'evaluate', 'a', '--trust', '--episodes', 32, '--video', 'v.mp4', '--json'
    )
    evaluated = json.loads(out)
    assert code == 0
    assert list(evaluated) == list(first)
    assert {key: evaluated[key] for key in ('actor_steps', 'learner_steps', 'episodes')} == {
        key: first[key] for key in ('actor_steps', 'learner_steps', 'episodes')
    }
    assert evaluated['evaluation']['episodes'] == 32
    assert os.path.getsize('v.mp4') > 500

    code, out, _ = culmen('plot', 'a', '--out', 'curve.png')
    assert (code, out) == (0, 'curve.png\n')
    assert os.path.getsize('curve.png') > 5_000

    code, _, err = culmen(*train, '--agent.batch_size', 8)
    assert code == 2
    assert 'agent.batch_size differ' in err


def test_help_lists_the_fields_of_the_agent_that_is_named():
    lines = CliRunner().invoke(command_line.cli, ['train', 'dqn', '--help']).stdout
    assert re.search(r'Fields of dqn:\n', lines)
    assert re.search(r'--agent\.learning_rate +a float  \[default: 0\.001\]', lines)
    assert 'Fields of dqn' not in CliRunner().invoke(command_line.cli, ['train', '--help']).stdout


def test_help_is_quick_and_needs_no_optional_package():
    code = (
        'import sys\n'
        'from culmen.launchers.command_line import main\n'
        'try:\n'
        '    main(["train", "--help"])\n'
        'finally:\n'
        '    heavy = {"pandas", "matplotlib", "haiku", "optax", "tensorboardX", "rich"}\n'
        '    print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n'
    )
    root = str(Path(command_line.__file__).parents[3])
    done = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, '[]')
    assert '--agent.FIELD V' in done.stdout


# Programs.


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--actors', 2], '--actors is for --launcher threads, processes, hosts or ray'),
        (['--address', 'auto'], '--address is for --launcher ray'),
        (['--resources', 'actor.cpu=1'], '--resources is for --launcher ray'),
        (['--launcher', 'ray', '--resources', 'actor'], '--resources must be KIND.NAME=NUMBER'),
        (['--launcher', 'ray', '--seeds', 2, '--actors', 2], '--actors is for a program, and with'),
        (['--launcher', 'ray', '--seeds', 2, '--device', 'cpu'], '--device is for a program, and'),
        (
            ['--launcher', 'ray', '--seeds', 2, '--resources', 'actor.cpu=1'],
            '--resources must be of run with --seeds or --sweep, got actor',
        ),
        (['--restarts', 2], '--restarts is for programs, --launcher threads, processes, hosts or'),
        (['--hang-after', '9'], '--hang-after is for programs'),
        pytest.param(
            ['--launcher', 'threads', '--hang-after', '0.5'],
            'hang_after must be at least 1, got 0.5',
            marks=pytest.mark.launchpad,
        ),
        pytest.param(
            ['--launcher', 'threads', '--grace', '0'],
            'grace must be above 0, got 0',
            marks=pytest.mark.launchpad,
        ),
        (['--launcher', 'ships'], "'ships' is not one of"),
        (['--launcher', 'hosts'], '--launcher hosts needs --hosts FILE'),
        (['--launcher', 'hosts', '--hosts', 'none.toml'], 'none.toml does not exist'),
        (['--launcher', 'processes', '--hosts', 'a.toml'], '--hosts is for --launcher hosts'),
        (['--trusted-network'], '--trusted-network is for --launcher hosts'),
        pytest.param(
            ['--launcher', 'processes', '--device', 'GPU 1'],
            "device must be a name .* got 'GPU 1'",
            marks=pytest.mark.launchpad,
        ),
        (
            ['--launcher', 'processes', '--variables', 'A=1'],
            "must be KIND.NAME=VALUE, got 'A=1'",
        ),
        pytest.param(
            ['--launcher', 'processes', '--variables', 'actors.A=1'],
            "got 'actors'; the nearest is 'actor'",
            marks=pytest.mark.launchpad,
        ),
    ],
)
def test_what_a_program_can_not_do_is_refused(culmen, options, words, tmp_path):
    code, out, err = culmen(*TRAIN, '--workdir', 'a', *options)
    assert (code, out) == (2, '')
    assert re.search(words, err)
    assert list(tmp_path.iterdir()) == []


HOSTS = """
port = FREE
[hosts.big]
address = "127.0.0.1"
nodes = ["learner"]
[hosts.small]
address = "127.0.0.2"
actors = 2
"""


@pytest.mark.launchpad
@pytest.mark.skipif(not is_installed('reverb'), reason='hosts run programs, which need Reverb')
@pytest.mark.parametrize(
    ('file', 'options', 'words'),
    [
        (HOSTS, ['--host', 'smal'], "unknown host 'smal'; the nearest valid ones: small"),
        (HOSTS, ['--host', 'big', '--actors', 3], '--actors must be 2, as many as'),
        (HOSTS, ['--host', 'big', '--seeds', 2], '--launcher hosts has one run a command'),
        (
            HOSTS.replace('actors', 'nodes = ["learner"]\nactors'),
            [],
            'a program has one learner, but',
        ),
        (HOSTS, ['--host', 'big'], 'give --trusted-network'),
        (HOSTS, ['--host', 'small'], 'give --trusted-network'),
        (
            HOSTS,
            ['--host', 'small', '--trusted-network'],
            'a key is needed: name its file as --key-file',
        ),
        (HOSTS, ['--host', 'big', '--trusted-network', '--key-file', 'key'], 'make it by'),
        (
            'wait = 0.5\nkey = "good"\n' + HOSTS,
            ['--host', 'big', '--trusted-network'],
            'these hosts did not join within 0.5 seconds .*: small .127.0.0.2',
        ),
        (
            'wait = 0.5\nkey = "good"\n' + HOSTS.replace('127.0.0.1', '203.0.113.9'),
            ['--host', 'big', '--trusted-network'],
            'host big can not listen at 203.0.113.9: .* listen = "0.0.0.0"',
        ),
        (
            'key = "good"\n' + HOSTS.replace('FREE', 'TAKEN'),
            ['--host', 'big', '--trusted-network'],
            'port .*, which hosts.toml gives to the gathering, can not be used here: Address already in',
        ),
    ],
)
def test_what_hosts_can_not_do_is_refused(culmen, file, options, words, tmp_path):
    with socket.create_server(('', 0)) as free:
        port = min(free.getsockname()[1], 65_531)
    with socket.create_server(('', 0)) as taken:
        used = taken.getsockname()[1]
        text = file.replace('FREE', str(port)).replace('TAKEN', str(min(used, 65_531)))
        (tmp_path / 'hosts.toml').write_text(text)
        (tmp_path / 'good').write_text('0a' * 32)
        (tmp_path / 'good').chmod(0o600)
        code, out, err = culmen(
            *('train', 'dqn', *TRAIN[2:], '--workdir', 'a'),
            *('--launcher', 'hosts', '--hosts', 'hosts.toml', *options),
        )
    assert (code, out) == (2, ''), err
    assert re.search(words, err)
    assert not (tmp_path / 'a').exists()


def test_the_options_make_a_program(culmen, monkeypatch, tmp_path):
    calls = []

    def make_program(experiment, workdir, **options):
        calls.append((experiment, workdir, options))
        return 'the program'

    def launch(program, backend):
        calls.append((program, backend))
        return Result(calls[0][0], 'a', {'launcher': backend})

    monkeypatch.setattr(launchpad, 'make_program', make_program)
    monkeypatch.setattr(launchpad, 'launch', launch)
    file = tmp_path / 'config.json'
    config = {'agent': TOY, 'environment': CORRIDOR, 'seed': 4, 'max_actor_steps': 10}
    file.write_text(json.dumps({**config, 'launcher': 'local', 'replay': 'in_process'}))
    program = (
        *('--launcher', 'processes', '--actors', 3, '--until-return', 1, '--device', 'gpu:1'),
        *('--actor-device', 'cpu', '--actors-per-process', 2, '--variables', 'actor.A=b=c'),
        *('--variables', 'learner.B=', '--variables', 'actor.C=d'),
    )
    code, out, _ = culmen(
        'train', '--config', file, *program, '--trust', '--workdir', 'a', '--json'
    )
    assert (code, json.loads(out)) == (0, {'launcher': 'processes'})
    (experiment, workdir, options), launched = calls
    assert (experiment.seed, str(workdir)) == (4, 'a')
    assert options == {
        'num_actors': 3, 'replay': 'reverb', 'loggers': [], 'on_non_finite': 'stop', 'on_lost_rows': 'drop',
        'until_return': 1.0, 'device': 'gpu:1', 'actor_device': 'cpu', 'actors_per_process': 2,
        'variables': {'actor': {'A': 'b=c', 'C': 'd'}, 'learner': {'B': ''}},
    }  # fmt: skip
    assert launched == ('the program', 'processes')


def test_a_config_of_a_program_runs_in_one_process_too(culmen, runs, tmp_path):
    file = tmp_path / 'config.json'
    config = {'agent': TOY, 'environment': CORRIDOR, 'max_actor_steps': 10, 'num_actors': 4}
    file.write_text(json.dumps({**config, 'launcher': 'threads', 'replay': 'reverb'}))
    program = ('train', TOY, '--config', file, '--environment', CORRIDOR)
    code, _, _ = culmen(*program, '--launcher', 'local', '--replay', 'in_process')
    assert code == 0
    assert runs[0][2]['replay'] == 'in_process'


def test_without_launchpad_a_program_says_what_to_install(culmen, monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == 'launchpad' else find_spec(name, *rest)
    monkeypatch.setattr(importlib.util, 'find_spec', hidden)
    code, out, err = culmen(*TRAIN, '--workdir', 'a', '--launcher', 'threads')
    assert (code, out) == (2, '')
    assert 'can not be imported: programs need Launchpad and Reverb: pip install' in err
    assert 'Python 3.10 and Linux x86-64' in err
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_names_is_imported_with_trust_or_where_the_command_names_it_too(
    culmen, runs, tmp_path
):
    # The attack of old: `os:spawnv` was called with the seed and the arguments of the file.
    spawn = {
        'name': 'os:spawnv',
        'file': '/bin/sh',
        'args': ['sh', '-c', f'touch {tmp_path}/trace'],
    }
    config = {'agent': {'name': TOY, 'batch_size': 4}, 'environment': spawn, 'max_actor_steps': 10}
    Path('bad').mkdir()
    for file in ('config.json', 'bad/config.json'):
        Path(file).write_text(json.dumps(config))
    sentence = "names 'os:spawnv', which a file can have imported and called only with --trust"
    code, out, err = culmen('train', TOY, '--config', 'config.json', '--workdir', 'a')
    assert (code, out) == (2, '')
    assert sentence in err
    code, out, err = culmen('evaluate', 'bad')
    assert (code, out) == (2, '')
    assert "agent names 'tests.launchers.toys:Toy', which a file" in err
    assert not Path('a').exists()
    assert not Path('trace').exists()

    own = ('--environment', CORRIDOR, '--workdir', 'a')
    for arguments in (
        ('--config', 'config.json', *own),
        ('--config', 'config.json', '--preset', 'paper', *own),
        ('linear_q:LinearQ', '--config', 'config.json', *own),
        ('--config', 'config.json', '--sweep', 'agent.loss=a.b:c', *own),
    ):
        code, _, err = culmen('train', *arguments)
        assert code == 2, err
    assert not runs
    assert culmen('train', TOY, '--config', 'config.json', *own)[0] == 0
    assert culmen('train', '--trust', '--config', 'config.json', '--preset', 'paper', *own)[0] == 0
    assert [run[0].agent.batch_size for run in runs] == [4, 256]
    swept = ('--sweep', f'agent.base={TOY},tests.launchers.toys:Other')
    culmen('train', 'normalised', *own, '--steps', 5, '--agent.base', TOY)
    assert runs[2][0].agent.base == Toy()
    assert 'can not be imported' in culmen('train', 'normalised', *own, '--steps', 5, *swept)[2]
