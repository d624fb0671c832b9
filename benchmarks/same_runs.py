"""Whether two revisions give the same runs: short ones of every agent in every launcher, compared to the bit.

    python benchmarks/same_runs.py main --quick
    python benchmarks/same_runs.py 2e99193 --only 'local/*'
    python benchmarks/same_runs.py /path/of/another/checkout --only compiled/sac --again

REVISION is of git, which is checked out in a folder of its own, or the path of a checkout. Its runs are made
once and kept, by what culmen/ and tests/agents/ hold, the processor and the versions of Python and JAX. The
runs of the working tree are kept too, so that a check that was stopped goes on where it was. Both use this
Python and what is installed for it.

Compared are logs (columns of time aside), final parameters, summaries, config.json and the steps of
checkpoints. A run is `equal`, `rounding` (all within 1e-5, relative above 1) or `different`, with the first
difference: which log, column and row, or which leaf. A row that only the working tree has is `new`; a field
that a config has there alone is no difference where it is not set. A refusal equals the same refusal. Reverb
draws without a seed: its runs are held to their counts and shapes. In threads and processes nodes race: those
runs are held to about the same counts. `first/AGENT` is a run that ends with its first update: where a
rewrite lets XLA round otherwise it has to stay within `rounding`, while the longer runs may drift apart. The
exit code is 1 where something differs.
"""

import argparse
import contextlib
import fcntl
import fnmatch
import hashlib
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from typing import Any
from typing import NamedTuple

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
# What a run's numbers are made of.
CODE = ('culmen', 'tests/agents', 'tests/__init__.py')
LAUNCHPAD = ('reverb', 'threads', 'processes')
TOLERANCE = 1e-5


class Kind(NamedTuple):
    """What is known of a run before it is made."""

    held_to: str  # 'bits', 'counts' or 'about'
    quick: bool


class Side:
    """The runs of a revision, or of the working tree."""

    def __init__(self, name: str, root: pathlib.Path, revision: str | None = None) -> None:
        self._root = root  # a checkout, or of the repository that has the revision
        self._revision = revision  # None: what the checkout holds
        key = hashlib.sha256(f'{self._blobs()}{_worker_text()}'.encode()).hexdigest()[:16]
        self.folder = _store() / f'{name}-{key}'
        self.folder.mkdir(parents=True, exist_ok=True)

    def _blobs(self) -> str:
        """Paths and contents of the code, alike for a revision and for a checkout of it."""
        if self._revision is not None:
            lines = _git(self._root, 'ls-tree', '-r', self._revision, '--', *CODE).splitlines()
            found = [(path, blob.split()[2]) for blob, path in (each.split('\t') for each in lines)]
        else:
            listed = _git(self._root, 'ls-files', '-co', '--exclude-standard', '--', *CODE)
            paths = sorted({each for each in listed.splitlines() if (self._root / each).is_file()})
            blobs = _git(self._root, 'hash-object', '--stdin-paths', given='\n'.join(paths))
            found = list(zip(paths, blobs.split(), strict=True))
        return '\n'.join(f'{path} {blob}' for path, blob in sorted(found) if path.endswith('.py'))

    @contextlib.contextmanager
    def checkout(self) -> Iterator[pathlib.Path]:
        """The folder that holds the code."""
        if self._revision is None:
            yield self._root
            return
        with tempfile.TemporaryDirectory(prefix='same-runs-') as scratch:
            folder = pathlib.Path(scratch) / 'checkout'
            _git(self._root, 'worktree', 'add', '--detach', str(folder), self._revision)
            try:
                yield folder
            finally:
                _git(self._root, 'worktree', 'remove', '--force', str(folder))

    def has(self, name: str) -> bool:
        """Whether a run is there, and did not fail."""
        path = self._path(name, 'json')
        return path.exists() and 'raised' not in json.loads(path.read_text())

    def read(self, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a run gave: data, and arrays."""
        outcome = json.loads(self._path(name, 'json').read_text())
        outcome.pop('seconds')
        with np.load(self._path(name, 'npz')) as arrays:
            return outcome, {path: arrays[path] for path in arrays.files}

    def forget(self, name: str) -> None:
        """Lets go of a run."""
        self._path(name, 'json').unlink(missing_ok=True)

    def make(self, chunks: list[list[str]]) -> None:
        """Makes the runs that are not there yet, each chunk in a process of its own."""
        with open(self.folder / 'lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # Another check may be making them.
            chunks = [missing for each in chunks if (missing := self._missing(each))]
            if not chunks:
                return
            with self.checkout() as root:
                for names in chunks:
                    self._make(root, names)

    def _make(self, root: pathlib.Path, names: list[str]) -> None:
        for name in names:
            self.forget(name)
        while names:
            code = subprocess.run(_worker(self.folder, *names), cwd=root, env=_environment(root))
            left = [name for name in names if not self._path(name, 'json').exists()]
            if left:  # The process ended in the first of them; the others have a new one.
                died = {'raised': f'the process ended with {code.returncode}', 'seconds': 0.0}
                np.savez(self._path(left[0], 'npz'))
                self._path(left[0], 'json').write_text(json.dumps(died))
            names = left[1:]

    def _missing(self, names: list[str]) -> list[str]:
        return [name for name in names if not self.has(name)]

    def _path(self, name: str, ending: str) -> pathlib.Path:
        return self.folder / f'{name.replace("/", "-").replace(" ", "-")}.{ending}'


def _git(root: pathlib.Path, *arguments: str, given: str | None = None) -> str:
    command = ['git', '-C', str(root), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout


def _worker_text() -> str:
    return ''.join(path.read_text() for path in sorted(HERE.glob('same_runs_*.py')))


def _worker(*arguments: Any) -> list[str]:
    code = 'import same_runs_worker; same_runs_worker.main()'
    return [sys.executable, '-c', code, *map(str, arguments)]


def _environment(root: pathlib.Path) -> dict[str, str]:
    """Of the processes of runs: they compile as tests do, and each program once."""
    return {
        **os.environ,
        'PYTHONPATH': f'{root}{os.pathsep}{HERE}',
        'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
        'JAX_COMPILATION_CACHE_DIR': str(_store() / 'compiled'),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '0',
    }


def _store() -> pathlib.Path:
    """Where runs of this kind of machine are kept."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    told = sorted({each for each in lines if each.startswith(('model name', 'flags', 'Features'))})
    versions = [f'{name} {metadata.version(name)}' for name in ('jax', 'jaxlib', 'numpy')]
    machine = [platform.machine(), platform.processor(), sys.version, str(cores), *told, *versions]
    key = hashlib.sha256('\n'.join(machine).encode()).hexdigest()[:12]
    return pathlib.Path(tempfile.gettempdir()) / f'culmen-same-runs-{os.getuid()}' / key


def first_difference(old: Any, new: Any, where: str = '') -> tuple[str, str] | None:
    """The worst that two nests of plain data differ in -> ('rounding' or 'different', where and what)."""
    if isinstance(old, dict) and isinstance(new, dict):
        if list(old) != list(new):
            return 'different', f'{where or "outcome"}: has {_other(list(old), list(new))}'
        pairs = [(old[name], new[name], f'{where}.{name}'.strip('.')) for name in old]
    elif isinstance(old, list) and isinstance(new, list):
        pairs = [(a, b, f'{where}[{i}]') for i, (a, b) in enumerate(zip(old, new, strict=False))]
    elif old == new and type(old) is type(new):
        return None
    else:
        return _of_values(old, new, where)
    found = [each for pair in pairs if (each := first_difference(*pair))]
    worst = next((each for each in found if each[0] == 'different'), found[0] if found else None)
    if isinstance(old, list) and len(old) != len(new) and (worst is None or worst[0] == 'rounding'):
        return 'different', f'{where}: {len(old)} -> {len(new)} entries'
    return worst


def _other(old: list[str], new: list[str]) -> str:
    gone, come = (
        [each for each in old if each not in new],
        [each for each in new if each not in old],
    )
    if not gone and not come:
        return f'another order: {new}'
    return f'lost {gone} and gained {come}'


def _of_values(old: Any, new: Any, where: str) -> tuple[str, str]:
    try:
        a, b = float(old), float(new)
        near = abs(a - b) <= TOLERANCE * max(1.0, abs(a))
    except (TypeError, ValueError):
        near = False
    counts = isinstance(old, int) or (isinstance(old, str) and old.lstrip('-').isdigit())
    return 'rounding' if near and not counts else 'different', f'{where}: {old} -> {new}'


def difference_of_arrays(
    old: dict[str, np.ndarray], new: dict[str, np.ndarray], values: bool = True
) -> tuple[str, str] | None:
    """The worst that two sets of arrays differ in. Args: values: whether they are compared too."""
    if list(old) != list(new):
        return 'different', f'arrays: {_other(list(old), list(new))}'
    worst = None
    for path, a in old.items():
        b = new[path]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return 'different', f'{path}: {a.dtype}{a.shape} -> {b.dtype}{b.shape}'
        if not values or a.tobytes() == b.tobytes():
            continue
        wide = [np.asarray(each, np.float64) for each in (a, b)]
        apart = np.abs(wide[0] - wide[1])
        text = f'{path}: {np.sum(a != b)} of {a.size} entries, by {np.max(apart):.2g} at most'
        if not np.all(apart <= TOLERANCE * np.maximum(1.0, np.abs(wide[0]))):
            return 'different', text
        worst = worst or ('rounding', text)
    return worst


def compare(name: str, held_to: str, old: Side, new: Side) -> tuple[str, str]:
    """A run of two revisions -> ('equal', 'rounding' or 'different'; the first difference, if any)."""
    (old_data, old_arrays), (new_data, new_arrays) = old.read(name), new.read(name)
    if 'raised' in new_data:
        if new_data['raised'] == old_data.get('raised'):
            return 'equal', f'raises {new_data["raised"]}'
        return 'different', f'now raises {new_data["raised"]}'
    if 'raised' in old_data:
        if old_data['raised'].startswith('KeyError'):
            return 'new', 'a row that the other revision has not'
        return 'different', f'no longer raises {old_data["raised"]}'
    forget_new_fields(old_data, new_data)
    if held_to != 'bits':
        old_data, new_data = _counts_of(old_data), _counts_of(new_data)
    if held_to == 'about':
        _forgive(old_data, new_data)
    by_arrays = difference_of_arrays(old_arrays, new_arrays, values=held_to == 'bits')
    found = [each for each in (first_difference(old_data, new_data), by_arrays) if each]
    found.sort(key=lambda each: each[0])  # 'different' comes before 'rounding'
    return found[0] if found else ('equal', '')


def forget_new_fields(old: Any, new: Any, in_config: bool = False) -> None:
    """Takes fields that are not set out of configs, where the other revision has no such fields."""
    if isinstance(old, list) and isinstance(new, list):
        for pair in zip(old, new):
            forget_new_fields(*pair, in_config)
    if not isinstance(old, dict) or not isinstance(new, dict):
        return
    added = [name for name in new if name not in old and new[name] in (None, False, [], {})]
    for name in added if in_config else ():
        del new[name]
    for name in old.keys() & new.keys():
        forget_new_fields(old[name], new[name], in_config or name == 'config')


def _counts_of(data: dict[str, Any]) -> dict[str, Any]:
    """Config, columns of logs and counts of a run whose numbers are drawn without a seed."""
    logs: dict[str, dict[str, int]] = {}
    for label, log in data['logs'].items():
        # Which actor of a program takes a step is nobody's choice: actor-0 and actor-1 are one.
        counts = logs.setdefault(label.partition('-')[0], {})
        for name, rows in log.items():
            counts[name] = counts.get(name, 0) + len(rows)
    data['logs'] = logs
    for name in ('summary', 'result'):
        summary = data[name]
        means = summary.pop('evaluation')
        summary['evaluation'] = {
            name: value if name == 'episodes' else math.isfinite(value)
            for name, value in means.items()
        }
    data.pop('evaluated', None)
    return data


def _forgive(old: Any, new: Any) -> None:
    """Takes counts of `new` for those of `old` where they are about the same."""
    for name, value in old.items():
        if isinstance(value, dict) and isinstance(new.get(name), dict):
            _forgive(value, new[name])
        elif type(value) is int and type(new.get(name)) is int:
            if abs(value - new[name]) <= max(4, 0.25 * value):
                new[name] = value
    old.pop('checkpoints', None)
    new.pop('checkpoints', None)


def chosen(quick: bool, only: str | None) -> tuple[dict[str, Kind], list[list[str]]]:
    """The runs that are asked for, and which of them share a process."""
    listed = subprocess.run(
        _worker('--list'), cwd=ROOT, env=_environment(ROOT), stdout=subprocess.PIPE, check=True
    )
    kinds = {name: Kind(*told) for name, told in json.loads(listed.stdout).items()}
    names = [
        name
        for name, kind in kinds.items()
        if (kind.quick or not quick) and (only is None or fnmatch.fnmatch(name, f'*{only}*'))
    ]
    launchers = {name: name.partition('/')[0] for name in names}
    # Launchpad and Reverb leave threads behind; the others may share a process where they are few.
    groups = {
        name: launchers[name] if launchers[name] in LAUNCHPAD or not quick else '' for name in names
    }
    chunks: dict[str, list[str]] = {}
    for name in names:
        chunks.setdefault(groups[name], []).append(name)
    return {name: kinds[name] for name in names}, list(chunks.values())


def main() -> None:
    """Makes the runs that are missing, compares, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('revision', help='of git, or the path of a checkout')
    parser.add_argument('--quick', action='store_true', help='one of each kind; about a minute')
    parser.add_argument('--only', metavar='PATTERN', help="names of runs: 'compiled/*', sac")
    parser.add_argument('--again', action='store_true', help="make the working tree's runs anew")
    options = parser.parse_args()
    kinds, chunks = chosen(options.quick, options.only)
    other = pathlib.Path(options.revision)
    old = Side('old', other.resolve()) if other.is_dir() else Side('old', ROOT, options.revision)
    new = Side('new', ROOT)
    old.make(chunks)
    for name in kinds if options.again else ():
        new.forget(name)
    new.make(chunks)
    verdicts = []
    for name, kind in kinds.items():
        verdict, text = compare(name, kind.held_to, old, new)
        verdicts.append(verdict)
        print(f'{name:<34} {kind.held_to:<7} {verdict:<10} {text}'.rstrip())
    told = ', '.join(
        f'{verdicts.count(each)} {each}' for each in ('equal', 'rounding', 'different', 'new')
    )
    print(f'{len(verdicts)} runs: {told}')
    sys.exit('different' in verdicts)


if __name__ == '__main__':
    main()
