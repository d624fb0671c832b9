"""How the package is built, beside another revision: files, folders, imports, and what a run goes through.

    python benchmarks/house.py e2aa9ea             # prints the tables
    python benchmarks/house.py e2aa9ea --write     # docs/results/house.md too

Lines are those of `count_lines.py`: what holds code. The loss library, whose files follow families of
papers, is left out of the largest file and function. The files that a run goes through are those whose
functions it calls, seen by a profile of DQN on Catch in one process, in each revision with this Python.
"""

import argparse
import ast
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from count_lines import count
from revisions import checkout

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'results' / 'house.md'
STEPS = 1_200  # of the run that is watched; updates begin at step 1,000

Graph = Mapping[str, set[str]]


def sources(root: pathlib.Path) -> dict[str, str]:
    """The files of the package, by module."""
    found = {}
    for path in sorted((root / 'culmen').rglob('*.py')):
        parts = path.relative_to(root).with_suffix('').parts
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path.read_text()
    return found


def folder_of(module: str, depth: int = 2) -> str:
    """The folder of the package that holds a module: 'launchers', 'components/replay'."""
    parts = module.split('.')[1:]
    depth = depth if parts[:1] == ['components'] else 1
    return '/'.join(parts[:depth]) or '.'


def functions(source: str) -> Iterator[tuple[str, int]]:
    """The functions of a file with their lines, blank ones and docstrings too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def imports(modules: Mapping[str, str], everywhere: bool = False) -> dict[str, set[str]]:
    """Which modules of the package each one imports when it is loaded.

    Args: everywhere: count the imports in functions and for annotations too.
    """
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        graph[module] = set()
        tree = ast.parse(source)
        for node in ast.walk(tree) if everywhere else tree.body:
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                names = [f'{node.module}.{alias.name}' for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                while name and name not in modules:
                    name = name.rpartition('.')[0]
                if name:
                    graph[module].add(name)
    return graph


def between_folders(graph: Graph) -> dict[str, set[str]]:
    """The same between folders."""
    folders: dict[str, set[str]] = {}
    for module, used in graph.items():
        if folder_of(module) == '.':  # the public face, which shows the others
            continue
        own = folders.setdefault(folder_of(module), set())
        own |= {folder_of(each) for each in used} - {folder_of(module), '.'}
    return folders


def circles(graph: Graph) -> list[list[str]]:
    """The sets of nodes that reach each other, of two or more."""

    def reached(node: str) -> set[str]:
        found: set[str] = set()
        waiting = [node]
        while waiting:
            for other in graph.get(waiting.pop(), ()):
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return found

    reach = {node: reached(node) for node in graph}
    found = []
    for node in sorted(graph):
        circle = sorted(other for other in reach[node] if node in reach.get(other, ()))
        if len(circle) > 1 and circle[0] == node:
            found.append(circle)
    return found


class Watch:
    """Notes the files of the package whose functions are called."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.files: set[str] = set()

    def begin(self) -> None:
        self.files = set()
        sys.setprofile(self._note)

    def end(self) -> set[str]:
        sys.setprofile(None)
        return self.files

    def _note(self, frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if (
            event == 'call'
            and code.co_name != '<module>'
            and code.co_filename.startswith(self._root)
        ):
            self.files.add(code.co_filename)


def work() -> None:
    """A worker: runs DQN, and prints how many files each part of the run goes through."""
    import culmen
    from culmen.agents import dqn

    watch = Watch(str(pathlib.Path(culmen.__file__).parent))

    class Observer:
        tick = 0
        parts: dict[str, set[str]] = {}

        def observe(self, timestep: Any, action: Any) -> None:
            self.tick += 1
            if self.tick == 1:
                self.parts = {'begin': watch.end()}
            if (
                STEPS - 200 < self.tick <= STEPS - 180
            ):  # the least of a few, without what the clock begins
                self.parts['step'] = min(watch.end(), self.parts.get('step', watch.files), key=len)
            if STEPS - 200 <= self.tick < STEPS - 180:
                watch.begin()
            elif self.tick == STEPS - 20:
                watch.begin()

        def get_metrics(self, lane: int) -> dict[str, float]:
            return {}

    def run(workdir: str | None) -> dict[str, set[str]]:
        experiment = culmen.Experiment(
            dqn.DQN(),
            'bsuite/catch/0',
            max_actor_steps=STEPS,
            evaluation=culmen.Evaluation(every=None, episodes=1),
        )
        observer = Observer()
        watch.begin()
        culmen.run(experiment, workdir, observers=[observer], progress=False)
        return {**observer.parts, 'end': watch.end()}

    bare = run(None)
    with tempfile.TemporaryDirectory() as folder:
        kept = run(folder)
    numbers = {
        'step': len(bare['step']),
        'experiment': len(bare['begin']),
        'checkpoint': len(kept['end'] - bare['end']),
    }
    print(json.dumps(numbers))


def watched(root: pathlib.Path) -> dict[str, int]:
    """What a worker of a revision prints."""
    done = subprocess.run(
        [sys.executable, __file__, '--work'],
        cwd=root, env={**os.environ, 'PYTHONPATH': str(root)},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def largest(found: Iterable[tuple[str, int]]) -> str:
    """In words."""
    name, lines = max(found, key=lambda each: each[1])
    return f'{lines} ({name})'


def in_words(found: list[list[str]]) -> str:
    """Circles in words."""
    return '; '.join(' <-> '.join(circle) for circle in found) or 'none'


def rows(root: pathlib.Path) -> dict[str, str]:
    """The first table's column of a revision."""
    modules = sources(root)
    graph = imports(modules)
    folders = between_folders(graph)
    others = {name: text for name, text in modules.items() if '.losses' not in name}
    ran = watched(root)
    return {
        'files that a step of DQN goes through, once compiled': str(ran['step']),
        'files from `culmen.run(experiment)` to the first action': str(ran['experiment']),
        'further ones that write the checkpoint at its end': str(ran['checkpoint']),
        'lines of the largest file': largest(
            (name, len(text.splitlines())) for name, text in others.items()
        ),
        'lines of the largest function': largest(
            (f'{name}: {function}', lines)
            for name, text in others.items()
            for function, lines in functions(text)
        ),
        'folders, and imports between them': f'{len(folders)}, {sum(map(len, folders.values()))}',
        'circles between folders': in_words(circles(folders)),
        'circles between modules': in_words(circles(graph)),
        'with imports in functions and for annotations': in_words(
            circles(imports(modules, everywhere=True))
        ),
    }


def lines_by_folder(root: pathlib.Path) -> Counter[str]:
    """Lines of code."""
    found: Counter[str] = Counter()
    for module, text in sources(root).items():
        found[folder_of(module)] += count(text)
    return found


def main() -> int:
    """Prints the tables, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('revision', nargs='?')
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--work', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work()
        return 0
    if arguments.revision is None:
        parser.error('a revision is needed')
    with checkout(arguments.revision) as before:
        first, second = rows(before), rows(ROOT)
        old, new = lines_by_folder(before), lines_by_folder(ROOT)
    head = [f'| | {arguments.revision} | now |', '| --- | --- | --- |']
    lines = [*head, *(f'| {name} | {first[name]} | {second[name]} |' for name in second), '']
    lines += ['Lines of code by folder:', '', *head]
    for folder in sorted(old | new):
        lines.append(f'| {folder} | {old[folder] or ""} | {new[folder] or ""} |')
    lines.append(f'| together | {old.total()} | {new.total()} |')
    print('\n'.join(lines))
    if arguments.write:
        command = f'python benchmarks/house.py {arguments.revision} --write'
        PAGE.write_text(
            f'# How the package is built\n\n`{command}`; its first lines say what is counted. Since then '
            f'agents, environments and hosts have joined.\n\n' + '\n'.join(lines) + '\n'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
