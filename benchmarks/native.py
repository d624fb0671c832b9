"""Steps per second of SAC and PPO on Pendulum beside a native program: RLtools, which is written in C++.

    python benchmarks/native.py --write
    python benchmarks/native.py --parts         # and where a step of compiled SAC spends its microseconds

PyPI's `rltools` ships the headers of RLtools and its Pendulum. native.cpp is a program of them, and is built
twice: with `g++ -O3 -march=native`, and with the -Ofast that RLtools asks for (it lets g++ compute many tanh
at once). Its BLAS is PyPI's `scipy-openblas32`, an OpenBLAS that needs no root. Culmen trains in its compiled
loop and in one process, on the Python that runs this script. Each competitor is a process with one thread,
and all are held to one core: they train pieces of a run in turns (revisions.py), after pieces that hold
compilation and random steps. `--write` writes docs/results/native.md.
"""

import argparse
import contextlib
import datetime
import os
import shlex
import subprocess
import sys
import time
from typing import Any
from typing import NamedTuple

import native_parts
import numpy as np
from dqn_speed import ROOT
from dqn_speed import prepare
from dqn_speed import processor
from dqn_speed import versions_of
from dqn_speed import write_page
from revisions import WARM_UP
from revisions import Side
from revisions import in_turns
from revisions import train_in_pieces

RLTOOLS = ROOT / '.venv-rltools'
NEEDS = ['rltools==2.2.1', 'scipy-openblas32==0.3.34.481.3']
OF_CULMEN = ('culmen', 'jax', 'jaxlib', 'dm-haiku', 'optax', 'gymnax', 'gymnasium', 'numpy')
FLAGS = {'RLtools, -O3': ['-O3'], 'RLtools, -Ofast': ['-Ofast']}
WAYS = {'compiled loop': 'gymnax/Pendulum-v1', 'one process': 'gymnasium/Pendulum-v1'}
SEED = 1

SAC = {
    'hidden_sizes': (64, 64),
    'learning_rate': 1e-3,
    'discount': 0.99,
    'target_rate': 0.005,
    'batch_size': 100,
    'samples_per_insert': 100.0,
    'random_steps': 1_000,
    'min_replay_size': 1_000,
    'replay_capacity': 100_000,
}
PPO = {
    'hidden_sizes': (64, 64),
    'learning_rate': 1e-3,
    'discount': 0.99,
    'lambda_': 0.95,
    'clip_epsilon': 0.2,
    'entropy_cost': 0.0,
    'max_gradient_norm': None,
    'unroll_length': 1_024,
    'batch_size': None,
    'num_minibatches': 16,
    'num_epochs': 2,
}


class Task(NamedTuple):
    """What is timed."""

    settings: dict[str, Any]  # of Culmen's agent
    macros: dict[str, Any]  # the same for native.cpp, where they are not RLtools' defaults
    lanes: int
    steps: int  # of a piece
    bar: float | None  # least ratio of the compiled loop to RLtools with -O3


def of_ppo(activation: str, bar: float | None) -> Task:
    """PPO with one of its activations."""
    macros = {
        'PPO': 1,
        'ACTIVATION': activation.upper(),
        'LANES': 4,
        'UNROLL': PPO['unroll_length'],
        'MINIBATCHES': PPO['num_minibatches'],
        'EPOCHS': PPO['num_epochs'],
    }
    return Task({**PPO, 'activation': activation}, macros, 4, 32_768, bar)


TASKS = {
    'SAC, MLP 64-64, batch 100, an update a step': Task(
        SAC,
        {
            'RANDOM': SAC['random_steps'],
            'CAPACITY': SAC['replay_capacity'],
            'BATCH': SAC['batch_size'],
        },
        1,
        2_000,
        1.0,
    ),
    'PPO, MLP 64-64 of tanh, 4 lanes of 1,024 steps, 16 minibatches, 2 epochs': of_ppo('tanh', 1.5),
    'PPO, the same with ReLU': of_ppo('relu', None),
}


def make_experiment(name: str, way: str) -> Any:
    """The experiment of a task, without an end."""
    import culmen
    from culmen.agents import ppo
    from culmen.agents import sac

    task = TASKS[name]
    agent = ppo.PPO(**task.settings) if 'PPO' in task.macros else sac.SAC(**task.settings)
    return culmen.Experiment(
        agent, WAYS[way], max_actor_steps=2**40, num_environments=task.lanes, seed=SEED
    )


def build(name: str, flags: list[str]) -> tuple[str, float]:
    """Builds native.cpp. Returns: (the program, the seconds that g++ took)."""
    packages = next(RLTOOLS.glob('lib/python*/site-packages'))
    blas = packages / 'scipy_openblas32' / 'lib'
    program = RLTOOLS / f'native-{list(TASKS).index(name)}{flags[0]}'
    command = [
        'g++', '-std=c++17', *flags, '-march=native', '-DRL_TOOLS_BACKEND_ENABLE_OPENBLAS',
        *(f'-Dcblas_{of}gemm=scipy_cblas_{of}gemm' for of in 'sd'),
        *(f'-DCULMEN_{macro}={value}' for macro, value in TASKS[name].macros.items()),
        f'-I{packages / "rltools" / "external" / "rl_tools" / "include"}',
        str(ROOT / 'benchmarks' / 'native.cpp'), '-o', str(program),
        f'-L{blas}', '-lscipy_openblas', f'-Wl,-rpath,{blas}',
    ]  # fmt: skip
    begin = time.perf_counter()
    subprocess.run(command, check=True)
    return str(program), time.perf_counter() - begin


def compare(name: str, repeats: int) -> tuple[list[str], str]:
    """Returns: (the section of a task, which BLAS RLtools ran with)."""
    task = TASKS[name]
    commands: dict[str, list[str]] = {}
    compiling: dict[str, float] = {}
    for label, flags in FLAGS.items():
        program, compiling[label] = build(name, flags)
        commands[label] = [program, str(SEED), str(task.steps)]
    for way in WAYS:
        commands[way] = [sys.executable, __file__, '--work', name, way]
    told, seconds = in_turns([(command, ROOT) for command in commands.values()], repeats)
    firsts = dict(zip(commands, told))
    compiling['compiled loop'] = firsts['compiled loop']
    rates = {label: task.steps / seconds[:, i] for i, label in enumerate(commands)}
    lines = ['', f'## {name}', '', *table(rates, compiling), '']
    ratios = [f'{ratio_of(rates, "compiled loop", of):.2f} times {of}' for of in FLAGS]
    bar = '' if task.bar is None else f'; the bar is {task.bar:g} times RLtools, -O3'
    lines.append(f'The compiled loop: {", ".join(ratios)}{bar}.')
    print('\n'.join(lines), file=sys.stderr, flush=True)
    return lines, firsts['RLtools, -O3']


def ratio_of(rates: dict[str, np.ndarray], label: str, of: str) -> float:
    """The median ratio of two competitors' rates float64[repeats]."""
    return float(np.median(rates[label] / rates[of]))


def table(rates: dict[str, np.ndarray], compiling: dict[str, float]) -> list[str]:
    """Of a comparison. Args: rates: float64[repeats] each; compiling: seconds, where they are known."""
    columns = ['', 'steps/s, median', 'all repeats', *(f'times {of}' for of in FLAGS)]
    columns.append('seconds to compile')
    lines = [f'| {" | ".join(columns)} |', '|---' * len(columns) + '|']
    for label, found in rates.items():
        cells = [label, f'{np.median(found):,.0f}', ', '.join(f'{rate:,.0f}' for rate in found)]
        cells += [f'{ratio_of(rates, label, of):.2f}' for of in FLAGS]
        cells.append(f'{compiling[label]:.1f}' if label in compiling else '')
        lines.append(f'| {" | ".join(cells)} |')
    return lines


def work(name: str, way: str, repeats: str = '') -> None:
    """A worker: Culmen in one of its ways; with repeats, the parts of the compiled loop."""
    experiment = make_experiment(name, way)
    if repeats:
        native_parts.work(experiment, int(repeats))
    else:
        train_in_pieces(experiment, TASKS[name].steps, compiled=way == 'compiled loop')


def parts(repeats: int) -> list[str]:
    """The section of the parts of a step of SAC."""
    command = [sys.executable, __file__, '--work', next(iter(TASKS)), 'compiled loop', str(repeats)]
    with contextlib.closing(Side(command, ROOT, max(os.sched_getaffinity(0)))) as side:
        names, microseconds = side.first
    return native_parts.section(names, np.array(microseconds))


def head(blas: str) -> list[str]:
    """The page's beginning."""
    compiler = subprocess.run(['g++', '--version'], capture_output=True, text=True, check=True)
    versions = ', '.join(f'{name} {version}' for name, version in versions_of(OF_CULMEN).items())
    return [
        '# Speed beside a native program',
        '',
        'Environment steps per second of SAC and PPO on Pendulum beside RLtools, a library in C++, with the',
        'same updates, networks and environment, and without evaluation, logs and checkpoints;',
        '`benchmarks/native.py` says how it is measured. All have one thread and are held to the same core.',
        'The seconds to compile are those of g++, and of JAX and XLA; one process compiles in its warm-up.',
        '',
        f'- command: `{shlex.join(["python", "benchmarks/native.py", *sys.argv[1:]])}`',
        f'- date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}; {processor()}',
        f'- seed: {SEED}; repeats: pieces of one run, in turns, after {WARM_UP} that are not counted; a '
        f'ratio is the median of the ratios in the turns',
        f'- RLtools: {", ".join(NEEDS)}; {compiler.stdout.splitlines()[0]}, `-march=native`; linked: {blas}',
        f'- culmen, compiled and in one process: {versions}',
    ]


def main() -> int:
    """Measures, prints, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--task', action='append', choices=TASKS, help='default: all')
    parser.add_argument('--parts', action='store_true', help='tell the parts of a step of SAC too')
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--work', nargs='+', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return 0
    prepare(RLTOOLS, sys.executable, NEEDS)
    # OpenBLAS takes the kernels that fit the processor, whatever this machine's variables say.
    os.environ.pop('OPENBLAS_CORETYPE', None)
    lines: list[str] = []
    blas = ''
    for name in arguments.task or TASKS:
        section, blas = compare(name, arguments.repeats)
        lines += section
    if arguments.parts:
        lines += parts(arguments.repeats)
    page = '\n'.join([*head(blas), *lines]) + '\n'
    print(page)
    if arguments.write:
        write_page('native.md', page)
    return 0


if __name__ == '__main__':
    sys.exit(main())
