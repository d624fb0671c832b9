"""How long `import culmen` takes beside importing JAX, Haiku and Optax.

    python benchmarks/import_time.py [--repeats 11]

Each import runs in a fresh interpreter, the two in turn; the ratio is that of the smallest times,
which the rest of the machine disturbs least. The bar is 1.3. Most of Culmen loads on first use, so
the last row has all that a run of DQN in one process imports.
"""

import argparse
import statistics
import subprocess
import sys

IMPORTS = {
    'base': 'jax, haiku, optax',
    'culmen': 'culmen',
    'one process': 'culmen.launchers.local, culmen.agents.dqn',
}
BAR = 1.3


def seconds(modules: str) -> float:
    """The seconds that a fresh interpreter spends in importing the modules."""
    code = f'import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> int:
    """Prints the times and whether their ratio is within the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=11)
    repeats = parser.parse_args().repeats
    for modules in IMPORTS.values():  # The first import reads the disk and writes bytecode.
        seconds(modules)
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, modules in IMPORTS.items():
            times[name].append(seconds(modules))
    base = min(times['base'])
    for name, modules in IMPORTS.items():
        smallest, median = min(times[name]), statistics.median(times[name])
        print(f'import {modules}')
        print(f'    smallest {smallest:.3f} s, median {median:.3f} s, ratio {smallest / base:.2f}')
    within = min(times['culmen']) <= BAR * base
    print(f'import culmen is {"within" if within else "OVER"} {BAR} times the base')
    return 0 if within else 1


if __name__ == '__main__':
    sys.exit(main())
