"""The lines of code of each agent: its folder, and the components that it alone uses.

    python benchmarks/count_lines.py [--files]

A line counts where it holds code: blank lines, comments and docstrings don't. A component is an
agent's own where that agent uses it and no other agent does, nor a launcher, a loop or another
component on the way to them. What is meant for every agent, and may have one user so far, is named
in SHARED and is nobody's own; a new component counts until a second agent uses it.
"""

import argparse
import ast
import io
import pathlib
import tokenize
from collections.abc import Iterable
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]

# The parts that the design of the house gives to every agent, files or folders of culmen/components.
SHARED = (
    'losses',  # one library, every family of which stands by itself
    'networks/action_box.py',
    'networks/actor_critic.py',
    'networks/base.py',
    'networks/continuous.py',
    'networks/distributions.py',
    'networks/heads.py',
    'networks/initializers.py',
    'networks/recurrent.py',
    'networks/residual.py',
    'networks/tanh_gaussian.py',
    'networks/torsos.py',
    'policies/actor_critic.py',
    'policies/continuous.py',
    'policies/epsilon_greedy.py',
    'policies/legal.py',
    'updates',
)

_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def count(source: str) -> int:
    """The lines that hold code."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        owns_one = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, owns_one) and ast.get_docstring(node, clean=False) is not None:
            docstrings.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


class Imports:
    """Which files of a package use which: by name, so that a package's face hides no file."""

    def __init__(self, root: pathlib.Path) -> None:
        """Args: root: the folder that holds the package culmen."""
        self._root = root
        self._trees = {
            path: ast.parse(path.read_text()) for path in sorted((root / 'culmen').rglob('*.py'))
        }

    @property
    def files(self) -> list[pathlib.Path]:
        """All files of the package."""
        return list(self._trees)

    def used_by(self, files: Iterable[pathlib.Path]) -> set[pathlib.Path]:
        """The files given, those they use, those these use, and so on."""
        found: set[pathlib.Path] = set()
        waiting = list(files)
        while waiting:
            file = waiting.pop()
            if file not in found:
                found.add(file)
                waiting.extend(self._direct(file))
        return found

    def _direct(self, file: pathlib.Path) -> Iterator[pathlib.Path]:
        packages: dict[str, str] = {}  # local name -> package, whose attributes say what is used
        for node in ast.walk(self._trees[file]):
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('culmen'):
                for alias in node.names:
                    inner = f'{node.module}.{alias.name}'
                    target = self._file(inner)
                    if target is not None and target.name == '__init__.py':
                        packages[alias.asname or alias.name] = inner
                    elif target is not None:
                        yield target
                    else:
                        yield from self._defining(str(node.module), alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    target = self._file(alias.name)
                    if target is not None:
                        yield target
        for node in ast.walk(self._trees[file]):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in packages:
                    yield from self._defining(packages[node.value.id], node.attr)

    def _defining(self, module: str, name: str) -> Iterator[pathlib.Path]:
        """The file that defines a name which a module or a package offers."""
        file = self._file(module)
        if file is None:
            return
        if file.name == '__init__.py':
            for node in self._trees[file].body:
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    for alias in node.names:
                        if (alias.asname or alias.name) == name:
                            yield from self._defining(node.module, alias.name)
                            return
            inner = self._file(f'{module}.{name}')
            if inner is not None:
                yield inner
                return
        yield file

    def _file(self, module: str) -> pathlib.Path | None:
        path = self._root.joinpath(*module.split('.'))
        for candidate in (path.with_suffix('.py'), path / '__init__.py'):
            if candidate in self._trees:
                return candidate
        return None


def own_files(root: pathlib.Path = ROOT) -> dict[str, list[pathlib.Path]]:
    """The files of each agent: its folder, then the components that it alone uses."""
    imports = Imports(root)
    agents, components = root / 'culmen' / 'agents', root / 'culmen' / 'components'
    shared = [components / name for name in SHARED]
    for path in shared:
        if root == ROOT and not path.exists():
            raise ValueError(f'SHARED must name files of {components}, got {path}.')
    folders: dict[str, list[pathlib.Path]] = {}
    for path in imports.files:
        if agents in path.parents and path.parent != agents:
            folders.setdefault(path.relative_to(agents).parts[0], []).append(path)
    others = [
        path
        for path in imports.files
        if agents not in path.parents and components not in path.parents
    ]
    general = imports.used_by(others)
    used = {name: imports.used_by(files) for name, files in folders.items()}
    own: dict[str, list[pathlib.Path]] = {}
    for name, files in folders.items():
        elsewhere = general.union(*(used[other] for other in used if other != name))
        own[name] = files + sorted(
            path
            for path in used[name] - elsewhere
            if components in path.parents
            and not any(path == each or each in path.parents for each in shared)
        )
    return own


def table(root: pathlib.Path = ROOT) -> dict[str, dict[pathlib.Path, int]]:
    """The lines of each file of each agent."""
    return {
        name: {path.relative_to(root): count(path.read_text()) for path in files}
        for name, files in own_files(root).items()
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--files', action='store_true', help='a line for each file too')
    arguments = parser.parse_args()
    print(f'{"agent":24} {"folder":>7} {"own components":>15} {"together":>9}')
    for name, files in sorted(table().items()):
        folder = sum(lines for path, lines in files.items() if path.parts[1] == 'agents')
        together = sum(files.values())
        print(f'{name:24} {folder:7} {together - folder:15} {together:9}')
        for path, lines in files.items() if arguments.files else ():
            print(f'    {path!s:50} {lines:4}')


if __name__ == '__main__':
    main()
