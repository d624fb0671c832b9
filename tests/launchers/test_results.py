"""Result: its logs, its policy, its figure, and how it reads."""

import pickle
import sys

import numpy as np
import pytest

import culmen
from culmen.components import environments
from culmen.components.loggers import Logs
from culmen.core import SettingTypeError
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import UnexpectedExit
from culmen.launchers.results import refusing
from tests.launchers.faulty import Faulty

SUMMARY = {
    'agent': 'dqn',
    'environment': 'bsuite/catch/0',
    'actor_steps': 20_000,
    'steps_per_second': 8431.25,
    'evaluation': {'episodes': 20, 'return_mean': 0.95, 'return_std': 0.1},
}


def logs(directory=None):
    logs = Logs(directory)
    for step in (10, 20):
        logs.write('evaluator', {'actor_steps': step, 'episode_return': step / 20})
    logs.close()
    return logs


def test_the_logs_are_those_given_or_those_of_the_workdir(tmp_path):
    written = logs(tmp_path / 'logs')
    stored = Result(None, str(tmp_path), SUMMARY)
    assert list(stored.logs) == ['actor', 'evaluator', 'learner']
    assert stored.logs['evaluator']['episode_return'].tolist() == [0.5, 1.0]
    assert Result(None, None, SUMMARY, logs=written).logs is written
    assert dict(Result(None, None, SUMMARY).logs) == {}


def test_the_policy_is_made_with_a_seed():
    result = Result(None, None, SUMMARY, make_policy=lambda seed, lane: ('policy', seed, lane))
    assert (result.policy(), result.policy(seed=3)) == (('policy', 0, 0), ('policy', 3, 0))
    assert result.policy(lane=2) == ('policy', 0, 2)
    with pytest.raises(ValueError, match='no policy'):
        Result(None, None, SUMMARY).policy()


def test_it_reads_as_a_list_of_its_numbers():
    text = repr(Result(None, None, SUMMARY, interrupted=True))
    assert text.splitlines() == [
        'Result',
        '  agent: dqn',
        '  environment: bsuite/catch/0',
        '  actor_steps: 20,000',
        '  steps_per_second: 8,431',
        '  evaluation: episodes 20, return_mean 0.95, return_std 0.1',
        '  interrupted: the same call with its workdir goes on',
    ]


def test_the_figure_shows_itself_and_is_written(tmp_path):
    result = Result(None, None, SUMMARY, logs=logs())
    figure = result.plot(tmp_path / 'curve.png')
    assert (tmp_path / 'curve.png').read_bytes()[:8] == b'\x89PNG\r\n\x1a\n'
    assert figure._repr_png_()[:8] == b'\x89PNG\r\n\x1a\n'
    line = figure.axes[0].lines[0]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([10, 20], [0.5, 1.0])


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (ValueError('a'), 'a'),
        (SettingTypeError('of another type'), 'of another type'),
        (FileNotFoundError(2, 'no file', 'a.json'), "[Errno 2] no file: 'a.json'"),
        (ImportError(''), 'ImportError'),
    ],
)
def test_wrong_settings_are_a_refusal(error, message):
    with pytest.raises(Refused) as caught, refusing():
        raise error
    assert str(caught.value) == message
    assert caught.value.__cause__ is error


def test_a_refusal_stays_the_one_it_is():
    refusal = Refused('once')
    with pytest.raises(Refused) as caught, refusing(), refusing():
        raise refusal
    assert caught.value is refusal


@pytest.mark.parametrize('error', [ZeroDivisionError, TypeError, AttributeError, KeyError])
def test_what_is_no_setting_passes_through(error):
    with pytest.raises(error), refusing():
        raise error


@pytest.mark.parametrize('code', [0, None, 3, 'the end'])
def test_an_exit_is_a_failure(code):
    with pytest.raises(
        UnexpectedExit, match=rf'^sys.exit\({code!r}\) was called .* in test_an_exit'
    ):
        with refusing():
            sys.exit(code)


def policy_of(result, timestep):
    return np.asarray(result.policy(seed=1)(timestep)).tolist()


def test_a_result_is_pickled_with_its_logs_and_its_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = culmen.Experiment(
        Faulty(), 'jax/catch', max_actor_steps=120, evaluation=culmen.Evaluation(episodes=2)
    )
    written = culmen.run(experiment, 'run', progress=False)
    again = culmen.run(experiment, 'run', progress=False)  # the stored one
    timestep = environments.make('jax/catch', 3).reset()
    for result in (culmen.run(experiment, progress=False), written, again):
        pickled = pickle.dumps(result)
        monkeypatch.chdir('/')  # as another process may stand elsewhere
        copy = pickle.loads(pickled)
        assert (copy.summary, copy.experiment) == (result.summary, experiment)
        assert repr(copy) == repr(result)
        monkeypatch.chdir(tmp_path)
        assert set(copy.logs) == {'actor', 'learner', 'evaluator'}
        for label, frame in result.logs.items():
            assert copy.logs[label].equals(frame)
        assert policy_of(copy, timestep) == policy_of(result, timestep)
        np.testing.assert_array_equal(copy.params, result.params)
