"""A run is recorded, and what it did is cloned: from actors to files to a policy, through kills."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import culmen
from culmen.agents import bc
from culmen.agents import dqn
from culmen.components.replay.recording.files import shards
from culmen.launchers import offline
from tests.integration import runs
from tests.integration.runs import Signaller

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def rows(folder):
    """All rows of a recording: arrays by (lane, path)."""
    found = {}
    for lane in sorted(Path(folder).glob('lane-*')):
        files = [np.load(shard.path) for shard in shards(lane)]
        for path in files[0]:
            found[lane.name, path] = np.concatenate([file[path] for file in files])
        for file in files:
            file.close()
    return found


def assert_same_rows(a, b):
    a, b = rows(a), rows(b)
    assert sorted(a) == sorted(b)
    assert a
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=str(key))


def start(arguments):
    return subprocess.Popen(
        [sys.executable, '-m', 'culmen', 'train', *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_recording_changes_nothing_and_holds_the_stream(tmp_path):
    experiment = runs.experiment('bsuite/catch/0', 300, num_environments=2)
    plain = culmen.run(experiment, progress=False)
    result = culmen.run(experiment, progress=False, record=tmp_path / 'recording')
    runs.assert_same(plain, result)
    found = rows(tmp_path / 'recording')
    for lane in ('lane-0000', 'lane-0001'):
        step_type = found[lane, 'step_type']
        assert (step_type != 0).sum() == 150
        np.testing.assert_array_equal(step_type[:20], [0, *[1] * 8, 2] * 2)
        assert found[lane, 'observation'].shape == (len(step_type), 10, 5)
        assert len(np.unique(found[lane, 'action'])) == 3
        assert found[lane, 'version'][-2] > found[lane, 'version'][0] == 0
    returns = np.concatenate([found[lane, 'reward'] for lane in ('lane-0000', 'lane-0001')])
    assert returns.sum() == result.logs['actor']['episode_return'].sum()


@pytest.mark.slow
def test_a_recording_goes_on_with_its_run_after_a_stop_and_a_kill(tmp_path):
    experiment = runs.experiment('bsuite/catch/0', 600)
    culmen.run(experiment, tmp_path / 'a', progress=False, record=tmp_path / 'recorded-a')
    stopped = culmen.run(
        experiment, tmp_path / 'b', progress=False, record=tmp_path / 'recorded-b',
        observers=[Signaller(97)],
    )  # fmt: skip
    assert stopped.interrupted
    before = len(list((tmp_path / 'b' / 'checkpoints').glob('0*')))
    assert before == 1
    process = runs.start(experiment, tmp_path / 'b', tmp_path / 'recorded-b')
    runs.kill_after_checkpoints(process, tmp_path / 'b', before + 1)
    culmen.run(experiment, tmp_path / 'b', progress=False, record=tmp_path / 'recorded-b')
    assert_same_rows(tmp_path / 'recorded-a', tmp_path / 'recorded-b')


def test_a_run_that_was_begun_without_a_recording_is_refused(tmp_path):
    experiment = runs.experiment('bsuite/catch/0', 100)
    culmen.run(experiment, tmp_path / 'a', progress=False)
    longer = runs.experiment('bsuite/catch/0', 100, max_actor_steps=120)
    with pytest.raises(culmen.launchers.results.Refused, match='begun without a recording'):
        culmen.run(longer, tmp_path / 'a', progress=False, record=tmp_path / 'recorded')
    assert not (tmp_path / 'recorded').exists()
    culmen.run(experiment, tmp_path / 'c', progress=False, record=tmp_path / 'taken')
    with pytest.raises(culmen.launchers.results.Refused, match='the recording of another run'):
        culmen.run(experiment, tmp_path / 'd', progress=False, record=tmp_path / 'taken')
    assert not (tmp_path / 'd').exists()


@pytest.fixture(scope='module')
def solved(tmp_path_factory):
    """A recording of 20 episodes of a DQN that has solved Catch, by its evaluator's policy."""
    folder = tmp_path_factory.mktemp('solved')
    agent = dqn.DQN(hidden_sizes=(32,), epsilon=0.0, epsilon_decay_steps=2_000)
    trained = culmen.run(
        culmen.Experiment(agent, 'bsuite/catch/0', seed=1, max_actor_steps=8_000), progress=False
    )
    assert trained.summary['evaluation']['return_mean'] == 1.0
    play = culmen.Experiment(
        Playing(agent, trained.params), 'bsuite/catch/0', seed=7, max_actor_steps=20 * 9
    )
    culmen.run(play, progress=False, record=folder / 'recording')
    return str(folder / 'recording')


class Playing:
    """Acts with given parameters; its learner learns nothing."""

    def __init__(self, agent, params):
        self._agent, self._params = agent, params

    def build(self, spec):
        parts = self._agent.build(spec)
        learner = parts.learner._replace(
            init=lambda key: self._params, variables=lambda state: state,
            update=lambda state, sample, context: (state, {'loss': 0.0}, None),
        )  # fmt: skip
        return parts._replace(actor=parts.evaluator, learner=learner)


@pytest.mark.learning
def test_twenty_episodes_of_a_solved_catch_are_cloned(solved):
    episodes = rows(solved)['lane-0000', 'step_type']
    assert (episodes == 2).sum() == 20
    experiment = culmen.Experiment(
        bc.BC(solved), 'bsuite/catch/0', max_learner_steps=1_000,
        evaluation=culmen.Evaluation(episodes=100),
    )  # fmt: skip
    result = offline.run(experiment, progress=False)
    assert result.summary['evaluation']['return_mean'] >= 0.95


@pytest.mark.slow
def test_an_offline_run_that_was_killed_goes_on_to_the_bit(tmp_path):
    source = tmp_path / 'recording'
    culmen.run(runs.experiment('bsuite/catch/0', 300), progress=False, record=source)
    settings = {
        'agent': bc.BC(str(source), hidden_sizes=(16,), max_gradient_norm=1.0),
        'environment': 'bsuite/catch/0',
        'max_learner_steps': 3_000,
        'evaluation': culmen.Evaluation(every=700, episodes=3),
        'checkpoint': culmen.Checkpoint(every=500),
        'seed': 5,
    }
    experiment = culmen.Experiment(**settings)
    unbroken = offline.run(experiment, tmp_path / 'a', progress=False)
    process = start(['--config', tmp_path / 'a' / 'config.json', '--workdir', tmp_path / 'b'])
    runs.kill_after_checkpoints(process, tmp_path / 'b')
    resumed = offline.run(experiment, tmp_path / 'b', progress=False)
    assert 0 < resumed.summary['resumed_at'] < 3_000
    for key in ('learner_steps', 'evaluation'):
        assert resumed.summary[key] == unbroken.summary[key]
    logs = [runs.numbers(each)[0] for each in (resumed, unbroken)]
    for label in ('evaluator', 'learner'):
        assert logs[0][label].equals(logs[1][label])
    leaves = map(jax.tree_util.tree_leaves, (unbroken.params, resumed.params))
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_array_equal(a, b)
