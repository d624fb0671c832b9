"""Steps per second of Culmen's own environments, compiled: a random policy on N lanes, on one core.

    python benchmarks/jax_environments.py                     # prints the table
    python benchmarks/jax_environments.py --report            # and writes docs/results/jax_environments.md
    python benchmarks/jax_environments.py --names catch,nim   # some of them

Each environment is stepped as the compiled loop steps it (`functional.advance`, vmapped over the lanes, in
one `lax.scan`), resets included. Actions are drawn uniformly from the spec; nothing else is computed. The
process keeps to one core where the system lets it, and the environments are measured in turns.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if hasattr(os, 'sched_setaffinity'):  # before JAX starts its threads
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components import environments
from culmen.components.environments import functional

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'results' / 'jax_environments.md'


def random_actions(spec: Any, key: jax.Array) -> Any:
    """One action drawn uniformly from a spec, a nest."""
    leaves, structure = jax.tree_util.tree_flatten(spec)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten([_draw(*each) for each in zip(keys, leaves, strict=True)])


def _draw(key: jax.Array, leaf: specs.BoundedArray) -> jax.Array:
    if leaf.dtype.kind == 'f':
        return jax.random.uniform(key, leaf.shape, leaf.dtype, leaf.minimum, leaf.maximum)
    low, high = jnp.asarray(leaf.minimum), jnp.asarray(leaf.maximum)
    return jax.random.randint(key, leaf.shape, low, high + 1).astype(leaf.dtype)


def compile_run(name: str, lanes: int, ticks: int, seed: int) -> tuple[Callable[[], float], float]:
    """A compiled run of an environment, and the seconds of its compilation.

    Returns: (a function that makes `ticks` ticks of all lanes and returns the sum of rewards, seconds).
    """
    environment: Any = environments.make(f'jax/{name}', seed)
    model, spec = environment.functions, environment.functions.spec()
    draw = lambda keys: jax.vmap(lambda key: random_actions(spec.action, key))(keys)

    @jax.jit
    def run(state: Any, key: jax.Array) -> Any:
        def tick(carry: Any, key: jax.Array) -> Any:
            state, total = carry
            actions = draw(jax.random.split(key, lanes))
            state, timestep = jax.vmap(lambda *each: functional.advance(model, *each))(
                state, actions
            )
            # Every leaf of the time step is used, so that none of it is left out.
            leaves = jax.tree_util.tree_leaves((timestep.reward, timestep.observation))
            return (state, total + sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in leaves)), None

        return jax.lax.scan(tick, (state, jnp.float32(0)), jax.random.split(key, ticks))[0]

    keys = functional.lane_keys(range(seed, seed + lanes))
    state, _ = jax.jit(jax.vmap(lambda key: functional.begin(model, key)))(keys)
    began = time.perf_counter()
    run_compiled = run.lower(state, jax.random.key(seed)).compile()
    seconds = time.perf_counter() - began
    return lambda: float(run_compiled(state, jax.random.key(seed))[1]), seconds


def measure(names: list[str], lanes: int, seconds: float, rounds: int, seed: int) -> list[Any]:
    """Steps per second of each environment, by rounds. Returns: [(name, rates, compile seconds)]."""
    runs = []
    for name in names:
        short, _ = compile_run(name, lanes, 64, seed)
        short()
        began = time.perf_counter()
        short()
        tick = (time.perf_counter() - began) / 64
        ticks = max(64, int(seconds / tick))
        run, compiling = compile_run(name, lanes, ticks, seed)
        run()
        runs.append((name, ticks, run, compiling, []))
    for _ in range(rounds):
        for _, ticks, run, _, rates in runs:
            began = time.perf_counter()
            run()
            rates.append(ticks * lanes / (time.perf_counter() - began))
    return [(name, rates, compiling) for name, _, _, compiling, rates in runs]


def table(rows: list[Any]) -> str:
    """The table of the page."""
    lines = [
        '| environment | steps/s | microseconds a step | seconds to compile |',
        '| --- | --- | --- | --- |',
    ]
    for name, rates, compiling in rows:
        middle = statistics.median(rates)
        lines.append(
            f'| `jax/{name}` | {middle:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | '
            f'{1e6 / middle:.2g} | {compiling:.1f} |'
        )
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--names', help='with commas between them; all without')
    parser.add_argument('--lanes', type=int, default=64)
    parser.add_argument('--seconds', type=float, default=0.3, help='of a round of an environment')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--report', action='store_true')
    arguments = parser.parse_args()
    known = [name.partition('/')[2] for name in environments.names('jax')]
    names = arguments.names.split(',') if arguments.names else known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f'--names must be of {", ".join(known)}, got {", ".join(unknown)}.')
    rows = measure(names, arguments.lanes, arguments.seconds, arguments.rounds, arguments.seed)
    text = table(rows)
    print(text)
    if arguments.report:
        versions = (
            f'Python {platform.python_version()}, JAX {jax.__version__}, NumPy {np.__version__}'
        )
        PAGE.write_text(
            "# Culmen's own environments, compiled\n\n"
            f'`python benchmarks/jax_environments.py {" ".join(sys.argv[1:])}`, {versions}, on '
            f'{os.cpu_count()} cores of which the process has one, seed {arguments.seed}.\n\n'
            f'Each environment with its default arguments, a random policy on {arguments.lanes} lanes in one '
            f'`lax.scan`, resets included: environment steps a second, all lanes together, the median of '
            f'{arguments.rounds} rounds in turns, with the least and the most in brackets. Drawing the '
            f'actions is part of it; there is no network, no table and no log.\n\n{text}'
        )


if __name__ == '__main__':
    main()
