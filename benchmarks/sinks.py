"""CPU microseconds of a row in each sink: of the run's own thread, and of the whole process.

    python benchmarks/sinks.py            # prints the table
    python benchmarks/sinks.py --write    # and writes docs/results/sinks.md

A run of DQN on Catch writes a row of the learner every 1,000 steps and one of the actor every 9, which is a
row every 8.9 steps; `speed.md` has the microseconds of a step. Opening and closing a sink is left out.
"""

import argparse
import datetime
import statistics
import tempfile
import time
from pathlib import Path

from dqn_speed import processor
from dqn_speed import versions_of
from dqn_speed import write_page

from culmen.components import loggers

ROW = {
    'actor_steps': 0,
    'learner_steps': 90,
    'episode_return': 1.0,
    'episode_length': 9,
    'steps_per_second': 2000.5,
}
STEPS_A_ROW = 8.9


def measure(sink: loggers.Sink, rows: int) -> tuple[float, float]:
    """Microseconds a row: of this thread, and of the process."""
    sink.write('actor', ROW)
    sink.flush()
    time.sleep(2)  # until a service is open
    thread, process = time.thread_time(), time.process_time()
    for step in range(rows):
        sink.write('actor', {**ROW, 'actor_steps': step})
    thread = time.thread_time() - thread
    sink.close()
    return 1e6 * thread / rows, 1e6 * (time.process_time() - process) / rows


def main() -> None:
    """Measures, prints, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, default=2000)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--write', action='store_true')
    arguments = parser.parse_args()
    lines = [
        '| sink | thread of the run | whole process | thread, a step |',
        '| --- | --- | --- | --- |',
    ]
    for name in ('csv', 'jsonl', 'tensorboard', 'wandb', 'mlflow'):
        taken = []
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory() as folder:
                taken.append(measure(make(name, Path(folder)), arguments.rows))
        thread, process = (statistics.median(each) for each in zip(*taken, strict=True))
        lines.append(f'| {name} | {thread:.1f} | {process:.1f} | {thread / STEPS_A_ROW:.2f} |')
        print(lines[-1], flush=True)
    if arguments.write:
        versions = versions_of(['tensorboardX', 'wandb', 'mlflow-skinny'])
        text = (
            f'# Sinks of logs\n\n`python benchmarks/sinks.py --rows {arguments.rows} --repeats '
            f'{arguments.repeats} --write` on {datetime.date.today()}, {processor()}, '
            + ', '.join(f'{name} {version}' for name, version in versions.items())
            + '.\n\nCPU microseconds of a row of five columns, medians; the last column is for a row every '
            f'{STEPS_A_ROW} steps, as DQN on Catch has them. Services (wandb offline, mlflow in a folder) '
            "take rows in a thread of their own; wandb's own process is not counted.\n\n"
            + '\n'.join(lines)
            + '\n'
        )
        write_page('sinks.md', text)


def make(name: str, folder: Path) -> loggers.Sink:
    """A sink that writes into a folder."""
    if name == 'csv':
        return loggers.Logs(folder)
    if name == 'jsonl':
        return loggers.JsonlLog(folder / 'rows.jsonl')
    if name == 'tensorboard':
        return loggers.TensorBoardLog(folder)
    return (loggers.WandbLog if name == 'wandb' else loggers.MlflowLog)(folder)


if __name__ == '__main__':
    main()
