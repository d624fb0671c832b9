"""Runs all tests in parts, and goes on where it stopped: `make test-all`.

A part that has passed is not run again while the sources are the same. `--part i/n` of pytest says which
tests a part has (tests/selection.py). Other options are pytest's; `--costs FILE` holds what all parts cost.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
STATE = ROOT / '.pytest_cache' / 'culmen-parts.json'
PARTS = 12
SOURCES = (
    'culmen',
    'tests',
    'examples',
    'docs',
    'benchmarks',
    'setup.cfg',
    'pyproject.toml',
    'README.md',
)
NO_TESTS = 5  # pytest's exit code where nothing was selected


def fingerprint(arguments: list[str]) -> str:
    """A hash of all sources, of the Python and of the arguments."""
    digest = hashlib.sha256(repr((sys.version, arguments, PARTS)).encode())
    for name in SOURCES:
        top = ROOT / name
        for path in sorted(top.rglob('*')) if top.is_dir() else [top]:
            if path.is_file() and '__pycache__' not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + b'\0')
                digest.update(path.read_bytes())
    return digest.hexdigest()


def main(arguments: list[str]) -> int:
    """Runs every part that has not passed; returns 0 where all have."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument('--costs')
    options, arguments = parser.parse_known_args(arguments)
    sources = fingerprint(arguments)
    state = json.loads(STATE.read_text()) if STATE.exists() else {}
    if state.get('sources') != sources:
        state = {'sources': sources, 'passed': {}}
    for part in range(1, PARTS + 1):
        if str(part) in state['passed']:
            print(f'part {part}/{PARTS}: passed before')
            continue
        begin = time.monotonic()
        code = run(part, arguments)
        if code == 2:  # interrupted
            return code
        if code in (0, NO_TESTS):
            state['passed'][str(part)] = round(time.monotonic() - begin)
            STATE.write_text(json.dumps(state))
    left = [part for part in range(1, PARTS + 1) if str(part) not in state['passed']]
    seconds = sum(state['passed'].values())
    print(f'{PARTS - len(left)} of {PARTS} parts passed, in {seconds} s; left: {left or "none"}')
    if options.costs:
        files = [path for part in range(1, PARTS + 1) if (path := costs_of(part)).exists()]
        rows = [row for path in files for row in json.loads(path.read_text())]
        pathlib.Path(options.costs).write_text(json.dumps(rows))
    return 1 if left else 0


def run(part: int, arguments: list[str]) -> int:
    """Runs one part; returns pytest's exit code."""
    STATE.parent.mkdir(exist_ok=True)
    costs_of(part).unlink(missing_ok=True)
    command = [sys.executable, '-m', 'pytest', '-q', '--all', f'--part={part}/{PARTS}', *arguments]
    command.append(f'--costs={costs_of(part)}')
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def costs_of(part: int) -> pathlib.Path:
    """Where the costs of a part's last run are."""
    return STATE.with_name(f'culmen-costs-{part}.json')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
