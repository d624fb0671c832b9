"""The offline launcher: what it refuses, what it counts, what it leaves behind."""

import json

import numpy as np
import pytest

import culmen
from culmen.agents import bc
from culmen.agents import dqn
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import Dataset
from culmen.core import Parts
from culmen.core import Stream
from culmen.core import TimeStep
from culmen.core import Window
from culmen.launchers import local
from culmen.launchers import offline
from culmen.launchers import plots

pytestmark = pytest.mark.slow


def pushes():
    """One episode of Catch after another in which the paddle is moved left at every step."""
    rows = 200
    step_type = np.full(rows, MID, np.int32)
    step_type[::10], step_type[9::10] = FIRST, LAST
    board = np.random.default_rng(0).random((rows, 10, 5)).astype(np.float32)
    timestep = TimeStep(step_type, np.zeros(rows), np.ones(rows), board)
    yield Stream(timestep, np.zeros(rows, np.int32), (), np.zeros(rows, np.int32))


SMALL = {'hidden_sizes': (8,), 'batch_size': 16}


def experiment(updates=40, **changes):
    settings = {
        'agent': bc.BC(pushes, **SMALL),
        'environment': 'bsuite/catch/0',
        'max_learner_steps': updates,
        'evaluation': culmen.Evaluation(every=15, episodes=2),
        'checkpoint': culmen.Checkpoint(every=12),
    }
    return culmen.Experiment(**{**settings, **changes})


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'max_actor_steps': 10}, 'max_actor_steps is for launchers with actors; .* got 10'),
        ({'num_environments': 2}, 'num_environments is for launchers with actors; .* left at 1'),
        ({'lag': 0}, 'lag is for launchers with actors'),
        ({'agent': dqn.DQN()}, 'experience must be of Datasets alone offline'),
        ({'agent': bc.BC('nowhere')}, 'nowhere holds no recording'),
        ({'environment': 'gymnasium/CartPole-v1'}, r'observation must be float32\[4\], .*\[10, 5\]'),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else '',
)  # fmt: skip
def test_what_can_not_be_run_offline_is_refused_and_leaves_nothing(tmp_path, changes, words):
    with pytest.raises(culmen.launchers.results.Refused, match=words):
        offline.run(experiment(**changes), tmp_path / 'run', progress=False)
    assert not (tmp_path / 'run').exists()


def test_datasets_alone_are_refused_by_a_launcher_with_actors(tmp_path):
    with pytest.raises(ValueError, match='the offline launcher trains on it'):
        local.run(experiment(), tmp_path / 'run', progress=False)
    assert not (tmp_path / 'run').exists()


def test_events_are_counted_in_learner_steps(tmp_path):
    result = offline.run(experiment(), tmp_path, progress=False)
    assert result.summary['actor_steps'] == result.summary['episodes'] == 0
    assert result.summary['learner_steps'] == 40
    assert result.summary['steps_per_second'] > 0
    assert result.logs['evaluator']['learner_steps'].tolist() == [15, 30, 40]
    assert result.logs['learner']['learner_steps'].tolist() == [40]
    assert not len(result.logs['actor'])
    checkpoints = sorted(path.name for path in (tmp_path / 'checkpoints').glob('0*'))
    assert [int(name) for name in checkpoints] == [36, 40]
    config = json.loads((tmp_path / 'config.json').read_text())
    assert config['launcher'] == 'offline'
    steps, _ = plots.evaluation_series(result.logs)
    assert steps.tolist() == [15, 30, 40]
    figure = result.plot()
    assert figure.axes[0].get_xlabel() == 'learner steps'


def test_a_finished_run_trains_nothing_and_more_updates_continue_it(tmp_path):
    first = offline.run(experiment(), tmp_path, progress=False)
    again = offline.run(experiment(), tmp_path, progress=False)
    assert {**again.summary, 'resumed_at': 0} == first.summary
    assert again.summary['resumed_at'] == 40
    longer = offline.run(experiment(60), tmp_path, progress=False)
    assert longer.summary['resumed_at'] == 40
    whole = offline.run(experiment(60), progress=False)
    np.testing.assert_array_equal(
        longer.params['value_head/linear']['w'], whole.params['value_head/linear']['w']
    )


def test_updates_of_a_call_give_the_same_bits():
    one, other = (
        offline.run(experiment(updates_per_call=calls), progress=False) for calls in (1, 7)
    )
    assert other.summary['learner_steps'] == 40  # five calls of seven, then one by one
    for a, b in zip(one.params.values(), other.params.values(), strict=True):
        np.testing.assert_allclose(a['w'], b['w'], rtol=1e-5, atol=1e-7)


def test_what_was_learned_offline_is_loaded_like_any_other(tmp_path):
    result = offline.run(experiment(300), tmp_path, progress=False)
    loaded = culmen.load(tmp_path, agent=bc.BC(pushes, **SMALL))
    environment = culmen.components.environments.make('bsuite/catch/0', 0)
    assert loaded.policy()(environment.reset()) == result.policy()(environment.reset()) == 0
    assert loaded.summary['learner_steps'] == loaded.summary['resumed_at'] == 300


def test_a_return_that_was_asked_for_ends_the_run():
    result = offline.run(experiment(), progress=False, until_return=-1.0)
    assert result.summary['learner_steps'] == 15


class TwoSources:
    """Two Datasets of one agent, of which the second has the larger batch."""

    def __init__(self):
        self.bc = bc.BC(pushes, **SMALL)

    def build(self, spec):
        parts = self.bc.build(spec)
        window = Window(length=2)
        tables = {'one': Dataset(window, pushes, 4), 'other': Dataset(window, pushes, 8)}

        def update(state, samples, context):
            assert samples['one'].steps.mask.shape == (4, 2)
            return (*parts.learner.update(state, samples['other'], context)[:2], None)

        learner = parts.learner._replace(update=update)
        return Parts(parts.actor, parts.evaluator, learner, tables)


def test_several_datasets_are_drawn_together():
    result = offline.run(experiment(agent=TwoSources()), progress=False)
    assert result.summary['learner_steps'] == 40
