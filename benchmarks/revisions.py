"""Speed of the working tree beside another revision: pieces of one run of each, in turns on one core.

    python benchmarks/revisions.py e2aa9ea                 # all tasks, 15 pairs
    python benchmarks/revisions.py e2aa9ea --task dqn --pairs 5
    python benchmarks/revisions.py e2aa9ea --write         # docs/results/revisions.md too

Each side is one process, with its run compiled and warm, that trains a piece when it is told to and waits
otherwise. A ratio is the revision's seconds over the working tree's in one pair: above 1 the working tree is
faster. The interval is of the median, by bootstrap (95%). Both sides use this Python and its packages.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PAGE = ROOT / 'docs' / 'results' / 'revisions.md'
BAR = 0.97
WARM_UP = 3  # pieces that are not measured

# Environment, lanes, actor steps of a piece.
TASKS = {
    'dqn': ('bsuite/catch/0', 1, 4_000),
    'sac': ('gymnasium/Pendulum-v1', 1, 500),
    'ppo': ('gymnasium/CartPole-v1', 8, 8_192),
    'dqn, compiled': ('jax/catch', 1, 20_000),
    'sac, compiled': ('gymnax/Pendulum-v1', 1, 1_000),
    'ppo, compiled': ('gymnax/CartPole-v1', 8, 32_768),
}


def make_experiment(task: str) -> Any:
    """The experiment of a task, without an end."""
    import culmen
    from culmen.agents import dqn
    from culmen.agents import ppo
    from culmen.agents import sac

    environment, lanes, _ = TASKS[task]
    agents: dict[str, Any] = {
        'dqn': dqn.DQN(),
        'sac': sac.SAC(hidden_sizes=(64, 64), batch_size=100, samples_per_insert=100.0),
        'ppo': ppo.PPO(unroll_length=128, batch_size=None),
    }
    return culmen.Experiment(
        agents[task.partition(',')[0]],
        environment,
        max_actor_steps=2**40,
        num_environments=lanes,
    )


class Pieces:
    """An observer of a run that lets it train a piece at a time."""

    def __init__(self, steps: int, lanes: int, wait: Callable[[float], None]) -> None:
        self._ticks = steps // lanes
        self._wait = wait
        self._tick = 0
        self._begin = 0.0

    def observe(self, timestep: Any, action: Any) -> None:
        if self._tick % self._ticks == 0:
            self._wait(time.perf_counter() - self._begin)
            self._begin = time.perf_counter()
        self._tick += 1

    def get_metrics(self, lane: int) -> dict[str, float]:
        return {}


def work(task: str) -> None:
    """A worker: trains pieces of a task."""
    train_in_pieces(make_experiment(task), TASKS[task][2], compiled=task.endswith('compiled'))


def train_in_pieces(experiment: Any, steps: int, *, compiled: bool) -> None:
    """For each line on standard input it trains a piece of a run, and prints its seconds.

    The first line that it prints says that it is ready; if it is compiled, after how many seconds.
    """

    def wait(seconds: float) -> None:
        print(json.dumps(seconds), flush=True)
        if not sys.stdin.readline():
            os._exit(0)  # it is over: the run has no end of its own

    if not compiled:
        import culmen

        pieces = Pieces(steps, experiment.num_environments, wait)
        culmen.run(experiment, observers=[pieces], progress=False)
        return
    from culmen.launchers import compiled as launcher

    begin = time.perf_counter()
    # The name of this function has changed.
    make_plan = getattr(launcher, 'make_plan', None) or launcher.make_program
    loop = make_plan(experiment).loop
    carry, _ = loop.run(loop.begin(experiment.seed), 0)
    seconds = time.perf_counter() - begin
    while True:
        wait(seconds)
        begin = time.perf_counter()
        carry = train_piece(loop, carry, steps)
        seconds = time.perf_counter() - begin


def train_piece(loop: Any, carry: Any, steps: int) -> Any:
    """Trains that many actor steps in a compiled loop. Returns: its carry."""
    while steps > 0:
        carry, report = loop.run(carry, loop.max_ticks(), steps)
        steps -= report.actor_steps
    return carry


class Side:
    """A worker, in a process of its own that is held to one core."""

    def __init__(
        self, command: Sequence[str | pathlib.Path], root: pathlib.Path, core: int
    ) -> None:
        """Starts it, and waits until it is ready.

        Args:
            command: of a program that trains in pieces, as `train_in_pieces` does.
            root: of the checkout whose Culmen it imports.
            core: the processor's.
        """
        self._process = subprocess.Popen(
            command,
            cwd=root,
            env={
                **os.environ,
                'PYTHONPATH': str(root),
                'OMP_NUM_THREADS': '1',
                'OPENBLAS_NUM_THREADS': '1',
                'NPROC': '1',
            },
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self._read()  # what it said when it was ready

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f'a worker ended with {self._process.wait()}')
        return json.loads(line)

    def piece(self) -> float:
        """Trains a piece; returns its seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write('\n')
        self._process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


def in_turns(
    workers: Sequence[tuple[Sequence[str | pathlib.Path], pathlib.Path]], rounds: int
) -> tuple[list[Any], np.ndarray]:
    """Workers train pieces in turns on one core, after a warm-up.

    Args:
        workers: the command and the root of each, as for `Side`.
        rounds: pieces of each.
    Returns: (what each said when it was ready, float64[rounds, workers]: seconds of the pieces).
    """
    core = max(os.sched_getaffinity(0))
    sides: list[Side] = []
    with contextlib.ExitStack() as stack:
        for command, root in workers:
            sides.append(Side(command, root, core))
            stack.callback(sides[-1].close)
        for _ in range(WARM_UP):
            for side in sides:
                side.piece()
        seconds = np.zeros((rounds, len(sides)))
        order = range(len(sides))
        for i in range(rounds):
            for j in order if i % 2 else reversed(order):
                seconds[i, j] = sides[j].piece()
    return [side.first for side in sides], seconds


def measure(roots: tuple[pathlib.Path, pathlib.Path], task: str, pairs: int) -> np.ndarray:
    """float64[pairs, 2]: seconds of a piece of the revision and of the working tree."""
    command = [sys.executable, __file__, '--work', task]
    return in_turns([(command, root) for root in roots], pairs)[1]


def describe(task: str, seconds: np.ndarray) -> str:
    """A row of the table."""
    ratios = seconds[:, 0] / seconds[:, 1]
    median = float(np.median(ratios))
    interval = scipy.stats.bootstrap(
        (ratios,), np.median, rng=np.random.default_rng(0), method='percentile'
    ).confidence_interval
    before, after = TASKS[task][2] / np.median(seconds, axis=0)
    held = 'yes' if median >= BAR else 'no'
    return (
        f'| {task} | {before:,.0f} | {after:,.0f} | {median:.3f} | '
        f'{interval.low:.3f} to {interval.high:.3f} | {held} |'
    )


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[pathlib.Path]:
    """A folder that holds a revision."""
    git = ['git', '-C', str(ROOT), 'worktree']
    with tempfile.TemporaryDirectory(prefix='revisions-') as scratch:
        folder = pathlib.Path(scratch) / 'checkout'
        subprocess.run([*git, 'add', '--detach', str(folder), revision], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, 'remove', '--force', str(folder)], check=True)


def main() -> int:
    """Measures, prints, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('revision', nargs='?')
    parser.add_argument('--task', action='append', choices=TASKS, help='default: all')
    parser.add_argument('--pairs', type=int, default=15)
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--work', choices=TASKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        return 0
    if arguments.revision is None:
        parser.error('a revision is needed')
    lines = [
        f'| task | {arguments.revision}, steps/s | working tree, steps/s | median ratio | '
        f'95% interval | at least {BAR} |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    with checkout(arguments.revision) as before:
        for task in arguments.task or TASKS:
            lines.append(describe(task, measure((before, ROOT), task, arguments.pairs)))
            print(lines[-1], file=sys.stderr)
    print('\n'.join(lines))
    if arguments.write:
        command = f'python benchmarks/revisions.py {arguments.revision} --write'
        now = subprocess.run(
            ['git', '-C', str(ROOT), 'rev-parse', '--short', 'HEAD'],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        PAGE.write_text(
            f'# Speed beside an earlier revision\n\n`{command}` at {now}: {arguments.pairs} pairs of '
            f'pieces in turns on one core, each of a run that is compiled and warm.\n\n'
            + '\n'.join(lines)
            + '\n'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
