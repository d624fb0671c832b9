"""Programs from Python: what `make_program` refuses, what `launch` returns, and who waits for whom."""

import dataclasses
import threading

import pytest

import culmen
from culmen.agents import dqn
from culmen.agents import wrappers
from culmen.launchers import launchpad
from culmen.launchers.launchpad import FurtherEvaluator
from culmen.launchers.results import Refused
from culmen.launchers.status import read_status
from tests.conftest import is_installed
from tests.integration import runs
from tests.launchers.on_policy import Witness
from tests.launchers.slow import Slow
from tests.launchers.toys import corridor

CORRIDOR = 'tests.launchers.toys:corridor'

pytestmark = [
    pytest.mark.launchpad,
    pytest.mark.skipif(
        not (is_installed('launchpad') and is_installed('reverb')),
        reason='Launchpad has wheels for Python 3.10 on Linux x86-64 alone',
    ),
]


def experiment(agent=None, **changes):
    settings = {'max_actor_steps': 300, 'evaluation': culmen.Evaluation(episodes=1), 'seed': 1}
    return culmen.Experiment(agent or Slow(), corridor, **{**settings, **changes})


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'num_actors': 0}, 'num_actors must be at least 1, got 0'),
        ({'num_actors': 1.5}, 'NodeOptions.num_actors must be an int, got 1.5'),
        ({'evaluators': [1]}, 'NodeOptions.evaluators must be .*Mapping.*, got'),
        ({'actors_per_process': 0}, 'actors_per_process'),
        (
            {'num_actors': 2, 'actors_per_process': 3},
            r'actors_per_process must be in \[1, 2\], got 3',
        ),
        ({'variables_every': 0}, 'variables_every'),
        ({'restarts': -1}, 'restarts must be at least 0, got -1'),
        ({'restart_window': 0.0}, 'restart_window must be above 0'),
        ({'hang_after': 0.5}, 'hang_after must be at least 1, got 0.5'),
        ({'device': 'gpu:0,gpu:0'}, "device must be a name such as .* got 'gpu:0,gpu:0'"),
        (
            {'actor_device': 'cpu:0,cpu:1'},
            "actor_device must be a name such as 'cpu', 'gpu:0', got",
        ),
        (
            {'variables': {'lerner': {}}},
            "variables must be of .* got 'lerner'; the nearest is 'learner'",
        ),
        ({'evaluators': {'a b': FurtherEvaluator()}}, "evaluators must be named by .* got 'a b'"),
        ({'lead': 7.0}, r'lead must be at least batch_size \+ samples_per_insert = 8'),
        ({'on_non_finite': 'ignore'}, "on_non_finite must be one of \\['stop', 'log'\\]"),
    ],
)
def test_what_can_not_be_run_is_refused_before_anything_is_written(tmp_path, options, words):
    with pytest.raises(Refused, match=words):
        launchpad.make_program(experiment(), tmp_path / 'run', **options)
    assert list(tmp_path.iterdir()) == []


def test_lanes_of_all_actors_are_held_to_the_experience():
    lone = Witness(max_staleness=0)
    launchpad.make_program(experiment(lone), num_actors=3)
    with pytest.raises(Refused, match='updates_per_call must be 1'):
        launchpad.make_program(experiment(lone, updates_per_call=2), num_actors=3)


def test_a_recording_is_read_before_anything_is_written(tmp_path):
    agent = wrappers.Demonstrated(dqn.DQN(), str(tmp_path / 'none'))
    with pytest.raises(Refused, match='none holds no recording: there is no spec.json'):
        launchpad.make_program(experiment(agent), tmp_path / 'run')
    assert list(tmp_path.iterdir()) == []


def test_an_actor_that_would_wait_for_its_own_lanes_is_refused():
    episodes = Witness(max_staleness=None, episodes=True)
    launchpad.make_program(experiment(episodes), num_actors=3)
    with pytest.raises(Refused, match=r'experience must have a batch_size .* got None with 2'):
        launchpad.make_program(experiment(episodes, num_environments=2))


def test_a_backend_that_is_none_and_what_it_can_not_do_is_refused(tmp_path):
    program = launchpad.make_program(experiment(), tmp_path / 'run')
    variables = {'actor': {'OMP_NUM_THREADS': '2'}}
    placed = launchpad.make_program(experiment(), tmp_path / 'run', variables=variables)
    with pytest.raises(Refused, match='variables are of processes, and all threads have those of'):
        launchpad.launch(placed, 'threads')
    with pytest.raises(Refused, match="backend must be one of \\['threads', 'processes'\\]"):
        launchpad.launch(program, 'hosts')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_actors_wait_where_they_are_too_far_ahead_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ahead, before = {}, {thread.name for thread in threading.enumerate()}
    for lead in (8.0, 1_000.0):  # the second launch of a process too
        sink = Furthest()
        program = launchpad.make_program(
            experiment(), num_actors=2, lead=lead, loggers=[sink], variables_every=1
        )
        result = launchpad.launch(program, 'threads', progress=False)
        assert result.summary['actor_steps'] == 300
        assert result.summary['learner_steps'] == 300 - 10
        ahead[lead] = sink.steps
    # An update is a step here, so 8 samples are 2 steps. What is not flushed yet, up to 8 ticks of each
    # actor, has not met the limiter, and an actor's parameters are a call old.
    assert ahead[8.0] <= 10 + 2 + 2 * 8 + 2
    assert ahead[1_000.0] > 100
    assert list(tmp_path.iterdir()) == []
    left = {thread.name for thread in threading.enumerate()} - before
    assert not {name for name in left if name.startswith(('actor', 'learner', 'counter'))}
    assert result.workdir is None
    assert result.logs['evaluator']['actor_steps'].tolist() == [300]
    assert result.policy()(corridor(0).reset()) == 0


class Furthest:
    """By how many steps the actors ever were ahead of the updates, at the ends of their episodes."""

    def __init__(self):
        self.steps = 0

    def write(self, label, row):
        if label.startswith('actor'):
            self.steps = max(self.steps, row['actor_steps'] - row['learner_steps'])

    def flush(self):
        pass

    def close(self):
        pass


@pytest.mark.slow
def test_several_actors_in_a_process_and_a_budget_of_updates(tmp_path):
    program = launchpad.make_program(
        experiment(
            culmen.agents.dqn.DQN(**runs.SMALL), max_actor_steps=None, max_learner_steps=77,
            num_environments=2,
        ),
        tmp_path / 'run',
        num_actors=3,
        actors_per_process=2,
        evaluators={
            'rich': FurtherEvaluator(culmen.environment(CORRIDOR, prize=3.0), episodes=2),
            'exploring': FurtherEvaluator(policy=lambda parts: parts.actor),
        },
    )  # fmt: skip
    result = launchpad.launch(program, 'threads', progress=False)
    assert result.summary['learner_steps'] == 77
    names = {path.stem for path in (tmp_path / 'run' / 'logs').glob('actor-*.csv')}
    assert names == {'actor-0', 'actor-1', 'actor-2'}
    # The same variables, and a prize three times as large.
    own, rich, exploring = (
        result.logs[label] for label in ('evaluator', 'evaluator-rich', 'evaluator-exploring')
    )
    for column in ('actor_steps', 'learner_steps'):
        assert own[column].tolist() == rich[column].tolist() == exploring[column].tolist()
    assert own['learner_steps'].tolist()[-1] == 77
    assert rich['episode_return'].tolist() == (3 * own['episode_return']).tolist()
    assert rich['episodes'].tolist() == [2] * len(rich)
    status = read_status(tmp_path / 'run')
    assert status['evaluators']['evaluator-rich']['return_mean'] == rich['episode_return'].iloc[-1]
    assert [each['name'] for each in status['nodes']][-3:] == [
        'evaluator', 'evaluator-rich', 'evaluator-exploring',
    ]  # fmt: skip
    again = launchpad.launch(program, 'threads', progress=False)
    assert again.summary == {**result.summary, 'resumed_at': result.summary['actor_steps']}
    # Its tables keep their rate, so it can not go on with another.
    longer = dataclasses.replace(program.experiment, max_learner_steps=80)
    other = launchpad.make_program(longer, tmp_path / 'run', num_actors=3, lead=1234.0)
    with pytest.raises(Refused, match=r'lead must be .* in .*run, .* got 1234'):
        launchpad.launch(other, 'threads', progress=False)
