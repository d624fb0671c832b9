"""`replay='reverb'`: a run in one process with its tables in a Reverb server."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest

import culmen
from culmen.agents import dqn
from culmen.launchers.results import Refused
from tests.components.replay.registry import has_reverb
from tests.integration import runs

pytest.importorskip('bsuite')

needs_reverb = [
    pytest.mark.launchpad,
    pytest.mark.skipif(not has_reverb(), reason='Reverb is not installed'),
]


def experiment(**changes):
    return runs.experiment('bsuite/catch/0', **changes)


@pytest.mark.slow
class TestRuns:
    """Real servers."""

    pytestmark = needs_reverb

    def test_the_same_steps_and_updates_as_in_process(self, tmp_path):
        results = {
            replay: culmen.run(experiment(), tmp_path / replay, replay=replay, progress=False)
            for replay in ('in_process', 'reverb')
        }
        for name in ('actor_steps', 'learner_steps'):
            first, second = (result.summary[name] for result in results.values())
            assert first == second > 0, name
        # The rate holds at every row, not at the end alone.
        rows = [
            result.logs['learner'][['actor_steps', 'learner_steps']] for result in results.values()
        ]
        np.testing.assert_array_equal(*rows)
        config = json.loads((tmp_path / 'reverb' / 'config.json').read_text())
        assert config['replay'] == 'reverb'

    def test_a_resumed_run_has_its_items_and_goes_on_at_the_rate(self, tmp_path):
        unbroken = culmen.run(experiment(), progress=False, replay='reverb')
        workdir = tmp_path / 'resumed'
        culmen.run(experiment(steps=300), workdir, progress=False, replay='reverb')
        resumed = culmen.run(experiment(steps=600), workdir, progress=False, replay='reverb')
        assert resumed.summary['resumed_at'] == 300
        for name in ('actor_steps', 'learner_steps'):
            assert resumed.summary[name] == unbroken.summary[name]

    def test_the_line_at_the_start_names_the_port_that_is_open(self, tmp_path, capfd):
        class Knock:
            """Knocks at the port that standard error has named, while the run goes on."""

            port = None

            def observe(self, timestep, action):
                if self.port is None:
                    line = capfd.readouterr().err.split('listens on port ')[1]
                    assert 'read, alter and empty the tables, but run no code' in line
                    self.port = int(line.split()[0])
                    socket.create_connection(('localhost', self.port), timeout=1).close()

            def get_metrics(self, lane):
                return {}

        for steps in (100, 200):  # A resumed run listens anew.
            knock = Knock()
            culmen.run(
                experiment(steps=steps), tmp_path / 'run',
                progress=False, replay='reverb', observers=[knock],
            )  # fmt: skip
            assert knock.port is not None

    def test_another_kind_of_table_does_not_resume_it(self, tmp_path):
        culmen.run(experiment(steps=200), tmp_path / 'run', progress=False, replay='reverb')
        with pytest.raises(Refused, match='another experiment: replay differ'):
            culmen.run(experiment(), tmp_path / 'run', progress=False)

    @pytest.mark.parametrize('prioritised', [False, True])
    def test_a_damaged_server_file_loses_the_items_alone(self, tmp_path, prioritised):
        workdir = tmp_path / 'run'
        agent = dqn.DQN(**{**runs.SMALL, 'priority_exponent': 0.6 if prioritised else 0.0})
        first = culmen.run(
            experiment(steps=300, agent=agent), workdir, progress=False, replay='reverb'
        )
        newest = sorted((workdir / 'checkpoints').glob('0*'))[-1]
        file = newest / 'table' / 'items.tfrecord'
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.warns(UserWarning, match='items.tfrecord is not .* 2[0-9][0-9] items of the'):
            result = culmen.run(
                experiment(steps=600, agent=agent), workdir, progress=False, replay='reverb'
            )
        assert result.summary['resumed_at'] == 300
        assert result.summary['actor_steps'] == 600
        # The tables fill as at the beginning, and the learner goes on.
        assert result.summary['learner_steps'] > first.summary['learner_steps'] + 200

    def test_a_damaged_server_file_is_passed_over_where_that_is_asked_for(self, tmp_path):
        workdir = tmp_path / 'run'
        culmen.run(experiment(steps=300), workdir, progress=False, replay='reverb')
        newest = sorted((workdir / 'checkpoints').glob('0*'))[-1]
        file = newest / 'table' / 'items.tfrecord'
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.warns(UserWarning, match='items.tfrecord is not what was written'):
            result = culmen.run(
                experiment(steps=600), workdir, progress=False, replay='reverb',
                on_lost_rows='refuse',
            )  # fmt: skip
        assert 0 < result.summary['resumed_at'] < 300
        assert result.summary['actor_steps'] == 600

    def test_five_runs_in_one_process_leave_no_thread_and_no_port(self, tmp_path):
        counts, ports, answering = runs.five_runs(tmp_path, 'reverb')
        assert len(counts) == 5
        assert all(each == counts[0] for each in counts), counts
        assert len(ports) == 6
        assert not answering

    def test_the_command_line_trains_with_it(self, tmp_path):
        command = [sys.executable, '-m', 'culmen', 'train', 'dqn', '--replay', 'reverb', '--json']
        command += [
            '--environment',
            'bsuite/catch/0',
            '--steps',
            '300',
            '--evaluation-episodes',
            '1',
        ]
        done = subprocess.run(
            [*command, '--workdir', str(tmp_path / 'run')],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])['actor_steps'] == 300
        assert len(done.stdout.splitlines()) == 1


def test_without_reverb_it_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split('.')[0] == 'reverb']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'reverb', None)
    built = []
    of_none = culmen.Experiment(dqn.DQN(), environment=built.append, max_actor_steps=10)
    with pytest.raises(Refused, match=r"needs the package dm-reverb.*pip install 'culmen\[launch"):
        culmen.run(of_none, tmp_path / 'run', progress=False, replay='reverb')
    assert not built
    assert not (tmp_path / 'run').exists()
