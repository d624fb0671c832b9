"""Actor steps per second of compiled training on gymnax CartPole: beside rejax and others, and our host.

    python benchmarks/compiled.py --write
    python benchmarks/compiled.py peers host seeds --repeats 5

The peers (rejax, and a loop in PureJaxRL's style) train with the same networks, environments, updates and
steps. Each is a process of its own, they take turns, and the best of the repeats after two warm-ups
counts. rejax has an environment of its own, which the first run makes. Where a runtime of XLA's is faster for
a peer than its default it has that (`RUNTIMES`). `--write` writes docs/results/compiled.md.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from importlib import metadata
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'docs' / 'results'
REJAX = ROOT / '.venv-rejax'
NEEDS = ['rejax==0.1.3', 'gymnax==0.0.9', 'jax==0.4.38', 'jaxlib==0.4.38']
WARM_UPS = 2
# One compiled function as a whole: what Culmen asks of this jaxlib too.
WHOLE = {'XLA_FLAGS': '--xla_cpu_use_thunk_runtime=false'}
RUNTIMES: dict[str, dict[str, str]] = {'pure': WHOLE, 'rejax': WHOLE}

COMMON = {'environment': 'CartPole-v1', 'hidden_sizes': [64, 64], 'discount': 0.99}
DQN = {
    **COMMON, 'agent': 'dqn', 'num_environments': 64, 'steps': 400_000, 'batch_size': 64,
    'learning_rate': 1e-3, 'epsilon': 0.1, 'epsilon_decay_steps': 50_000, 'replay_capacity': 51_200,
    'min_replay_size': 1_024, 'target_update_period': 200,
}  # fmt: skip
PPO = {
    **COMMON, 'agent': 'ppo', 'num_environments': 64, 'steps': 819_200, 'learning_rate': 1e-3,
    'lambda_': 0.95, 'clip_epsilon': 0.2, 'value_cost': 0.5, 'entropy_cost': 0.0,
    'max_gradient_norm': 0.5, 'unroll_length': 128, 'num_epochs': 4, 'num_minibatches': 4,
}  # fmt: skip
PQN = {
    **COMMON, 'agent': 'pqn', 'hidden_sizes': [128, 128], 'num_environments': 32, 'steps': 524_288,
    'learning_rate': 1e-4, 'lambda_': 0.95, 'epsilon_initial': 1.0, 'epsilon': 0.2,
    'epsilon_decay_steps': 100_000, 'max_gradient_norm': 10.0, 'unroll_length': 64, 'num_epochs': 4,
    'num_minibatches': 16, 'reward_scale': 0.1,
}  # fmt: skip
# rejax copies its whole buffer at every step, and would take minutes.
PEERS = {
    'DQN, 64 environments, an update a vector step': (DQN, {'rejax': {'steps': 25_600}}),
    'PPO, 64 environments': (PPO, {}),
}
# Beside the loop of one function alone: rejax's PQN has another optimiser.
PURE = {'PQN, 32 environments': PQN}
HOSTS = {
    'DQN, 64 environments, an update a vector step': (DQN, {'host': {'steps': 102_400}}, 3.0),
    'PPO, 256 environments': (
        {**PPO, 'num_environments': 256, 'steps': 819_200}, {'host': {'steps': 409_600}}, 1.0,
    ),
}  # fmt: skip


class Worker:
    """A process of compiled_worker.py."""

    def __init__(self, name: str, task: dict[str, Any]) -> None:
        python = REJAX / 'bin' / 'python' if name == 'rejax' else sys.executable
        self._process = subprocess.Popen(
            [python, ROOT / 'benchmarks' / 'compiled_worker.py', name, json.dumps(task)],
            env={**os.environ, 'PYTHONPATH': str(ROOT), **RUNTIMES.get(name, {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, line: str) -> dict[str, Any]:
        """Tells it to do something, and waits."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError('a worker ended: call it by hand to see why.')
        told: dict[str, Any] = json.loads(answer)
        return told

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def prepare() -> None:
    """Makes rejax's environment."""
    if not (REJAX / 'bin' / 'python').exists():
        subprocess.run(['uv', 'venv', '-p', sys.executable, REJAX], check=True)
        subprocess.run(['uv', 'pip', 'install', '-p', REJAX, *NEEDS], check=True)


def compare(
    task: dict[str, Any],
    changes: dict[str, Any],
    names: list[str],
    repeats: int,
    with_parts: bool = False,
) -> dict[str, Any]:
    """Asks the workers in turns. Returns: of each rates, steps of a run, updates, seconds to compile."""
    workers = {name: Worker(name, task | changes.get(name, {})) for name in names}
    try:
        seen: dict[str, Any] = {
            name: {'compile': worker.ask('compile')['seconds'], 'rates': []}
            for name, worker in workers.items()
        }
        for repeat in range(WARM_UPS + repeats):
            for name, worker in workers.items():
                told = worker.ask('go')
                seen[name] |= {'steps': told['steps'], 'updates': told['updates']}
                rate = told['steps'] / told['seconds']
                print(f'{task["agent"]}, {name}: {rate:,.0f} steps/s', file=sys.stderr, flush=True)
                if repeat >= WARM_UPS:
                    seen[name]['rates'].append(rate)
        for name, worker in workers.items() if with_parts else ():
            seen[name]['parts'] = worker.ask('parts')
    finally:
        for worker in workers.values():
            worker.close()
    return seen


def table(seen: dict[str, Any]) -> list[str]:
    """Of a comparison."""
    lines = ['| | steps/s, best | all repeats | steps of a run | updates | seconds to compile |']
    lines += ['|---|---|---|---|---|---|']
    for name, found in seen.items():
        repeats = ', '.join(f'{rate:,.0f}' for rate in found['rates'])
        lines.append(
            f'| {name} | {max(found["rates"]):,.0f} | {repeats} | {found["steps"]:,} | '
            f'{found["updates"]:,} | {found["compile"]:.1f} |'
        )
    return lines


def peers(repeats: int) -> list[str]:
    """Beside rejax and the PureJaxRL-style loop."""
    prepare()
    lines = ['## Beside rejax and a PureJaxRL-style loop', '']
    for title, (task, changes) in PEERS.items():
        seen = compare(task, changes, ['culmen', 'pure', 'rejax'], repeats)
        best = {name: max(found['rates']) for name, found in seen.items()}
        ratio = best['culmen'] / max(best['pure'], best['rejax'])
        lines += [f'### {title}', '', *table(seen), '']
        lines += [
            f'culmen has {ratio:.2f} times the steps of the better peer; the bar is 0.95.',
            '',
        ]
    return lines


def pure(repeats: int) -> list[str]:
    """Beside a loop in purejaxql's style."""
    lines = ['## Beside a loop in the style of purejaxql', '']
    for title, task in PURE.items():
        seen = compare(task, {}, ['culmen', 'pure'], repeats)
        ratio = max(seen['culmen']['rates']) / max(seen['pure']['rates'])
        lines += [f'### {title}', '', *table(seen), '']
        lines += [f'culmen has {ratio:.2f} times the steps; the bar is 0.95.', '']
    return lines


def host(repeats: int) -> list[str]:
    """Beside our own batched host loop."""
    lines = ['## Beside the batched host loop', '']
    for title, (task, changes, bar) in HOSTS.items():
        seen = compare(task, changes, ['culmen', 'host'], repeats, with_parts=True)
        ratio = max(seen['culmen']['rates']) / max(seen['host']['rates'])
        lines += [f'### {title}', '', *table(seen), '']
        lines += [
            'Microseconds of a vector step:',
            '',
            '| loop | part | microseconds |',
            '|---|---|---|',
        ]
        for name, found in seen.items():
            lines += [
                f'| {name} | {part} | {value:,.0f} |' for part, value in found['parts'].items()
            ]
        lines.append('')
        lines += [f'The compiled loop has {ratio:.2f} times the steps; the bar is {bar:g}.', '']
    return lines


def seeds(repeats: int) -> list[str]:
    """16 seeds in one command, each way."""
    code = (
        'import sys, time; begin = time.perf_counter()\n'
        'import culmen\nfrom culmen.agents import {agent}\n'
        'from culmen.launchers import compiled, compiled_many\n'
        'experiments = [culmen.Experiment({agent}.{cls}({settings}), "gymnax/CartPole-v1", '
        'max_actor_steps={steps}, num_environments={lanes}, seed=seed) for seed in range(16)]\n'
        'if sys.argv[1] == "turns":\n'
        '    plan = compiled.make_plan(experiments[0])\n'
        '    results = [compiled.run(each, plan=plan, progress=False) for each in experiments]\n'
        'else:\n'
        '    as_one = {{"one": True, "chosen": None}}[sys.argv[1]]\n'
        '    results = compiled_many.run_many(experiments, as_one=as_one, progress=False)\n'
        'assert len(results) == 16\n'
        'print(time.perf_counter() - begin)\n'
    )
    tasks = {
        'DQN, 1 environment, 10,000 steps': ('dqn', 'DQN', '', 10_000, 1),
        'PPO, 4 environments, 100,000 steps': ('ppo', 'PPO', '', 100_000, 4),
    }
    ways = {
        'turns': 'one after another',
        'chosen': 'what --seeds 16 chooses',
        'one': 'side by side in one program',
    }
    lines = [
        '## 16 seeds in one command', '',
        'Seconds of a whole process, compilation and the last evaluations counted.', '',
        f'| | {" | ".join(ways.values())} |', '|---|---|---|---|',
    ]  # fmt: skip
    for title, (agent, cls, settings, steps, lanes) in tasks.items():
        text = code.format(agent=agent, cls=cls, settings=settings, steps=steps, lanes=lanes)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(max(repeats // 5, 1)):
            for way, found in seconds.items():
                done = subprocess.run(
                    [sys.executable, '-c', text, way], env={**os.environ, 'PYTHONPATH': str(ROOT)},
                    stdout=subprocess.PIPE, text=True, check=True,
                )  # fmt: skip
                found.append(float(done.stdout.split()[-1]))
                print(title, way, found[-1], file=sys.stderr, flush=True)
        lines.append(
            f'| {title} | ' + ' | '.join(f'{min(found):.1f}' for found in seconds.values()) + ' |'
        )
    return [*lines, '']


PARTS = {'peers': peers, 'pure': pure, 'host': host, 'seeds': seeds}


def main() -> None:
    """Measures, prints, and writes where it is asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('parts', nargs='*', choices=[[], *PARTS], help='which; none: all')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--write', action='store_true')
    arguments = parser.parse_args()
    names = ('jax', 'jaxlib', 'dm-haiku', 'optax', 'gymnax')
    lines = [
        '# Speed of the compiled loop', '',
        f'`python benchmarks/compiled.py`, {time.strftime("%Y-%m-%d")}, {os.cpu_count()} cores '
        f'({platform.machine()}), Python {platform.python_version()}, '
        + ', '.join(f'{name} {metadata.version(name)}' for name in names)
        + f'; rejax: {", ".join(NEEDS)}. Actor steps a second on gymnax CartPole-v1, best of '
        f'{arguments.repeats} after {WARM_UPS} warm-ups, in turns, on the fast path; '
        '`jax_cpu_enable_async_dispatch` is as JAX has it, since a compiled run sets nothing.', '',
    ]  # fmt: skip
    for name in arguments.parts or PARTS:
        lines += PARTS[name](arguments.repeats)
    print('\n'.join(lines))
    if arguments.write:
        (RESULTS / 'compiled.md').write_text('\n'.join(lines))


if __name__ == '__main__':
    main()
