"""How a program grows: actor steps a second, calls and bytes of each node, and which limit comes first.

    python benchmarks/scaling.py run             # 1, 2, 4, 8 actors, 20 ms a step; goes on where it stopped
    python benchmarks/scaling.py run --actors 1 8 --milliseconds 5
    python benchmarks/scaling.py run --launcher ray     # the same; report --launcher ray: scaling_ray.md
    unshare -n sh -c 'ip link set lo up; exec python benchmarks/scaling.py run'     # with bytes of the replay
    python benchmarks/scaling.py report          # writes docs/results/scaling.md from what has finished

The environment is Catch that sleeps in each step, as a simulator on another machine would; DQN makes an
update of 32 every 16 steps. All nodes are processes of this machine (`taskset` before the command says of
which cores). Steps a second are the sum over actors of an actor's steps by the seconds it acted. CPU
milliseconds a step are those of the nodes' processes while all actors act, by the steps in that time.
Bytes of the replay are those of the loopback, which carries Reverb alone where the program has a network
namespace of its own (unshare); under Ray they are counted by its callers, as those of any node. Calls go over
Unix sockets. What 10, 100 and 1,000 actors would need is
computed from the largest run: CPU, calls and bytes a step as measured there, beside one core, the calls a
second that a busy node answers (docs/results/calls.md), and a network of a gigabit.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dm_env

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'runs' / 'scaling'
PAGE = ROOT / 'docs' / 'results' / 'scaling.md'
SECONDS = 25.0  # of stepping
ANSWERED = 7_000  # calls a second of a busy node with 8 callers (docs/results/calls.md)
NETWORK = 125e6  # bytes a second
SERVED = ('counter', 'learner')
CORES = len(os.sched_getaffinity(0))
STEPS, LOOPBACK = '(steps)', '(loopback)'  # beside the CPU seconds of nodes


class Sleeping(dm_env.Environment):  # type: ignore[misc]
    """An environment whose steps take longer."""

    def __init__(self, environment: dm_env.Environment, seconds: float) -> None:
        """Args: environment: steps; seconds: that a step takes longer."""
        self._environment = environment
        self._seconds = seconds

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode."""
        return self._environment.reset()

    def step(self, action: Any) -> dm_env.TimeStep:
        """Sleeps and steps."""
        time.sleep(self._seconds)
        return self._environment.step(action)

    def observation_spec(self) -> Any:
        """As of the environment."""
        return self._environment.observation_spec()

    def action_spec(self) -> Any:
        """As of the environment."""
        return self._environment.action_spec()


def catch_20(seed: int) -> dm_env.Environment:
    """Catch whose steps take 20 ms."""
    return _catch(seed, 0.02)


def catch_5(seed: int) -> dm_env.Environment:
    """Catch whose steps take 5 ms."""
    return _catch(seed, 0.005)


def _catch(seed: int, seconds: float) -> dm_env.Environment:
    from culmen.components import environments

    return Sleeping(environments.make('bsuite/catch/0', seed=seed), seconds)


def run(actors: int, milliseconds: int, launcher: str) -> None:
    """Runs one program, and writes what it took beside its workdir."""
    folder = _folder(launcher) / f'{milliseconds}ms-{actors}'
    found = folder.with_suffix('.json')
    if found.exists():
        return
    total = int(actors * SECONDS / (milliseconds / 1_000))
    command = [
        *(sys.executable, '-m', 'culmen', 'train', 'dqn', '--steps', str(total), '--json'),
        *('--environment', f'scaling:catch_{milliseconds}', '--workdir', str(folder)),
        *('--launcher', launcher, '--actors', str(actors), '--evaluation-episodes', '1'),
        *('--agent.batch_size', '32', '--agent.samples_per_insert', '2'),
        *('--agent.min_replay_size', '200', '--checkpoint-every', '1000000'),
    ]
    path = f'{ROOT / "benchmarks"}{os.pathsep}{ROOT}'
    process = subprocess.Popen(
        command, env={**os.environ, 'PYTHONPATH': path}, stdout=subprocess.PIPE, text=True
    )
    # CPU seconds by node, steps and bytes of the loopback: when all acted first, and last.
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    while process.poll() is None:
        steps = [_steps(folder, actor) for actor in range(actors)]
        seconds = _cpu_seconds(folder)
        if all(steps) and len(seconds) == actors + 4:  # as long as no node has ended
            last = {**seconds, STEPS: float(max(steps)), LOOPBACK: _loopback_bytes()}
            first = first or last
        time.sleep(0.2)
    assert process.stdout is not None
    if process.returncode:
        sys.exit(f'{" ".join(command)} ended with code {process.returncode}.')
    result = json.loads(process.stdout.read())
    nodes = json.loads((folder / 'logs' / 'nodes.json').read_text())
    cpu = {name: value - first[name] for name, value in last.items()}
    found.write_text(
        json.dumps({'result': result, 'nodes': nodes, 'cpu': cpu, 'cores': CORES}, indent=1)
    )


def _steps(folder: Path, actor: int) -> int:
    """The steps of all actors when this one last ended an episode; 0: none yet."""
    log = folder / 'logs' / f'actor-{actor}.csv'
    rows = log.read_text().splitlines() if log.exists() else []
    return int(rows[-2].partition(',')[0]) if len(rows) > 10 else 0


def _folder(launcher: str) -> Path:
    return FOLDER if launcher == 'processes' else FOLDER / launcher


def _cpu_seconds(folder: Path) -> dict[str, float]:
    """Of each node that runs, by its name, whichever engine has started it."""
    found, ticks = {}, os.sysconf('SC_CLK_TCK')
    path = folder / 'status.json'
    for node in json.loads(path.read_text())['nodes'] if path.exists() else []:
        if node['state'] != 'running' or node['pid'] is None:
            continue
        try:
            status = Path(f'/proc/{node["pid"]}/stat').read_text().rpartition(')')[2].split()
        except OSError:
            continue
        found[node['name']] = (int(status[11]) + int(status[12])) / ticks
    return found


def _loopback_bytes() -> float:
    for line in Path('/proc/net/dev').read_text().splitlines():
        name, _, numbers = line.partition(':')
        if name.strip() == 'lo':
            return float(numbers.split()[0])
    return 0.0


def read(milliseconds: int, launcher: str = 'processes') -> dict[int, dict[str, Any]]:
    """What has finished, by the number of actors."""
    paths = _folder(launcher).glob(f'{milliseconds}ms-*.json')
    found = {int(path.stem.partition('-')[2]): json.loads(path.read_text()) for path in paths}
    return dict(sorted(found.items()))


def measure(run: dict[str, Any]) -> dict[str, float]:
    """Steps a second, and calls, bytes and CPU seconds a step."""
    actors = {name: each for name, each in run['nodes'].items() if name.startswith('actor-')}
    steps = sum(each['actor_steps'] for each in actors.values())
    found = {
        'rate': sum(each['actor_steps'] / each['seconds'] for each in actors.values()),
        'updates': run['result']['learner_steps'] / steps,
    }
    for served in SERVED:
        for kind in ('calls', 'bytes'):
            total = sum(each['traffic'][served][kind] for each in actors.values())
            found[f'{kind} {served}'] = total / steps
    for name in ('actor', 'counter', 'learner', 'replay'):
        seconds = sum(value for label, value in run['cpu'].items() if label.startswith(name))
        found[f'cpu {name}'] = 1_000 * seconds / run['cpu'][STEPS]
    found['bytes replay'] = run['cpu'][LOOPBACK] / run['cpu'][STEPS]
    if run['result']['launcher'] == 'ray':  # whose replay is called like any node
        callers = [*actors.values(), run['nodes']['learner']]
        found['bytes replay'] = sum(each['traffic']['replay']['bytes'] for each in callers) / steps
    return found


def grow(found: dict[str, float], rate: float, actors: int) -> dict[str, tuple[str, float]]:
    """What so many actors would need: in words, and as a share of what there is.

    Args: rate: steps a second of each.
    """
    steps = rate * actors
    needs = {}
    for name in ('learner', 'counter', 'replay'):
        cores = steps * found[f'cpu {name}'] / 1_000
        needs[f'{name}: cores'] = (f'{cores:.2f}', cores)
        if name in SERVED:
            calls = steps * found[f'calls {name}']
            needs[f'{name}: calls/s'] = (f'{calls:,.0f}', calls / ANSWERED)
        sent = steps * found[f'bytes {name}']
        needs[f'{name}: MB/s'] = (f'{sent / 1e6:.2f}', sent / NETWORK)
    return needs


def report(launcher: str) -> None:
    """Writes the page of a launcher."""
    is_ray = launcher == 'ray'
    page = PAGE.with_name('scaling_ray.md') if is_ray else PAGE
    title = 'How a program grows under Ray' if is_ray else 'How a program grows'
    lines = [f'# {title}', '', *_describe(launcher), '']
    for milliseconds in (20, 5):
        runs = {actors: measure(each) for actors, each in read(milliseconds, launcher).items()}
        if not runs:
            continue
        most = runs[max(runs)]
        busy = most['rate'] * sum(most[name] for name in most if name.startswith('cpu ')) / 1_000
        lines += [f'## Steps of {milliseconds} ms', '', *_table(runs), '']
        lines += [f'With {max(runs)} actors the nodes take {busy:.2f} cores.', '']
        rate = 1_000 / milliseconds
        lines += [*_growth(runs[max(runs)], rate), '']
    page.write_text('\n'.join(lines).rstrip() + '\n')
    print(f'written: {page.relative_to(ROOT)}')


def _describe(launcher: str) -> list[str]:
    runs = [read(milliseconds, launcher) for milliseconds in (20, 5)]
    found = [each['cores'] for of_one in runs for each in of_one.values()]
    cores = ' or '.join(map(str, sorted(set(found))))
    text = (__doc__ or '').partition('\n\nThe environment is ')[2]
    option = ' --launcher ray' if launcher == 'ray' else ''
    return [
        f'`python benchmarks/scaling.py run{option}` on {cores} core(s), which other work shared. Python '
        f'{platform.python_version()}.',
        '',
        'The environment is ' + ' '.join(text.split()),
    ]


def _table(runs: dict[int, dict[str, float]]) -> list[str]:
    one = runs[min(runs)]['rate'] / min(runs)
    heads = [
        *('actors', 'steps/s', 'times one', 'calls a step: counter', 'learner'),
        *(
            'bytes a step: counter',
            'learner',
            'CPU ms a step: actors',
            'counter',
            'learner',
            'replay',
        ),
    ]
    rows = ['| ' + ' | '.join(heads) + ' |', '|' + ' --- |' * len(heads)]
    for actors, each in runs.items():
        values = [
            *(f'{actors}', f'{each["rate"]:.1f}', f'{each["rate"] / one:.2f}'),
            *(f'{each[f"calls {name}"]:.3f}' for name in SERVED),
            *(f'{each[f"bytes {name}"]:.0f}' for name in (*SERVED, 'replay')),
            *(f'{each[f"cpu {name}"]:.2f}' for name in ('actor', 'counter', 'learner', 'replay')),
        ]
        rows.append('| ' + ' | '.join(values) + ' |')
    return rows


def _growth(found: dict[str, float], rate: float) -> list[str]:
    grown = {actors: grow(found, rate, actors) for actors in (10, 100, 1_000)}
    shares = {name: share for name, (_, share) in grown[10].items()}
    order = sorted(shares, key=lambda name: -shares[name])
    rows = ['| actors | steps/s | ' + ' | '.join(shares) + ' |', '|' + ' --- |' * (2 + len(shares))]
    for actors, needs in grown.items():
        texts = [text for text, _ in needs.values()]
        rows.append(f'| {actors:,} | {rate * actors:,.0f} | ' + ' | '.join(texts) + ' |')
    limits = [f'{name} at about {10 / shares[name]:,.0f} actors' for name in order[:4]]
    return [
        *rows,
        '',
        f'With one core a node, {ANSWERED:,} calls a second and {NETWORK / 1e6:.0f} MB a second the limits '
        f'come in this order: {"; ".join(limits)}. (A learner that waits looks at its tables again and '
        'again, which is part of its CPU here; one that is busy does not.)',
    ]


def main() -> None:
    """Reads the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('what', choices=['run', 'report'])
    parser.add_argument('--actors', type=int, nargs='+', default=[1, 2, 4, 8])
    parser.add_argument('--launcher', choices=['processes', 'ray'], default='processes')
    parser.add_argument('--milliseconds', type=int, choices=[20, 5], default=20)
    options = parser.parse_args()
    if options.what == 'run':
        _folder(options.launcher).mkdir(parents=True, exist_ok=True)
        for actors in options.actors:
            run(actors, options.milliseconds, options.launcher)
    report(options.launcher)


if __name__ == '__main__':
    main()
