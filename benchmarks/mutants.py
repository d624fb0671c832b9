"""How many small faults in the losses the tests notice: a seeded sample of mutants, one at a time.

    python -m benchmarks.mutants --number 200 --seed 0 --out docs/results/losses_mutants.csv

A mutant is the source of one file with one change: another operator or comparison, another
constant, two arguments swapped, a keyword or a `not` left out, a function's opposite in its place.
Texts, docstrings, annotations and checks' messages are never changed. Each is run in a forked
process against the file's own test file until the first failure; nothing is written to the source.
"""

import argparse
import ast
import copy
import csv
import importlib.machinery
import os
import pathlib
import random
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = {  # Each file and the tests that answer for it.
    'value_learning': 'test_value_learning',
    'retrace': 'test_retrace',
    'distributional': 'test_distributional',
    'multistep': 'test_multistep',
    '_recurrence': 'test_multistep',
    'vtrace': 'test_vtrace',
}
OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.RShift: (ast.LShift,),
    ast.LShift: (ast.RShift,),
    ast.MatMult: (ast.Mult,),
}
COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPPOSITES = {
    'minimum': 'maximum',
    'maximum': 'minimum',
    'max': 'min',
    'argmax': 'argmin',
    'sum': 'mean',
    'mean': 'sum',
    'ones_like': 'zeros_like',
    'zeros_like': 'ones_like',
    'exp': 'expm1',
    'log': 'log1p',
    'softmax': 'log_softmax',
    'log_softmax': 'softmax',
    'all': 'any',
    'reversed': 'list',
    'min': 'max',
    'square': 'abs',
    'abs': 'square',
}

Change = tuple[str, int, Callable[[], None]]


def changes(tree: ast.AST) -> Iterator[Change]:
    """Every change to the tree: what it is, the line, and a function that makes it."""
    for node in places(tree):
        line = getattr(node, 'lineno', 0)

        def put(field: str, new: Any, node: ast.AST = node) -> Callable[[], None]:
            return lambda: setattr(node, field, new)

        if isinstance(node, ast.BinOp):
            for operator in OPERATORS.get(type(node.op), ()):
                what = f'{type(node.op).__name__} to {operator.__name__}'
                yield what, line, put('op', operator())
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            for comparison in COMPARISONS.get(type(node.ops[0]), ()):
                yield (
                    f'{type(node.ops[0]).__name__} to {comparison.__name__}',
                    line,
                    put('ops', [comparison()]),
                )
        elif isinstance(node, ast.BoolOp):
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield f'{type(node.op).__name__} to {other.__name__}', line, put('op', other())
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, bool):
                yield f'{node.value} to {not node.value}', line, put('value', not node.value)
            elif isinstance(node.value, (int, float)):
                for new in (node.value + 1, -node.value) if node.value else (1,):
                    yield f'{node.value} to {new}', line, put('value', new)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
            if not isinstance(node.operand, ast.Constant):
                plus, twice = ast.UAdd(), ast.UnaryOp(ast.Not(), node.operand)
                yield (
                    f'{type(node.op).__name__} left out',
                    line,
                    (put('op', plus) if isinstance(node.op, ast.USub) else put('operand', twice)),
                )
        elif isinstance(node, ast.Call):
            name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            for first in range(len(node.args) - 1):
                if (
                    name == 'check'
                    or isinstance(node.args[first + 1], ast.Starred)
                    or ast.dump(node.args[first]) == ast.dump(node.args[first + 1])
                ):
                    continue
                swapped = list(node.args)
                swapped[first : first + 2] = reversed(swapped[first : first + 2])
                yield (
                    f'arguments {first} and {first + 1} of {name} swapped',
                    line,
                    put('args', swapped),
                )
            for index, keyword in enumerate(node.keywords):
                yield (
                    f'{name} without {keyword.arg}',
                    line,
                    put('keywords', node.keywords[:index] + node.keywords[index + 1 :]),
                )
            if name in OPPOSITES:
                field = 'attr' if isinstance(node.func, ast.Attribute) else 'id'
                yield f'{name} to {OPPOSITES[name]}', line, put(field, OPPOSITES[name], node.func)
        elif isinstance(node, ast.IfExp):
            yield (
                'branches swapped',
                line,
                (lambda node=node: node.__dict__.update(body=node.orelse, orelse=node.body)),
            )


def places(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that compute: not annotations, not texts, not the raising of errors."""
    yield tree
    for name, value in ast.iter_fields(tree):
        if name in ('annotation', 'returns'):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.Raise, ast.JoinedStr)):
                continue
            if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == '_Maps':
                continue
            yield from places(child)


def source(name: str) -> pathlib.Path:
    return ROOT / 'culmen' / 'components' / 'losses' / f'{name}.py'


def mutated(name: str, index: int) -> tuple[str, str]:
    """The source with its change of that number, and a description."""
    tree = copy.deepcopy(ast.parse(source(name).read_text()))
    what, line, make = list(changes(tree))[index]
    make()
    return ast.unparse(ast.fix_missing_locations(tree)), f'line {line}: {what}'


def is_killed(name: str, text: str, limit: float) -> str:
    """Runs the tests on the mutant in a forked process: 'killed', 'survived' or 'timeout'."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            plain = importlib.machinery.SourceFileLoader.get_code

            def get_code(self: Any, fullname: str) -> Any:
                if self.path == str(source(name)):
                    return compile(text, self.path, 'exec')
                return plain(self, fullname)

            importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore
            import pytest

            code = pytest.main(
                [
                    '-x',
                    '-q',
                    '-p',
                    'no:cacheprovider',
                    '--rootdir',
                    str(ROOT),
                    '-W',
                    'ignore::pytest.PytestAssertRewriteWarning',
                    str(ROOT / 'tests' / 'components' / 'losses' / f'{SOURCES[name]}.py'),
                ]
            )
            os._exit(0 if code == 0 else 1)
        except BaseException:
            os._exit(1)
    start = time.monotonic()
    while time.monotonic() - start < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return 'survived' if os.waitstatus_to_exitcode(status) == 0 else 'killed'
        time.sleep(0.05)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return 'timeout'


def chosen(only: str | None, size: int) -> list[int]:
    """The numbers that `--only` means: all, a range or a list."""
    if not only:
        return list(range(size))
    if ':' in only:
        first, last = only.split(':')
        return list(range(int(first or 0), int(last or size)))
    return [int(number) for number in only.split(',')]


def kept(path: str | None, sample: list[tuple[str, int]]) -> dict[int, dict[str, Any]]:
    """The rows of a file that an earlier part of the same sample has written, by number."""
    if path is None or not os.path.exists(path):
        return {}
    with open(path, newline='') as file:
        rows = {int(row['number']): dict(row) for row in csv.DictReader(file)}
    for number, row in rows.items():
        if row['mutant'] != mutated(*sample[number])[1]:
            sys.exit(f'{path} is of other code: mutant {number} is another now')
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--number', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--limit', type=float, default=300.0, help='seconds for one mutant')
    parser.add_argument('--core', type=int, help='the core to run on')
    parser.add_argument('--files', default=','.join(SOURCES))
    parser.add_argument('--only', help='numbers of the sample to run, such as 0:50 or 21,63')
    parser.add_argument('--proved', action='store_true', help='do not run the unchanged code first')
    parser.add_argument('--out', help='a CSV file for the mutants; those already in it are kept')
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    sys.path.insert(0, str(ROOT))
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ['XLA_FLAGS'] = '--xla_backend_optimization_level=0'  # Most of the time is compiling.
    # Imported once, before the forks; the backend starts in each child.
    import hypothesis.extra.numpy  # noqa: F401
    import jax.experimental  # noqa: F401
    import pytest  # noqa: F401

    every = [
        (name, index)
        for name in options.files.split(',')
        for index in range(len(list(changes(ast.parse(source(name).read_text())))))
    ]
    sample = random.Random(options.seed).sample(every, min(options.number, len(every)))
    print(f'{len(every)} mutants, a sample of {len(sample)}', flush=True)
    rows = kept(options.out, sample)
    numbers = [number for number in chosen(options.only, len(sample)) if number not in rows]
    for name in dict.fromkeys(sample[number][0] for number in numbers):  # Or nothing is proved.
        if options.proved:
            break
        start = time.monotonic()
        if is_killed(name, source(name).read_text(), 10 * options.limit) != 'survived':
            sys.exit(f'the tests of {name} fail without a mutation')
        print(f'{name} unchanged: {time.monotonic() - start:.1f} s', flush=True)
    for number in numbers:
        name, index = sample[number]
        text, what = mutated(name, index)
        start = time.monotonic()
        result = is_killed(name, text, options.limit)
        rows[number] = {'number': number, 'file': name, 'mutant': what, 'result': result}
        print(f'{number:4} {result:9}{time.monotonic() - start:6.1f} s  {name}, {what}', flush=True)
        if options.out:
            with open(options.out, 'w', newline='') as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[number]), lineterminator='\n')
                writer.writeheader()
                writer.writerows(rows[n] for n in sorted(rows))
    survived = sum(row['result'] == 'survived' for row in rows.values())
    print(f'killed {len(rows) - survived} of {len(rows)}, {1 - survived / len(rows):.1%}')


if __name__ == '__main__':
    main()
