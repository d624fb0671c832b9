"""What the core can be asked for, each by one small agent in every launcher (tests/shapes/registry.py)."""

import os
import signal

import jax
import pytest

import culmen
from culmen.environment_loops.evaluation import Evaluator
from culmen.launchers import building
from culmen.launchers import compiled
from culmen.launchers import launchpad
from culmen.launchers import offline
from culmen.launchers.results import Refused
from tests.conftest import is_installed
from tests.integration import runs
from tests.shapes.registry import ROWS

pytestmark = pytest.mark.slow
needs_launchpad = pytest.mark.skipif(
    not (is_installed('launchpad') and is_installed('reverb')), reason='Launchpad is not installed'
)


def left_out(number, row):
    """Which of one process and compiled is left to `make test-all`, by turns."""
    both = {'local', 'compiled'} <= set(row.launchers)
    return ('compiled', 'local')[number % 2] if both else None


def of(*launchers, refused=False):
    """Each row beside each launcher that runs it, or that refuses it; a row's tests share a process."""
    return pytest.mark.parametrize(
        ('shape', 'launcher'),
        [
            pytest.param(
                row, launcher, id=f'{row.name}-{launcher}',
                marks=[
                    pytest.mark.xdist_group(f'shape {row.name}'),
                    *([pytest.mark.launchpad, needs_launchpad] if launcher == 'threads' else []),
                    *([pytest.mark.deep] if launcher == left_out(number, row) else []),
                ],
            )
            for number, row in enumerate(ROWS)
            for launcher in (row.refused if refused else row.launchers)
            if launcher in launchers
        ],
    )  # fmt: skip


def start(shape, launcher, experiment, workdir, stopped=False):
    """The result of a run. Args: stopped: whether it gets a SIGTERM about halfway."""
    if launcher == 'threads':
        options = {'num_actors': shape.num_actors, **shape.program}
        program = launchpad.make_program(experiment, workdir, **options)
        return launchpad.launch(program, 'threads', progress=False)
    options = {'progress': False}
    if launcher == 'local':
        ticks = shape.steps // (2 * shape.num_environments) + 1
        if stopped:
            options['observers'] = [runs.Signaller(ticks)]
        return culmen.run(experiment, workdir, **options)
    if stopped:
        options['loggers'] = [Halfway(shape.steps)]
    run = {'compiled': compiled.run, 'offline': offline.run}[launcher]
    return run(experiment, workdir, **options)


class Halfway:
    """A logger that stops its run at the first row of an actor, or of a learner, in the second half."""

    def __init__(self, steps):
        self._half = steps / 2

    def write(self, label, row):
        if label != 'evaluator' and max(row['actor_steps'], row['learner_steps']) > self._half:
            self._half = float('inf')
            os.kill(os.getpid(), signal.SIGTERM)

    def flush(self):
        pass

    def close(self):
        pass


def check(shape, launcher, result):
    """What holds of every finished run."""
    assert not result.interrupted
    assert result.summary['learner_steps'] > 0
    assert result.summary['evaluation']['return_mean'] >= shape.learns
    if shape.check is not None:
        shape.check(result, launcher)


@of('local', 'compiled', 'offline')
def test_it_learns_and_resumes_with_the_same_bits(shape, launcher, tmp_path):
    experiment = shape.experiment(launcher, tmp_path / 'prepared')
    unbroken = start(shape, launcher, experiment, tmp_path / 'unbroken')
    check(shape, launcher, unbroken)
    partial = start(shape, launcher, experiment, tmp_path / 'broken', stopped=True)
    assert partial.interrupted
    count = 'learner_steps' if launcher == 'offline' else 'actor_steps'
    assert 0 < partial.summary[count] < unbroken.summary[count]
    resumed = start(shape, launcher, experiment, tmp_path / 'broken')
    assert resumed.summary['resumed_at'] == partial.summary[count]
    runs.assert_same(unbroken, resumed)


@of('threads')
def test_it_learns_as_a_program(shape, launcher, tmp_path):
    experiment = shape.experiment(launcher, tmp_path / 'prepared')
    check(shape, launcher, start(shape, launcher, experiment, tmp_path / 'run'))


@of('local', 'compiled', 'threads', 'offline', refused=True)
def test_what_a_launcher_can_not_do_is_refused_by_name(shape, launcher, tmp_path):
    experiment = shape.experiment(launcher, tmp_path / 'prepared')
    with pytest.raises(Refused, match=shape.refused[launcher]):
        start(shape, launcher, experiment, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    'shape',
    [
        pytest.param(row, id=row.name, marks=pytest.mark.xdist_group(f'shape {row.name}'))
        for row in ROWS
        if row.launchers
    ],
)
def test_it_knows_nothing_before_it_has_learned(shape, tmp_path):
    experiment = shape.experiment(shape.launchers[0], tmp_path / 'prepared')
    built = building.build(experiment)
    built.close()
    learner = built.parts.learner
    variables = learner.variables(learner.init(jax.random.key(1)))
    evaluator = Evaluator(
        built.parts.evaluator, built.make_evaluations, built.spec, seed=1, episodes=20
    )
    assert evaluator.evaluate(variables, 0, 0, 0).returns.mean() < shape.learns
