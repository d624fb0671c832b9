"""What the command line does for people: help that teaches, completion, colours, what to do next, doctor."""

import importlib.metadata
import io
import json
import shlex

import pytest
from click.testing import CliRunner

from culmen.launchers import command_line
from culmen.launchers import local
from culmen.launchers.command_line import teaching
from culmen.launchers.command_line.completing import SHELLS
from culmen.launchers.results import Result

TRAIN = ['train', 'dqn', '--environment', 'bsuite/catch/0', '--steps', '100']


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


# Help.


def test_the_help_of_each_command_ends_with_examples_in_lines_of_their_own():
    assert set(teaching.EXAMPLES) == {'culmen', *command_line.cli.commands}
    for name, examples in teaching.EXAMPLES.items():
        words = ['--help'] if name == 'culmen' else [name, '--help']
        lines = CliRunner().invoke(command_line.cli, words).stdout.splitlines()
        shown = [line.strip() for line in lines]
        assert [example for _, example in examples if example not in shown] == []
        assert name == 'culmen' or all(f'culmen {name} ' in f'{each[1]} ' for each in examples)


# Completion.


@pytest.fixture
def complete(culmen, monkeypatch):
    """What a shell is offered for the last word of a line."""

    def offer(line):
        words = line.split(' ')
        monkeypatch.setenv('_CULMEN_COMPLETE', 'bash_complete')
        monkeypatch.setenv('COMP_WORDS', shlex.join(words[:-1]) + ' ' + words[-1])
        monkeypatch.setenv('COMP_CWORD', str(len(words) - 1))
        code, out, _ = culmen()
        assert code == 0
        return [each.partition(',')[2] for each in out.splitlines()]

    return offer


@pytest.mark.parametrize(
    ('line', 'offered', 'left_out'),
    [
        ('culmen do', ['doctor'], ['train']),
        ('culmen train rain', ['rainbow'], ['dqn']),
        ('culmen train dqn --environment bs', ['bsuite/'], ['atari/']),
        ('culmen train dqn --environment bsuite/catch/1', ['bsuite/catch/1', 'bsuite/catch/10'], []),
        ('culmen train dqn --environment jax/catch,jax/cat', ['jax/catch,jax/catch'], []),
        ('culmen train dqn --preset min', ['minatar'], ['atari']),
        ('culmen train dqn --agent.lear', ['--agent.learning_rate'], ['--agent.double']),
        ('culmen train dqn --agent.optimizer ', ['adam', 'rmsprop'], ['true']),
        ('culmen train dqn --agent.double t', ['true'], ['false']),
        ('culmen train dqn --environment jax/catch --environment.fr', ['--environment.frame_stack'], []),
        ('culmen train dqn --launcher comp', ['compiled'], ['local']),
        ('culmen train --check', ['--checkpoint-every'], ['--seed']),
        ('culmen completion z', ['zsh'], ['bash']),
    ],
)  # fmt: skip
def test_a_shell_is_offered_what_there_is(complete, line, offered, left_out):
    found = complete(line)
    assert set(offered) <= set(found)
    assert not set(left_out) & set(found)


@pytest.mark.parametrize(
    'line',
    ['culmen train nothing --preset ', 'culmen train dqn --environment no/such --environment.'],
)
def test_a_name_that_is_unknown_offers_nothing(complete, line):
    assert [each for each in complete(line) if each.startswith('--environment.')] == []


@pytest.mark.parametrize('shell', SHELLS)
def test_a_script_asks_this_command_for_what_there_is(culmen, shell):
    code, out, _ = culmen('completion', shell)
    assert code == 0
    assert f'_CULMEN_COMPLETE={shell}_complete' in out
    assert '%(' not in out


# Colours.


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ('stream', 'variables', 'expected'),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {'NO_COLOR': '1'}, False),
        (Terminal(), {'NO_COLOR': ''}, True),
        (Terminal(), {'TERM': 'dumb'}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, stream, variables, expected):
    monkeypatch.delenv('NO_COLOR', raising=False)
    monkeypatch.setenv('TERM', 'xterm')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert teaching.has_colours(stream) is expected


@pytest.mark.parametrize('no_color', ['', '1'])
def test_an_error_has_colours_in_a_terminal_alone(culmen, monkeypatch, no_color):
    monkeypatch.setenv('NO_COLOR', no_color)
    monkeypatch.setenv('TERM', 'xterm')
    told = Terminal()
    monkeypatch.setattr('sys.stderr', told)
    assert culmen('evaluate', 'nowhere')[0] == 2
    assert ('\x1b[' in told.getvalue()) is (no_color == '')
    monkeypatch.undo()


# What to do next.


def run_as(monkeypatch, **fields):
    def run(experiment, workdir, **options):
        summary = {'agent': 'dqn', 'launcher': 'local', 'actor_steps': 100, 'workdir': str(workdir)}
        return Result(experiment, str(workdir), summary, **fields)

    monkeypatch.setattr(local, 'run', run)


def test_a_run_ends_with_what_to_do_next(culmen, monkeypatch):
    run_as(monkeypatch)
    code, out, err = culmen(*TRAIN, '--workdir', 'my runs/one', '--json')
    assert (code, json.loads(out)['workdir']) == (0, 'my runs/one')
    assert "plot: culmen plot 'my runs/one'\n" in err
    assert "play: culmen evaluate 'my runs/one' --video episode.mp4\n" in err
    assert "compare: culmen compare 'my runs/one' ANOTHER_RUN\n" in err
    assert "--config 'my runs/one/config.json' --workdir 'my runs/one' --steps 200\n" in err


def test_runs_of_a_sweep_are_drawn_by_seeds_and_compared_as_a_whole(culmen, monkeypatch):
    run_as(monkeypatch)
    sweep = ('--sweep', 'agent.double=true,false', '--seeds', 2, '--workdir', 'many')
    _, _, err = culmen(*TRAIN, *sweep)
    assert 'plot: culmen plot many/double=true many/double=false\n' in err
    assert 'compare: culmen compare many\n' in err


def test_a_stopped_run_is_gone_on_with_by_the_same_command(culmen, monkeypatch):
    run_as(monkeypatch, interrupted=True)
    code, _, err = culmen(*TRAIN, '--workdir', 'a')
    assert (code, 'go on: the same command\n' in err) == (130, True)


# Doctor.


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stands in for what programs import: Launchpad is there, Reverb is broken, Ray is missing."""
    (tmp_path / 'launchpad.py').write_text('')
    (tmp_path / 'reverb.py').write_text('raise ImportError("undefined symbol: _ZN")')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        'importlib.util.find_spec', lambda name, *_: None if name == 'ray' else find_spec(name)
    )


def test_a_doctor_says_what_is_there_and_what_is_not(culmen, programs):
    code, out, err = culmen('doctor', '--json')
    found = json.loads(out)
    assert (code, found['problems']) == (0, []), err
    assert found['launchers'] == {
        'launchpad': [],
        'launchpad with reverb': ['its import fails: ImportError: undefined symbol: _ZN'],
        'ray': ['ray is not installed'],
    }
    assert found['versions']['jax'] == importlib.metadata.version('jax')
    assert any(each.startswith('cpu:0') for each in found['devices'])
    assert found['environments']['jax'] == []
    assert all(free > 0 for free in found['free_gigabytes'].values())
    _, out, _ = culmen('doctor')
    assert 'launcher ray: ray is not installed\n' in out
    assert 'environments jax: ready\n' in out


def test_a_doctor_fails_where_culmen_can_not_train(culmen, programs, monkeypatch):
    def version(name):
        if name == 'dm-haiku':
            raise importlib.metadata.PackageNotFoundError(name)
        return '0.1' if name in ('optax', 'rliable') else known(name)

    known = importlib.metadata.version
    monkeypatch.setattr('importlib.metadata.version', version)
    code, out, _ = culmen('doctor')
    assert code == 1
    assert 'problem: dm-haiku is not installed\n' in out
    assert 'problem: optax 0.1 is installed, and >=0.2.4 is needed\n' in out
