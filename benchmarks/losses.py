"""Run time and compile time of the losses beside RLax's, in one process, on the same inputs.

    pip install rlax==0.1.7 jax==0.4.38 jaxlib==0.4.38 numpy==1.24.3  # An environment of its own.
    python -m benchmarks.losses --out docs/results/losses.csv

A cell is a function, a length T and a batch B (batched by `jax.vmap`). Both libraries are compiled
with the same JAX, and measured in turns, best of `--rounds`. A run time is that of enough calls to
fill a few milliseconds; a compile time that of lowering and compiling, caches cleared. Every time is
taken twice: by the wall's clock and as processor time, which other work on the machine disturbs
less. Prints the ratios of every cell and their geometric means; `--parts` chooses among run,
compile, growth, import, and `--functions` among the rows. Other cells of a file that is there stay.
"""

import argparse
import csv
import functools
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components import losses

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import rlax

ACTIONS, ATOMS, QUANTILES, N_STEPS = 4, 51, 32, 5
LENGTHS, BATCHES = (20, 200, 2000), (1, 256)


def make_inputs(length: int, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random sequences [B, T, ...] under the names of the arguments, a tenth terminations."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=(batch, *shape)).astype(np.float32)

    def policy(*shape: int) -> np.ndarray:
        weights = np.exp(normal(*shape))
        return weights / weights.sum(-1, keepdims=True)

    def actions(*shape: int) -> np.ndarray:
        return rng.integers(0, ACTIONS, size=(batch, *shape)).astype(np.int32)

    taus = np.broadcast_to((np.arange(QUANTILES) + 0.5) / QUANTILES, (batch, QUANTILES))
    atoms = np.broadcast_to(np.linspace(-10, 10, ATOMS), (batch, ATOMS))
    return {
        'r': normal(length),
        'v': normal(length),
        'v_next': normal(length),
        'values': normal(length + 1),
        'rho': np.exp(0.3 * normal(length)),
        'discount': 0.99 * (rng.random((batch, length)) > 0.1).astype(np.float32),
        'q': normal(length, ACTIONS),
        'q_next': normal(length, ACTIONS),
        'a': actions(length),
        'a_next': actions(length),
        'pi': policy(length, ACTIONS),
        'mu': policy(length, 2)[..., 0],
        'atoms': atoms.astype(np.float32),
        'logits': normal(length, ACTIONS, ATOMS),
        'logits_next': normal(length, ACTIONS, ATOMS),
        'taus': taus.astype(np.float32),
        'dist': normal(length, QUANTILES, ACTIONS),
        'dist_next': normal(length, QUANTILES, ACTIONS),
    }


def over_time(function: Callable[..., Any], in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
    return jax.vmap(function, in_axes)


# Each row: a function of the library and one sequence's inputs, and the inputs that it takes.
ROWS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    'lambda_returns': (
        lambda lib, r, d, v: lib.lambda_returns(r, d, v, 0.9),
        ('r', 'discount', 'v'),
    ),
    'discounted_returns': (
        lambda lib, r, d, v: lib.discounted_returns(r, d, v),
        ('r', 'discount', 'v'),
    ),
    'n_step_returns': (
        lambda lib, r, d, v: lib.n_step_bootstrapped_returns(r, d, v, N_STEPS),
        ('r', 'discount', 'v'),
    ),
    'gae': (
        lambda lib, r, d, v: lib.truncated_generalized_advantage_estimation(r, d, 0.95, v),
        ('r', 'discount', 'values'),
    ),
    'vtrace': (lambda lib, *args: lib.vtrace(*args), ('v', 'v_next', 'r', 'discount', 'rho')),
    'vtrace_and_advantage': (
        lambda lib, *args: lib.vtrace_td_error_and_advantage(*args),
        ('v', 'v_next', 'r', 'discount', 'rho'),
    ),
    'retrace': (
        lambda lib, *args: lib.retrace(*args, 0.95),
        ('q', 'q_next', 'a', 'a_next', 'r', 'discount', 'pi', 'mu'),
    ),
    'categorical_q_learning': (
        lambda lib, z, q, a, r, d, q_next: over_time(
            lib.categorical_q_learning, (None, 0, 0, 0, 0, None, 0)
        )(z, q, a, r, d, z, q_next),
        ('atoms', 'logits', 'a', 'r', 'discount', 'logits_next'),
    ),
    'quantile_q_learning': (
        lambda lib, q, tau, a, r, d, q_next: over_time(
            lambda *args: lib.quantile_q_learning(*args, 1.0), (0, None, 0, 0, 0, 0, 0)
        )(q, tau, a, r, d, q_next, q_next),
        ('dist', 'taus', 'a', 'r', 'discount', 'dist_next'),
    ),
}


def compiled_for(library: Any, name: str, inputs: dict[str, np.ndarray]) -> tuple[Any, list[Any]]:
    function, names = ROWS[name]
    # Each library has its own function, so that neither is served from the other's cache.
    batched = jax.jit(jax.vmap(lambda *args: function(library, *args)))
    return batched, [jnp.asarray(inputs[key]) for key in names]


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def seconds_to_run(compiled: Any, args: list[Any], calls: int) -> np.ndarray:
    start = clocks()
    for _ in range(calls):
        out = compiled(*args)
    jax.block_until_ready(out)
    return (clocks() - start) / calls


def seconds_to_compile(make: Callable[[], tuple[Any, list[Any]]]) -> np.ndarray:
    jax.clear_caches()
    function, args = make()
    start = clocks()
    function.lower(*args).compile()
    return clocks() - start


def best_in_turns(
    rounds: int, ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray]
) -> np.ndarray:
    """The best of each clock for each of the two, [2, clocks]."""
    best = np.full((2, 2), np.inf)
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 else (1, 0):  # Neither always goes first.
            best[which] = np.minimum(best[which], (ours, theirs)[which]())
    return best


def cells(functions: list[str]) -> list[tuple[str, int, int]]:
    return [(name, length, batch) for name in functions for length in LENGTHS for batch in BATCHES]


def measure_run(rounds: int, functions: list[str]) -> list[dict[str, Any]]:
    rows = []
    for name, length, batch in cells(functions):
        inputs = make_inputs(length, batch)
        programs = []
        for library in (losses, rlax):
            function, args = compiled_for(library, name, inputs)
            compiled = function.lower(*args).compile()
            jax.block_until_ready(compiled(*args))
            programs.append((compiled, args))
        once = seconds_to_run(*programs[1], calls=1)[1]
        calls = max(1, min(1000, int(0.004 / max(once, 1e-6))))
        best = best_in_turns(
            rounds,
            *(functools.partial(seconds_to_run, *program, calls=calls) for program in programs),
        )
        rows.append(cell('run', name, length, batch, best))
    return rows


def measure_compile(rounds: int, functions: list[str]) -> list[dict[str, Any]]:
    rows = []
    for name, length, batch in cells(functions):
        inputs = make_inputs(length, batch)
        best = best_in_turns(
            rounds,
            *(
                functools.partial(
                    seconds_to_compile, functools.partial(compiled_for, library, name, inputs)
                )
                for library in (losses, rlax)
            ),
        )
        rows.append(cell('compile', name, length, batch, best))
    return rows


def measure_growth(rounds: int, _: list[str]) -> list[dict[str, Any]]:
    """Compile times of n-step returns by n and T; RLax's at n = 200 as well, once."""
    rows = []
    inputs = {length: make_inputs(length, 1) for length in LENGTHS}

    def make(library: Any, n: int, length: int) -> tuple[Any, list[Any]]:
        function = jax.jit(
            jax.vmap(lambda r, d, v: library.n_step_bootstrapped_returns(r, d, v, n))
        )
        return function, [jnp.asarray(inputs[length][key]) for key in ('r', 'discount', 'v')]

    for length in LENGTHS:
        for n in (1, 2, 5, 20, 200):
            ours, theirs = (
                functools.partial(seconds_to_compile, functools.partial(make, library, n, length))
                for library in (losses, rlax)
            )
            best = np.stack([np.min([ours() for _ in range(rounds)], axis=0), [np.nan, np.nan]])
            if length == LENGTHS[-1]:
                best[1] = np.min([theirs() for _ in range(rounds if n < 200 else 1)], axis=0)
            rows.append(cell(f'compile n={n}', 'n_step_returns', length, 1, best))
    return rows


def measure_import(rounds: int, _: list[str]) -> list[dict[str, Any]]:
    """Seconds that a fresh process takes to import each, JAX and NumPy already imported."""

    def seconds(module: str) -> np.ndarray:
        code = (
            f'import jax, jax.numpy, numpy, time; wall, cpu = time.perf_counter(), '
            f'time.process_time(); import {module}; '
            f'print(time.perf_counter() - wall, time.process_time() - cpu)'
        )
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', code], check=True, capture_output=True, text=True
        )
        return np.array([float(word) for word in done.stdout.split()[-2:]])

    best = best_in_turns(
        rounds,
        functools.partial(seconds, 'culmen.components.losses'),
        functools.partial(seconds, 'rlax'),
    )
    return [cell('import', 'package', 0, 0, best)]


def cell(part: str, name: str, length: int, batch: int, best: np.ndarray) -> dict[str, Any]:
    ratio, cpu_ratio = best[0] / best[1]
    print(
        f'{part:14}{name:24}T={length:<6}B={batch:<5}{1e6 * best[0, 0]:12.1f} us '
        f'{1e6 * best[1, 0]:12.1f} us {ratio:8.3f}{cpu_ratio:8.3f}',
        flush=True,
    )
    return {
        'part': part,
        'function': name,
        'T': length,
        'B': batch,
        'culmen_seconds': best[0, 0],
        'rlax_seconds': best[1, 0],
        'ratio': ratio,
        'culmen_cpu_seconds': best[0, 1],
        'rlax_cpu_seconds': best[1, 1],
        'cpu_ratio': cpu_ratio,
    }


def key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ('part', 'function', 'T', 'B'))


def kept(path: str | None) -> dict[tuple[str, ...], dict[str, Any]]:
    """The cells of a file that an earlier run has written."""
    if path is None or not os.path.exists(path):
        return {}
    with open(path, newline='') as file:
        return {key(row): dict(row) for row in csv.DictReader(file)}


def geometric_mean(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--parts', default='run,compile,growth,import')
    parser.add_argument('--functions', default=','.join(ROWS))
    parser.add_argument('--out', help='a CSV file for the figures')
    options = parser.parse_args()
    print(
        f'Python {platform.python_version()}, jax {jax.__version__}, numpy {np.__version__}, '
        f'{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}'
    )
    measures = {
        'run': measure_run,
        'compile': measure_compile,
        'growth': measure_growth,
        'import': measure_import,
    }
    found = kept(options.out)
    for part in options.parts.split(','):
        for row in measures[part](options.rounds, options.functions.split(',')):
            found[key(row)] = row
        if options.out:
            with open(options.out, 'w', newline='') as file:
                writer = csv.DictWriter(file, fieldnames=list(row), lineterminator='\n')
                writer.writeheader()
                writer.writerows(found.values())
    rows = list(found.values())
    for part in ('run', 'compile'):
        for clock in ('ratio', 'cpu_ratio'):
            ratios = [float(row[clock]) for row in rows if row['part'] == part]
            if ratios:
                print(
                    f'{part}, {clock}: geometric mean {geometric_mean(ratios):.3f}, '
                    f'worst {max(ratios):.3f}, best {min(ratios):.3f} of {len(ratios)} cells'
                )


if __name__ == '__main__':
    main()
