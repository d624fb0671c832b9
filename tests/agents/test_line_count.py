"""What benchmarks/count_lines.py counts: an agent's folder, and what only it uses."""

import importlib.util
import pathlib
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def count_lines():
    path = ROOT / 'benchmarks' / 'count_lines.py'
    spec = importlib.util.spec_from_file_location('count_lines', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_dqn_s_own_files_are_found(count_lines):
    names = {str(path) for path in count_lines.table()['dqn']}
    assert {'culmen/agents/dqn/learning.py', 'culmen/agents/dqn/config.py'} <= names
    assert not any('losses' in name or 'launchers' in name for name in names)


def test_blank_lines_comments_and_docstrings_do_not_count(count_lines):
    source = '''
    """A module.

    More of it.
    """

    # A comment.
    import os  # counts, once


    class A:
        """A class."""

        text = """A string
        of two lines."""

        def method(self):
            """A docstring."""
            return (1,
                    2)
    '''
    assert count_lines.count(textwrap.dedent(source)) == len(
        ['import', 'class', 'text', 'of two lines', 'def', 'return', '2']
    )


def test_a_component_is_an_agent_s_own_until_another_uses_it(count_lines, tmp_path):
    files = {
        'agents/one/__init__.py': 'from culmen.agents.one.agent import One\n',
        'agents/one/agent.py': """
            from culmen.components import parts
            from culmen.components.parts import shared
            One = parts.alone, shared
        """,
        'agents/two/agent.py': 'from culmen.components.parts import other, shared\n',
        'components/parts/__init__.py': """
            from culmen.components.parts.alone import alone
            from culmen.components.parts.other import other
            from culmen.components.parts.shared import shared
            from culmen.components.parts.general import general
        """,
        'components/parts/alone.py': """
            from culmen.components.parts.below import below
            from culmen.components.parts.general import general
            alone = below
        """,
        'components/parts/below.py': 'below = 1\n',
        'components/parts/shared.py': 'shared = 1\n',
        'components/parts/other.py': 'other = 1\n',
        'components/parts/general.py': 'general = 1\n',
        'components/losses/td.py': 'td = 1\n',
        'launchers/local.py': 'from culmen.components.parts import general\n',
    }
    for name, text in files.items():
        path = tmp_path / 'culmen' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    own = {
        name: {str(path.relative_to(tmp_path / 'culmen')) for path in paths}
        for name, paths in count_lines.own_files(tmp_path).items()
    }
    assert own['one'] == {
        'agents/one/__init__.py', 'agents/one/agent.py',
        'components/parts/alone.py', 'components/parts/below.py',
    }  # fmt: skip
    assert own['two'] == {'agents/two/agent.py', 'components/parts/other.py'}
    assert sum(count_lines.table(tmp_path)['one'].values()) == 1 + 3 + 3 + 1
