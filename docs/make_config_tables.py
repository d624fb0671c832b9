"""Writes the tables of the pages anew, and files that pages show, from the code itself.

    python docs/make_config_tables.py            # rewrites what is stale
    python docs/make_config_tables.py --check    # only names it, exit code 1 where there is any

What is made stands between `<!-- made: KIND WHAT -->` and `<!-- end -->`:

    config module:Class          the fields of an agent's dataclass, with its presets and ranges
    whole_config module:Class    the same with the fields that it inherits
    arguments module:function    the keyword-only arguments of an environment's or a wrapper's maker
    families                     the families of environments
    columns                      the columns of the logs
    actions                      which agent takes which actions
    curves                       settings and learning curves of each agent, from benchmarks/
    names                        names in other frameworks, and what they are here
    file PATH                    a file of this repository: Python or TOML
"""

import argparse
import ast
import dataclasses
import functools
import importlib
import inspect
import io
import re
import sys
import textwrap
import tokenize
import typing
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dm_env import specs

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]

from learning_curves import FIGURES  # noqa: E402

from culmen.agents.catalogue import ELSEWHERE  # noqa: E402
from culmen.components import environments  # noqa: E402
from culmen.components import networks  # noqa: E402
from culmen.components.environments.arguments import signature_arguments  # noqa: E402
from culmen.components.loggers import columns_of  # noqa: E402
from culmen.core.checks import field_ranges  # noqa: E402
from culmen.core.checks import field_types  # noqa: E402

PAGES = (ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md')))
_MADE = re.compile(r'^(<!-- made: ([^>]+) -->\n).*?^(<!-- end -->)$', re.DOTALL | re.MULTILINE)


def rewritten(text: str) -> str:
    """The text of a page with all that is made made anew."""
    return _MADE.sub(lambda match: f'{match[1]}{make(match[2])}\n{match[3]}', text)


def make(description: str) -> str:
    """What a marker asks for: 'config culmen.agents.dqn:DQNConfig'."""
    kind, *what = description.split()
    if kind == 'file':
        language = {'.py': 'python', '.toml': 'toml'}[Path(what[0]).suffix]
        return f'```{language}\n{(ROOT / what[0]).read_text()}```'
    makers = {
        'config': _config,
        'whole_config': functools.partial(_config, inherited=True),
        'arguments': _arguments,
        'families': _families,
        'columns': _columns,
        'actions': _actions,
        'curves': _curves,
        'names': _names,
    }
    return makers[kind](*(_resolve(name) for name in what))


def _actions() -> str:
    """A row for each agent, a column for each kind of action."""
    choice, box = specs.DiscreteArray(3), specs.BoundedArray((2,), np.float32, -1, 1)
    kinds = {
        'one choice': choice,
        'several choices': (choice, specs.BoundedArray((2,), np.int32, 0, 1)),
        'a box': box,
        'a box without bounds': specs.Array((2,), np.float32),
        'choices beside boxes': (choice, box),
    }
    takers = {kind: networks.takers(action) for kind, action in kinds.items()}
    names = sorted({name for those in takers.values() for name in those})
    rows = [
        (f'`{name}`', *('yes' if name in those else '' for those in takers.values()))
        for name in names
    ]
    return _table(('agent', *kinds), rows)


def _curves() -> str:
    """A row for each figure of benchmarks/learning_curves.py, with what its page says of its bar."""
    rows = []
    figures = sorted(FIGURES.items(), key=lambda each: (each[1].agent, each[1].environment))
    for name, figure in figures:
        page = ROOT / 'docs' / 'results' / f'{name}.md'
        shown = f'`{name}`'
        if page.exists():
            verdict = re.search(r'^Bar: .*; (met|missed|open) ', page.read_text(), re.MULTILINE)
            shown = f'[{verdict[1] if verdict else "curve"}](results/{name}.md)'
        settings = ' '.join(figure.options)
        bar = '' if figure.bar is None else f'{figure.bar:g}'
        rows.append(
            (f'`{figure.agent}`', f'`{figure.environment}`', f'{figure.steps:,}',
             settings, bar, shown)
        )  # fmt: skip
    return _table(('agent', 'environment', 'steps', 'settings', 'return', 'shown by'), rows)


def _names() -> str:
    rows = [(f'`{name}`', f'`{here}`') for name, here in sorted(ELSEWHERE.items())]
    return _table(('elsewhere', 'here'), rows)


def _resolve(name: str) -> Any:
    module, _, attribute = name.partition(':')
    return getattr(importlib.import_module(module), attribute)


def _config(cls: type[Any], inherited: bool = False) -> str:
    """Fields in their groups; a column for each preset, blank where it keeps the default."""
    presets: dict[str, dict[str, Any]] = getattr(cls, 'presets', {})
    rows: list[Sequence[str]] = []
    classes = [each for each in reversed(cls.__mro__) if dataclasses.is_dataclass(each)]
    found: dict[str, tuple[str | None, str]] = {}
    for each in classes if inherited else [cls]:
        for group, name, comment in _commented_fields(each):
            # A field that is said again keeps its place.
            found[name] = (found[name][0] if name in found else group, comment)
    for name, (group, comment) in found.items():
        if group is not None:
            rows.append((f'**{group}**', '', *[''] * len(presets), '', ''))
        of_presets = (_code(values[name]) if name in values else '' for values in presets.values())
        if not comment:
            raise ValueError(
                f'{cls.__name__}.{name} has no comment, above it or at its end, that says what it is.'
            )
        default = _code(getattr(cls, name)) if hasattr(cls, name) else 'needed'
        rows.append((f'`{name}`', default, *of_presets, _range(cls, name), comment))
    return _table(('field', 'default', *presets, 'range', 'meaning'), rows)


def _range(cls: type[Any], name: str) -> str:
    """What the annotation of a field says of its numbers."""
    limits = field_ranges(cls).get(name)
    is_tuple = typing.get_origin(field_types(cls)[name]) is tuple
    return '' if limits is None else f'{"each " if is_tuple else ""}{limits}'


def _commented_fields(cls: type[Any]) -> Iterator[tuple[str | None, str, str]]:
    """(the group that begins here, the field, what its comments say), in the order of the source.

    A comment below a blank line names a group. Others stand right above their field, or at its end.
    """
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip('# ') for t in tokens if t.type == tokenize.COMMENT}
    group = None
    said: list[str] = []
    end = 0
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            for number in range(end + 1, node.lineno):
                if number not in comments:
                    continue
                if not lines[number - 2].strip():
                    group = comments[number].rstrip('.')
                else:
                    said.append(comments[number])
            if 'ClassVar' not in ast.unparse(node.annotation):
                said.append(comments.get(node.end_lineno or node.lineno, ''))
                meaning = ' '.join(said).strip().rstrip('.')
                yield group, node.target.id, meaning[:1].lower() + meaning[1:]
                group, said = None, []
        end = node.end_lineno or node.lineno


def _arguments(function: Any) -> str:
    """Keyword-only arguments: name, default, range, and the words of the docstring."""
    parameters = inspect.signature(function).parameters
    meanings = _described(inspect.getdoc(function) or '')
    rows = [
        (f'`{name}`', _code(parameters[name].default), str(argument.range or ''), meanings[name])
        for name, argument in signature_arguments(function).items()
    ]
    return _table(('argument', 'default', 'range', 'meaning'), rows)


def _described(docstring: str) -> dict[str, str]:
    """What the section Args of a docstring says of each argument."""
    section = re.search(r'Args:(.*?)(?:\n(?:Returns|Raises):|\Z)', docstring, re.DOTALL)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else []:
        begin = re.match(r'\s+(\*{0,2}\w+(?:, \w+)*): (.*)', line)
        if begin:
            names = begin[1].split(', ')
        for name in names:
            text = begin[2] if begin else line.strip()
            found[name] = f'{found.get(name, "")} {text}'.strip()
    return found


def _families() -> str:
    rows = [
        (
            f'`{family.pattern}`',
            ', '.join(f'`{example}`' for example in family.examples),
            ', '.join(f'`{package}`' for package in family.packages) or 'none',
            family.restorable,
            family.picture,
        )
        for family in environments.families()
    ]
    return _table(('name', 'such as', 'imports', 'saved exactly in mid-episode', 'drawn'), rows)


def _columns() -> str:
    rows = [
        (f'`logs/{label}.csv`', ', '.join(f'`{name}`' for name in names))
        for label, names in columns_of().items()
    ]
    return _table(('file', 'columns'), rows)


def _code(value: Any) -> str:
    return f'`{value!r}`'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [header, ['---'] * len(header), *rows]
    escaped = [[cell.replace('|', r'\|') for cell in row] for row in cells]
    return '\n'.join(f'| {" | ".join(row)} |' for row in escaped)


def main() -> int:
    """Rewrites the pages, or checks them."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--check', action='store_true', help='name the stale pages, write nothing')
    check = parser.parse_args().check
    stale = [page for page in PAGES if page.read_text() != rewritten(page.read_text())]
    for page in stale:
        print(f'{"stale" if check else "written"}: {page.relative_to(ROOT)}')
        if not check:
            page.write_text(rewritten(page.read_text()))
    return int(check and bool(stale))


if __name__ == '__main__':
    sys.exit(main())
