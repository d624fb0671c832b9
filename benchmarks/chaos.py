"""A program over hosts whose nodes are killed at random, beside the same program in peace: what is lost.

    python benchmarks/chaos.py run                          # DQN and IMPALA, side by side: about 2.5 hours
    python benchmarks/chaos.py run --minutes 25             # about an hour
    python benchmarks/chaos.py run dqn --minutes 10 --hosts 4
    python benchmarks/chaos.py report                       # only writes what has finished

Three passes of one command: warm (compiled programs come into the caches), quiet, and chaos, in which
SIGKILL goes to a random node every `--every` seconds, once all are there. The hosts are network namespaces
of this machine, each with an address, a command and a workdir of its own: two, or as many as `--hosts`. The
first has learner and counter, the second replay and evaluator, and each an actor. A step of Catch takes 20 ms
longer here, so that quiet and chaos take at least `--minutes` each. The memory of each process is written
down every five seconds. All is in runs/chaos. After a stop the same command goes on, and passes that have
finished are not made again. Needs root, and iproute2.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dm_env

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]
RUNS = ROOT / 'runs' / 'chaos'
PASSES = ('warm', 'quiet', 'chaos')
HOSTS = ('big', 'small', 'third', 'fourth')
STEP_SECONDS = 0.02
LOOK_SECONDS = 5.0
NODES = ('counter', 'replay', 'learner', 'evaluator')  # beside an actor of each host
# Settings by agent. Small tables are full soon, and a full one has no reason to grow.
BATCH, SAMPLES_PER_INSERT, WINDOWS, UNROLL = 32, 8.0, 2, 32
AGENTS = {
    'dqn': ['--agent.min_replay_size', 200, '--agent.batch_size', BATCH,
            '--agent.samples_per_insert', SAMPLES_PER_INSERT, '--agent.replay_capacity', 5_000],
    'impala': ['--agent.batch_size', WINDOWS, '--agent.unroll_length', UNROLL],
}  # fmt: skip


class Slow(dm_env.Environment):
    """Steps that take time."""

    def __init__(self, environment: dm_env.Environment) -> None:
        self._environment = environment

    def reset(self) -> dm_env.TimeStep:
        return self._environment.reset()

    def step(self, action: Any) -> dm_env.TimeStep:
        time.sleep(STEP_SECONDS)
        return self._environment.step(action)

    def observation_spec(self) -> Any:
        return self._environment.observation_spec()

    def action_spec(self) -> Any:
        return self._environment.action_spec()


def slow_catch(seed: int) -> Slow:
    """The environment of all passes."""
    from bsuite.environments import catch

    return Slow(catch.Catch(seed=seed))


def arguments(agent: str, folder: Path, host: str, steps: int) -> list[str]:
    """Of `culmen train` on a host. Args: folder: of the pass."""
    given = [
        *(agent, '--environment', 'benchmarks.chaos:slow_catch', *AGENTS[agent]),
        *('--steps', steps, '--evaluate-every', max(steps // 5, 1), '--evaluation-episodes', 20),
        *('--checkpoint-every', min(max(steps // 20, 200), 2_000), '--launcher', 'hosts'),
        *('--hosts', folder / 'hosts.toml', '--host', host, '--trusted-network'),
        *('--restarts', 30, '--hang-after', 120, '--workdir', folder / host),
    ]
    return [str(each) for each in given]


def write_hosts(folder: Path, addresses: Sequence[str]) -> None:
    """Writes the file of hosts of a pass, and a key."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / 'key'
    if not key.exists():
        with open(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), 'w') as file:
            file.write(os.urandom(32).hex() + '\n')
    nodes = ('["learner"]', '["replay", "evaluator"]', '[]', '[]')
    tables = [
        f'[hosts.{name}]\naddress = "{address}"\nnodes = {of_host}\nactors = 1\n'
        for name, address, of_host in zip(HOSTS, addresses, nodes)
    ]
    (folder / 'hosts.toml').write_text(f'key = "{key}"\n' + '\n'.join(tables))


class Pass:
    """One pass of an agent: its two commands, whom it kills, and what it writes down."""

    def __init__(self, agent: str, name: str, hosts: int, every: float) -> None:
        """Args: hosts: how many; every: seconds between kills, in chaos."""
        self.agent = agent
        self.name = name
        self.folder = RUNS / label(agent, hosts) / name
        self._hosts = HOSTS[:hosts]
        self._nodes = (*NODES, *(f'actor-{i}' for i in range(hosts)))
        self._every = every if name == 'chaos' else None
        self._kills = self.folder / 'kills.csv'  # seconds since 1970, node
        self._memory = self.folder / 'memory.csv'  # seconds since 1970, process, its id, MiB
        self._stop = threading.Event()

    def stop(self) -> None:
        """Asks for the end: the run saves, and the same command goes on later."""
        self._stop.set()

    def run(self, steps: int) -> None:
        """Runs it to its end, unless it is there already."""
        from tests.integration.namespaces import namespaces

        done = self.folder / 'result.json'
        if done.exists():
            return
        print(f'{self.agent}, {self.name}: {steps:,} steps', flush=True)
        with namespaces(len(self._hosts)) as hosts:
            write_hosts(self.folder, hosts.addresses)
            processes = [
                hosts.train(
                    i, *arguments(self.agent, self.folder, host, steps), output=self.folder / host
                )
                for i, host in enumerate(self._hosts)
            ]
            self._watch(hosts, processes)
            codes = [process.wait() for process in processes]
        if any(codes):
            said = (self.folder / 'big.err').read_text()[-3_000:]
            raise RuntimeError(
                f'{self.agent}, {self.name} ended with codes {codes}; the same command goes on.\n{said}'
            )
        result = json.loads((self.folder / 'big.out').read_text().splitlines()[-1])
        done.write_text(json.dumps({'result': result, 'lost': self._lost()}, indent=1) + '\n')

    def _watch(self, hosts: Any, processes: Sequence[Any]) -> None:
        """Looks at all processes until the commands have ended; kills a node now and then."""
        kill_at = time.time() + (self._every or 0.0)
        while any(process.poll() is None for process in processes):
            if self._stop.wait(min(LOOK_SECONDS, (self._every or LOOK_SECONDS) / 4)):
                processes[0].send_signal(signal.SIGTERM)
                return
            now = time.time()
            found = dict(name_processes(hosts.left()))
            with open(self._memory, 'a') as file:
                for pid, name in found.items():
                    size = memory(pid)
                    if size is not None:
                        file.write(f'{now:.0f},{name},{pid},{size:.1f}\n')
            nodes = {name: pid for pid, name in found.items() if name in self._nodes}
            begun = (self.folder / 'big' / 'checkpoints').exists()
            whole = begun and len(nodes) == len(self._nodes)  # those killed before are there again
            if self._every is not None and whole and now >= kill_at:
                self._kill(nodes, now)
                kill_at = now + self._every

    def _kill(self, nodes: Mapping[str, int], now: float) -> None:
        kills = len(self._kills.read_text().splitlines()) if self._kills.exists() else 0
        victim = random.Random(f'{self.agent} {kills}').choice(sorted(nodes))
        with contextlib.suppress(ProcessLookupError):
            os.kill(nodes[victim], signal.SIGKILL)
            with open(self._kills, 'a') as file:
                file.write(f'{now:.0f},{victim}\n')

    def _lost(self) -> Mapping[str, int]:
        """What the counter says of lost updates and items."""
        timings = json.loads((self.folder / 'big' / 'logs' / 'nodes.json').read_text())
        found: Mapping[str, int] = timings.get('counter', {}).get('lost', {})
        return {'updates': 0, 'items': 0, **found}


def name_processes(commands: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    """(process id, node or host) of the processes of a program. Args: commands: by process id."""
    for pid, line in commands.items():
        words = line.rstrip('\0').split('\0')
        if words[-1].startswith('--lp_job_name='):
            yield pid, words[-1].partition('=')[2]
        elif '--host' in words:
            yield pid, f'host {words[words.index("--host") + 1]}'


def memory(pid: int) -> float | None:
    """MiB in RAM."""
    try:
        lines = Path(f'/proc/{pid}/status').read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmRSS'))
    except (OSError, StopIteration):
        return None


def label(agent: str, hosts: int) -> str:
    """Names an agent's passes, in the report and in runs/chaos."""
    return agent if hosts == 2 else f'{agent}, {hosts} hosts'


def run_all(agents: Sequence[str], minutes: float, hosts: int, every: float) -> list[str]:
    """Makes the passes of each agent, agents side by side. Returns: what went wrong."""
    steps = int(minutes * 60 * hosts / STEP_SECONDS)
    passes = [[Pass(agent, name, hosts, every) for name in PASSES] for agent in agents]
    errors: list[str] = []

    def run(of_agent: Sequence[Pass]) -> None:
        try:
            for one in of_agent:
                one.run(steps if one.name != 'warm' else max(steps // 20, 1_000))
        except BaseException as error:  # a skip of the tests' helper is none of Exception
            errors.append(str(error))

    threads = [threading.Thread(target=run, args=(of_agent,)) for of_agent in passes]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        for one in (one for of_agent in passes for one in of_agent):
            one.stop()
    for thread in threads:
        thread.join()
    return errors


def main() -> None:
    """Runs the command."""
    import chaos_report

    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('what', choices=['run', 'report'])
    parser.add_argument('agents', nargs='*', help=f'of {", ".join(AGENTS)}; none: all')
    parser.add_argument(
        '--minutes', type=float, default=60.0, help='of quiet and of chaos, at least'
    )
    parser.add_argument('--hosts', type=int, choices=[2, 3, 4], default=2)
    parser.add_argument('--every', type=float, default=60.0, help='seconds between kills')
    options = parser.parse_args()
    for agent in options.agents:
        if agent not in AGENTS:
            parser.error(f'an agent must be one of {list(AGENTS)}, got {agent!r}')
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wrong = []
    if options.what == 'run':
        agents = options.agents or list(AGENTS)
        wrong = run_all(agents, options.minutes, options.hosts, options.every)
    chaos_report.write()
    wrong += chaos_report.check()
    if wrong:
        sys.exit('\n'.join(wrong))


if __name__ == '__main__':
    main()
