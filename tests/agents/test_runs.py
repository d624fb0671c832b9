"""Every agent that learns from its own steps in whole runs: resumed, on Reverb, and as a program."""

import pytest

import culmen
from culmen.core.experience import live
from culmen.launchers import launchpad
from culmen.launchers.programs import launching
from tests.agents import registry
from tests.agents import toys
from tests.conftest import is_installed
from tests.integration import runs
from tests.integration.subprocesses import Subprocesses
from tests.integration.test_resume import Signaller

STEPS = 120
# Whole runs take seconds each: one agent of each kind, and all agents where all tests are asked for.
ACTING = [row for row in registry.AGENTS if live(row.experience)]
ROWS = pytest.mark.parametrize('row', registry.kinds_first(ACTING), ids=lambda row: row.name)
needs_reverb = pytest.mark.skipif(not is_installed('reverb'), reason='Reverb is not installed')
needs_launchpad = pytest.mark.skipif(
    not (is_installed('launchpad') and is_installed('reverb')), reason='Launchpad is not installed'
)


def experiment(row):
    return culmen.Experiment(
        row.agent,
        toys.of(row),
        max_actor_steps=STEPS,
        num_environments=2,
        seed=3,
        evaluation=culmen.Evaluation(every=50, episodes=2),
        checkpoint=culmen.Checkpoint(every=35),
    )


@pytest.mark.slow
@ROWS
def test_a_run_that_was_stopped_goes_on_with_the_same_bits(row, tmp_path):
    unbroken = culmen.run(experiment(row), tmp_path / 'unbroken', progress=False)
    assert unbroken.summary['learner_steps'] > 0
    partial = culmen.run(
        experiment(row), tmp_path / 'broken', progress=False, observers=[Signaller(47)]
    )
    assert partial.interrupted
    assert 0 < partial.summary['actor_steps'] < STEPS
    resumed = culmen.run(experiment(row), tmp_path / 'broken', progress=False)
    assert resumed.summary['resumed_at'] == partial.summary['actor_steps']
    runs.assert_same(unbroken, resumed)


@pytest.mark.slow
@pytest.mark.launchpad
@needs_reverb
@ROWS
def test_reverb_gives_the_steps_and_updates_of_the_table_in_process(row):
    summaries = [
        culmen.run(experiment(row), replay=replay, progress=False).summary
        for replay in ('in_process', 'reverb')
    ]
    for name in ('actor_steps', 'learner_steps', 'episodes'):
        first, second = (summary[name] for summary in summaries)
        assert first == second > 0, name


@pytest.mark.slow
@pytest.mark.launchpad
@needs_launchpad
@ROWS
def test_an_agent_runs_as_a_program(row, tmp_path):
    program = launchpad.make_program(experiment(row), tmp_path / 'run', num_actors=2)
    result = launchpad.launch(program, 'threads', progress=False)
    assert not result.interrupted
    # Two actors of two lanes: each may take one step more than it claimed.
    assert STEPS <= result.summary['actor_steps'] <= STEPS + 3
    assert result.summary['learner_steps'] > 0
    assert result.summary['evaluation']['return_mean'] == 6.0
    assert len(result.logs['learner']) > 0


@pytest.mark.deep
@pytest.mark.slow
@pytest.mark.launchpad
@needs_launchpad
@pytest.mark.parametrize(
    'row', [row for row in ACTING if row.kind is not None], ids=lambda row: row.name
)
def test_an_agent_runs_on_another_engine(row, tmp_path):
    program = launchpad.make_program(experiment(row), tmp_path / 'run', num_actors=2)
    result = launching.launch(program, Subprocesses(), progress=False)
    assert STEPS <= result.summary['actor_steps'] <= STEPS + 3
    assert result.summary['learner_steps'] > 0
    assert result.summary['evaluation']['return_mean'] == 6.0
    assert len(result.logs['learner']) > 0
