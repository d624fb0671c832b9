"""The pages: what they name exists, what they show runs, and what is made from the code is fresh."""

import dataclasses
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import culmen
from culmen.agents import AGENTS
from culmen.agents import dqn
from culmen.components import environments
from culmen.launchers import command_line
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers import configs
from culmen.launchers import hosts
from culmen.launchers import launchpad
from culmen.launchers import local
from culmen.launchers import offline
from culmen.launchers import ray
from culmen.launchers import ray_runs
from culmen.launchers.command_line.teaching import EXAMPLES

ROOT = Path(__file__).parents[2]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in (*sorted(ROOT.glob('*.md')), *sorted((ROOT / 'docs').rglob('*.md')))
}
# What a path in a page may begin with.
TOP = (
    'benchmarks', 'constraints', 'culmen', 'docs', 'examples', 'tests', r'\.ci', 'setup.cfg',
    'pyproject.toml', 'Makefile', 'LICENSE',
)  # fmt: skip


def load_maker():
    path = ROOT / 'docs' / 'make_config_tables.py'
    spec = importlib.util.spec_from_file_location('make_config_tables', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fenced(text):
    """The fenced blocks of a page: (language, content)."""
    return re.findall(r'^```(\w+)\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)


# What is made from the code.


@pytest.mark.parametrize('page', PAGES)
def test_what_is_made_from_the_code_is_fresh(page):
    made = load_maker().rewritten(PAGES[page])
    assert made == PAGES[page], 'run: python docs/make_config_tables.py'


def test_every_page_with_a_marker_is_one_that_the_script_rewrites():
    marked = {page for page, text in PAGES.items() if '\n<!-- made:' in text}
    assert {'README.md', 'docs/agents/dqn.md', 'docs/environments.md'} <= marked
    assert marked <= {str(page.relative_to(ROOT)) for page in load_maker().PAGES}


def test_a_table_of_settings_has_every_field_with_its_default():
    table = load_maker().make('whole_config culmen.agents.dqn:DQNConfig')
    rows = {row.split(' | ')[0]: row.split(' | ') for row in table.splitlines()}
    for field in dataclasses.fields(dqn.DQNConfig):
        row = rows[f'| `{field.name}`']
        assert row[1] == f'`{field.default!r}`'
        assert len(row[-1].rstrip(' |')) > 3, f'{field.name} has no comment that says what it is'
        for column, preset in enumerate(dqn.DQN.presets.values()):
            assert row[2 + column] == (f'`{preset[field.name]!r}`' if field.name in preset else '')


def test_a_field_without_a_comment_is_refused():
    with pytest.raises(ValueError, match='Silent.field has no comment, above it or at its end'):
        load_maker().make('config tests.docs.silent:Silent')


def test_a_table_of_arguments_says_something_of_each():
    table = load_maker().make('arguments culmen.components.environments.wrappers:wrap')
    for row in table.splitlines()[2:]:
        assert len(row.split(' | ')[3]) > 8, row


def test_tables_show_the_ranges_that_are_checked():
    def shown(what, column):
        rows = [row.split(' | ') for row in load_maker().make(what).splitlines()]
        return {row[0].strip('| `'): row[column] for row in rows}

    fields = shown('whole_config culmen.agents.dqn:DQNConfig', -2)
    assert fields['discount'] == 'in [0, 1]'
    assert fields['learning_rate'] == 'above 0'
    assert fields['hidden_sizes'] == 'each at least 1'
    assert fields['min_replay_size'] == 'in [0, replay_capacity]'
    assert fields['double'] == ''
    arguments = shown('arguments culmen.components.environments.wrappers:wrap', 2)
    assert arguments['frame_stack'] == 'at least 1'
    assert arguments['clip_reward'] == 'above 0'
    assert arguments['canonical_actions'] == ''


# What the pages name.


@pytest.mark.parametrize('page', PAGES)
def test_every_path_exists(page):
    found = re.findall(rf'(?<![\w/.:-])((?:{"|".join(TOP)})(?:/[\w.<>*-]*)*)', PAGES[page])
    paths = {path.rstrip('.') for path in found if '<' not in path}
    # The names of a benchmark's results come without their endings.
    missing = [path for path in paths if not (exists(path) or exists(f'{path}.*'))]
    assert not missing


def exists(path):
    return any(ROOT.glob(path.rstrip('/')))


def test_the_map_is_the_house():
    language, text = fenced(PAGES['README.md'])[0]
    assert language == 'text'
    parents, mapped = [], set()
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], line.split()[0].rstrip('/')]
        mapped.add('/'.join(parents))
    for path in mapped:
        assert (ROOT / path).is_dir(), path
    for parent in ('culmen', 'culmen/components', 'culmen/agents'):
        folders = {
            str(path.parent.relative_to(ROOT)) for path in (ROOT / parent).glob('*/__init__.py')
        }
        assert folders <= mapped, 'a folder that the map of README.md has not'


@pytest.mark.parametrize('page', PAGES)
def test_every_relative_link_leads_somewhere(page):
    text = re.sub(r'```.*?```', '', PAGES[page], flags=re.DOTALL)
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        if re.match(r'\w+:', target):
            continue
        path, _, anchor = target.partition('#')
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f'{page} links to {target}'
        if anchor:
            assert anchor in anchors(file.read_text()), f'{page} links to {target}'


def anchors(text):
    """What GitHub calls the headings of a page."""
    headings = re.findall(
        r'^#+ (.*)$', re.sub(r'```.*?```', '', text, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def test_the_public_face_is_in_the_readme():
    face = PAGES['README.md'].split('The whole public face:')[1].split('\n\n')[1]
    named = set(re.findall(r'`culmen\.(\w+)`', face))
    modules = {'agents', 'components', 'core', 'environment_loops', 'launchers'}
    assert named == set(culmen.__all__) - modules


def test_every_make_target_exists():
    named = {
        target
        for text in PAGES.values()
        for target in re.findall(r'(?:^    |`)make (\w+)', text, re.MULTILINE)
    }
    if shutil.which('make') is None:
        pytest.skip('make is not installed')
    told = subprocess.run(['make', '-n', *named], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


# What the pages show.


def shown_commands():
    """Each culmen command with a line of its own, in a page or a help: (the line, the error below it)."""
    found = {}
    helps = [f'    {example}' for each in EXAMPLES.values() for _, example in each]
    for text in (*PAGES.values(), '\n'.join(helps)):
        lines = text.splitlines()
        for line, below in zip(lines, [*lines[1:], '']):
            shown = re.match(r'    (?:\$ )?((?:\w+=\S+ )?(?:\S*/)?culmen [a-z].*)$', line)
            error = re.search(r'culmen: error: (.*)', below)
            if shown:
                found.setdefault(shown[1], error and error[1])
    return found


COMMANDS = shown_commands()


def test_commands_are_found():
    assert len(COMMANDS) > 20
    assert sum(error is not None for error in COMMANDS.values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_is_accepted(command, tmp_path, monkeypatch):
    """`train` up to the launcher, every name and field checked; of the others the options."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'my_module.py').write_text('\n'.join(own_environment()))
    words = shlex.split(command, comments=True)
    while '=' in words[0]:
        monkeypatch.syspath_prepend(str(ROOT / words[0].partition('=')[2]))
        monkeypatch.syspath_prepend(str(tmp_path))
        words = words[1:]
    name, arguments = words[1], words[2:]
    if name not in ('train', 'list'):
        arguments = arguments[: arguments.index('>')] if '>' in arguments else arguments
        command_line.cli.commands[name].make_context(name, arguments)
        return
    if '--environment' in arguments:
        skip_what_is_not_installed(arguments[arguments.index('--environment') + 1])
    if '--config' in arguments:
        path = tmp_path / arguments[arguments.index('--config') + 1]
        path.parent.mkdir(parents=True)
        experiment = culmen.Experiment(dqn.DQN(), 'bsuite/catch/0', max_actor_steps=20_000)
        path.write_text(json.dumps(configs.to_json(experiment, 'local', 'in_process')))
    shutil.copytree(ROOT / 'examples' / 'sweeps', tmp_path / 'examples' / 'sweeps')
    if '--tune' in arguments:  # its trials need scores
        command_line.cli.commands[name].make_context(name, arguments)
        return
    if '--hosts' in arguments:
        shutil.copy(ROOT / 'examples' / 'hosts' / 'hosts.toml', tmp_path)
    ran = []

    def run(experiment, workdir, **options):
        ran.append(experiment)
        return culmen.Result(experiment, str(workdir), {})

    def run_many(experiments, workdirs, **options):
        return [run(*each) for each in zip(experiments, workdirs, strict=True)]

    def launch(program, backend):
        return run(program, None)

    monkeypatch.setattr(local, 'run', run)
    monkeypatch.setattr(offline, 'run', run)
    monkeypatch.setattr(compiled, 'run', run)
    monkeypatch.setattr(compiled_many, 'run_many', run_many)
    monkeypatch.setattr(launchpad, 'make_program', lambda experiment, *_, **__: experiment)
    monkeypatch.setattr(launchpad, 'launch', launch)
    monkeypatch.setattr(ray, 'make_program', lambda experiment, *_, **__: experiment)
    monkeypatch.setattr(ray, 'launch', lambda program, *_, **__: run(program, None))
    monkeypatch.setattr(ray_runs, 'run_many', run_many)
    monkeypatch.setattr(hosts, 'make_program', lambda experiment, *_, **__: experiment)
    monkeypatch.setattr(hosts, 'launch', lambda program, *_, **__: run(program, None))
    monkeypatch.setattr(hosts, 'join', lambda experiment, file, *_, **__: run(experiment, file))
    result = CliRunner().invoke(command_line.cli, words[1:], catch_exceptions=False)
    if COMMANDS[command] is None:
        assert result.exit_code == 0, result.output
        assert bool(ran) == (name == 'train' and '--help' not in arguments)
    else:
        assert (result.exit_code, ran) == (2, [])
        assert COMMANDS[command] in result.output


def own_environment():
    """The blocks of docs/environments.md that define the environment of its commands."""
    blocks = [content for _, content in fenced(PAGES['docs/environments.md'])]
    return [content for content in blocks if 'def make(seed' in content]


def skip_what_is_not_installed(environment):
    families = {family.name: family for family in environments.families()}
    missing = getattr(families.get(environment.partition('/')[0]), 'missing', ())
    if missing:
        pytest.skip(f'needs {", ".join(missing)}')


@pytest.mark.parametrize('page', PAGES)
def test_every_command_and_option_that_is_mentioned_exists(page):
    spans = re.findall(r'`([^`\n]+)`', re.sub(r'```.*?```', '', PAGES[page], flags=re.DOTALL))
    known = {
        name: {option for each in command.params for option in each.opts} | {'--help'}
        for name, command in command_line.cli.commands.items()
    }
    of_tests = {'--all', '--agent', '--part', '--backwards', '--optimised', '--families', '--costs'}
    everywhere = set().union(*known.values(), of_tests, {'--check', '--extra', '--write'})
    for span in spans:
        name = re.match(r'(?:\w+=\S+ )?culmen ([a-z]+)', span)
        assert name is None or name[1] in known, span
        if name or span.startswith('--'):
            options = re.findall(r'(?<!\S)(--[\w-]+)(?![\w.-])', span)
            assert set(options) <= (known[name[1]] if name else everywhere), span
            for kind, field in re.findall(r'--(agent|environment)\.([a-z]\w*)', span):
                assert field in fields(kind, span), span


def fields(kind, span):
    """The fields that a command may name: of its agent, else DQN's, or arguments of any environment."""
    if kind == 'agent':
        named = re.match(r'(?:\w+=\S+ )?culmen train (\w+)', span)
        agent = AGENTS[named[1]] if named and named[1] in AGENTS else AGENTS['dqn']
        module, _, name = agent.partition(':')
        made = getattr(importlib.import_module(module), name)
        return {field.name for field in dataclasses.fields(made)}
    text = PAGES['docs/environments.md']
    return set(re.findall(r'^\| `(\w+)` \|', text, re.MULTILINE)) | {'size', 'is_slippery'}


def runnable(page):
    """The Python blocks of a page that are marked, each with the output that is shown below it."""
    pattern = r'<!-- runnable -->\n```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?'
    return re.findall(pattern, PAGES[page], re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize('page', [
    pytest.param('README.md', marks=pytest.mark.learning), 'docs/environments.md',
    pytest.param('docs/rules.md', marks=pytest.mark.learning),
])  # fmt: skip
def test_runnable_blocks_print_what_is_shown(page, tmp_path, monkeypatch, capsys):
    pytest.importorskip('bsuite')
    monkeypatch.chdir(tmp_path)
    blocks = runnable(page)
    assert len(blocks) >= 2
    namespace = {'__name__': 'docs'}
    for code, shown in blocks:
        exec(compile(code, page, 'exec'), namespace)
        assert capsys.readouterr().out == shown


def test_python_blocks_that_are_not_run_compile():
    for page, text in PAGES.items():
        for language, content in fenced(text):
            if language == 'python':
                compile(content, page, 'exec')
