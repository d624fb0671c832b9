"""The page of a run, driven with an engine that only counts."""

import dataclasses
import signal

import numpy as np
import pytest

import culmen
from culmen.agents import dqn
from culmen.components.learners import NonFiniteLossError
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Interrupted
from culmen.launchers import configs
from culmen.launchers.building import build
from culmen.launchers.loading import stored_result
from culmen.launchers.options import RunOptions
from culmen.launchers.run import Run
from culmen.launchers.run import drive
from culmen.launchers.schedule import Counts
from culmen.launchers.status import read_status
from culmen.launchers.workdir import Workdir
from culmen.launchers.workdir import WorkerState
from tests.launchers import toys

EXPERIMENT = culmen.Experiment(
    dqn.DQN(),
    toys.corridor,
    max_actor_steps=100,
    evaluation=culmen.Evaluation(every=40),
    checkpoint=culmen.Checkpoint(every=30),
)


class Counting:
    """An engine whose steps are numbers, an update for every second one."""

    clock = 'actor_steps'
    metric_names = ('loss',)
    has_python = False
    table = None

    def __init__(self, event=None):
        self.counts = Counts(0, 0)
        self.calls = []
        self._event = event  # (steps, function of the request)

    @property
    def variables(self):
        return {'w': np.full(1, self.counts.learner_steps)}

    @property
    def metrics(self):
        return {'loss': 1.0}

    def start(self, restored):
        self.calls.append('start')
        if restored is not None:
            self.counts = restored.state.counts
        return 0

    def advance(self, request, journal):
        steps = self.counts.actor_steps
        while steps < min(request.counts.actor_steps, request.row_at) and not request.stop():
            steps += 1
            self.counts = Counts(steps, steps // 2)
            if self._event is not None and steps == self._event[0]:
                self._event[1]()
        self.calls.append(steps)

    def finish(self):
        self.calls.append('finish')
        self.counts = self.counts._replace(learner_steps=51)

    def evaluator(self, stop, tell):
        self._stop = stop
        return self

    def evaluate(self, params, number, actor_steps, learner_steps):
        if self._stop():
            raise Interrupted
        assert params['w'] == learner_steps
        self.calls.append(('evaluate', number, learner_steps))
        returns = np.asarray([float(actor_steps)])
        return EvaluationResult(returns, np.ones(1, int), np.zeros(1, bool))

    def check_finite(self):
        pass

    def get_state(self):
        return WorkerState({'newest': self.variables, 'updates': self.counts.learner_steps})

    def get_python(self):
        return None

    def end(self):
        self.calls.append('end')

    def close(self):
        self.calls.append('close')


def run(engine, folder=None, experiment=EXPERIMENT, **options):
    config = configs.to_json(experiment, launcher='local', replay='in_process')
    built = build(experiment)
    built.close()
    given = RunOptions(progress=False, **options)
    with Workdir(folder, experiment, config, ends=given.ends) as workdir:
        if workdir.summary is not None:
            return stored_result(workdir, experiment)
        return drive(Run(experiment, built, engine, workdir, given))


def test_it_stops_at_each_event_and_ends_with_the_last_variables(tmp_path):
    engine = Counting()
    result = run(engine, tmp_path)
    assert engine.calls == [
        'start', 30, 40, ('evaluate', 40, 20), 60, 80, ('evaluate', 80, 40), 90, 100,
        'finish', ('evaluate', 100, 51), 'end', 'close',
    ]  # fmt: skip
    assert not result.interrupted
    assert (result.summary['actor_steps'], result.summary['learner_steps']) == (100, 51)
    assert result.summary['evaluation'] == {'episodes': 1, 'return_mean': 100.0, 'return_std': 0.0}
    assert result.params['w'] == 51
    assert result.logs['evaluator']['actor_steps'].tolist() == [40, 80, 100]
    assert result.logs['learner'].values.tolist() == [[100, 51, 1.0]]
    assert sorted(path.name for path in tmp_path.glob('checkpoints/0*')) == [
        '000000000090', '000000000100',
    ]  # fmt: skip


def test_rows_of_updates_come_every_thousand_steps(tmp_path):
    experiment = dataclasses.replace(
        EXPERIMENT, max_actor_steps=2_500, evaluation=culmen.Evaluation()
    )
    result = run(Counting(), tmp_path, experiment)
    assert result.logs['learner'].values.tolist() == [
        [1_000, 500, 1.0], [2_000, 1_000, 1.0], [2_500, 51, 1.0],
    ]  # fmt: skip


def test_a_return_that_is_reached_ends_it():
    engine = Counting()
    result = run(engine, until_return=80.0)
    assert result.summary['actor_steps'] == 80
    assert not result.interrupted
    assert 'finish' not in engine.calls


class Listening(culmen.Observer):
    """Keeps what it hears; a text ends a run at the evaluation after the first."""

    def __init__(self, reasons=()):
        self.heard = []
        self._reasons = [None, *reasons]

    def on_begin(self, *counts):
        self.heard.append(('begin', counts))

    def on_update(self, actor_steps, learner_steps, metrics):
        self.heard.append(('update', (actor_steps, learner_steps), metrics))

    def on_evaluation(self, actor_steps, learner_steps, summary):
        self.heard.append(('evaluation', (actor_steps, learner_steps), summary['return_mean']))
        return self._reasons.pop(0) if self._reasons else None

    def on_checkpoint(self, *counts):
        self.heard.append(('checkpoint', counts))

    def on_end(self, summary):
        self.heard.append(('end', summary.get('stopped')))

    def __repr__(self):
        return 'Listening'


def test_observers_hear_of_events_in_their_order():
    listening = Listening()
    run(Counting(), observers=[listening])
    assert listening.heard == [
        ('begin', (0, 0)), ('checkpoint', (30, 15)), ('evaluation', (40, 20), 40.0),
        ('checkpoint', (60, 30)), ('evaluation', (80, 40), 80.0), ('checkpoint', (90, 45)),
        ('update', (100, 51), {'loss': 1.0}), ('evaluation', (100, 51), 100.0),
        ('checkpoint', (100, 51)), ('end', None),
    ]  # fmt: skip


def test_an_observer_ends_a_run_and_a_resume_knows(tmp_path):
    listening = Listening(['enough'])
    result = run(Counting(), tmp_path, observers=[listening])
    assert (result.summary['actor_steps'], result.interrupted) == (80, False)
    assert result.stopped == 'enough'
    assert result.summary['stopped'] == {'reason': 'enough', 'by': 'Listening'}
    assert listening.heard[-2:] == [('checkpoint', (80, 40)), ('end', result.summary['stopped'])]
    assert 'stopped: reason enough, by Listening' in repr(result)
    status = read_status(tmp_path)
    assert (status['state'], status['reason']) == ('stopped', 'enough')
    observers = [Listening(['enough'])]
    assert stored_summary(tmp_path, observers=observers)['stopped'] == result.summary['stopped']
    more = run(Counting(), tmp_path)  # nobody stops this one
    assert (more.summary['actor_steps'], more.summary['resumed_at'], more.stopped) == (
        100,
        80,
        None,
    )
    assert read_status(tmp_path)['state'] == 'finished'


def stored_summary(folder, **options):
    """The summary of a run for which a call has nothing left to do; None for another."""
    config = configs.to_json(EXPERIMENT, launcher='local', replay='in_process')
    ends = RunOptions(**options).ends
    with Workdir(folder, EXPERIMENT, config, ends=ends) as workdir:
        return workdir.summary


def test_a_run_whose_budget_ends_it_was_not_stopped():
    result = run(Counting(), observers=[Listening([None, 'too late'])])
    assert (result.summary['actor_steps'], result.stopped) == (100, None)


def test_a_return_that_was_reached_is_known_later(tmp_path):
    run(Counting(), tmp_path, until_return=80.0)
    assert stored_summary(tmp_path, until_return=80.0)['actor_steps'] == 80
    assert stored_summary(tmp_path, until_return=80.5) is None
    assert stored_summary(tmp_path) is None


def test_a_signal_ends_it_after_a_checkpoint_and_it_goes_on(tmp_path):
    engine = Counting((55, lambda: signal.raise_signal(signal.SIGTERM)))
    stopped = run(engine, tmp_path)
    assert (stopped.interrupted, stopped.signal) == (True, signal.SIGTERM)
    assert engine.calls[-3:] == [55, 'end', 'close']
    assert not (tmp_path / 'result.json').exists()
    again = Counting()
    result = run(again, tmp_path)
    assert again.calls[:3] == ['start', 60, 80]
    assert result.summary['resumed_at'] == 55
    assert result.logs['evaluator']['actor_steps'].tolist() == [40, 80, 100]


def test_a_loss_that_is_not_finite_is_kept_apart(tmp_path):
    def fail():
        raise NonFiniteLossError('the loss is nan')

    engine = Counting((70, fail))
    with pytest.raises(NonFiniteLossError) as caught:
        run(engine, tmp_path)
    assert caught.value.checkpoint == str(tmp_path / 'checkpoints' / 'non-finite-35')
    assert (tmp_path / 'checkpoints' / 'non-finite-35' / 'manifest.json').exists()
    assert engine.calls[-1] == 'close'
    assert 'end' not in engine.calls


def test_what_an_engine_raises_closes_it():
    engine = Counting((10, lambda: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        run(engine)
    assert engine.calls[-1] == 'close'
