"""The counter of a program: budgets are exact whoever asks when, and checkpoints find nobody acting."""

import random

import numpy as np
import pytest

from culmen.launchers.programs.nodes import CounterNode
from culmen.launchers.programs.nodes.counter import FINISHED
from culmen.launchers.programs.nodes.counter import HOLD
from culmen.launchers.programs.nodes.counter import OVER
from culmen.launchers.programs.nodes.counter import RUN
from culmen.launchers.programs.nodes.further import played_by_all
from culmen.launchers.programs.stops import Stop


def counter(tmp_path, **changes):
    settings = {'num_actors': 3, 'max_actor_steps': 100, 'logs': tmp_path}
    return CounterNode(stop=Stop(), **{**settings, **changes})


class FakeActor:
    """Claims and takes steps as an actor does: a tick costs the lanes that are not at an end."""

    def __init__(self, index, lanes, node, generator):
        self.index, self.lanes, self.node, self.generator = index, lanes, node, generator
        self.granted = self.taken = 0
        self.over = False

    def turn(self, gives_back=False):
        need = self.generator.randint(1, self.lanes)
        if self.granted - self.taken >= need and not gives_back:
            self.taken += need
            return
        want = 0 if gives_back else self.generator.choice([1, 4, 16]) * self.lanes
        grant = self.node.exchange(self.index, self.taken, 0, [], need, want)
        self.granted, self.taken = grant.steps, 0
        self.over = grant.phase == OVER


@pytest.mark.parametrize('lanes', [1, 3])
@pytest.mark.parametrize('seed', range(8))
def test_budgets_are_exact_in_any_order(tmp_path, lanes, seed):
    generator = random.Random(seed)
    node = counter(tmp_path, max_actor_steps=1_000)
    actors = [FakeActor(i, lanes, node, generator) for i in range(3)]
    turns = 0
    while not all(actor.over for actor in actors):
        turns += 1
        assert turns < 100_000, 'nobody can go on, and the budget is not used up'
        actor = generator.choice([actor for actor in actors if not actor.over])
        actor.turn(gives_back=generator.random() < 0.05)
    steps = node.get_status()['actor_steps']
    assert 1_000 <= steps <= 1_000 + lanes - 1


def test_what_one_gives_back_another_takes(tmp_path):
    node = counter(tmp_path, num_actors=2, max_actor_steps=10)
    assert node.exchange(0, 0, 0, [], 1, 10).steps == 10
    waiting = node.exchange(1, 0, 0, [], 1, 4)
    assert (waiting.steps, waiting.phase) == (0, RUN)  # not over: it may come back
    assert node.exchange(0, 3, 0, [], 1, 0).actor_steps == 3
    assert node.exchange(1, 0, 0, [], 1, 16).steps == 7
    assert node.exchange(1, 7, 0, [], 1, 1).phase == OVER


def test_without_a_budget_of_steps_there_is_no_end(tmp_path):
    node = counter(tmp_path, max_actor_steps=None)
    assert [node.exchange(0, n, 0, [], 1, 8).steps for n in (0, 8, 8)] == [8, 8, 8]
    node.finish()
    assert node.exchange(0, 8, 0, [], 1, 8).phase == OVER


def test_a_pause_is_quiet_when_every_actor_holds_or_has_left(tmp_path):
    node = counter(tmp_path, num_actors=2)
    node.exchange(0, 0, 0, [], 1, 4)
    node.pause()
    assert node.exchange(1, 0, 0, [], 1, 4) == (0, 0, HOLD)
    node.hold(1, {'calls': 1})
    assert not node.sync(0, None).quiet
    assert node.exchange(0, 4, 0, [], 1, 4).phase == HOLD
    node.hold(0, {'calls': 2})
    assert node.sync(0, None).quiet
    assert node.get_state().actors == {'0': {'calls': 2}, '1': {'calls': 1}}
    node.resume()
    assert node.exchange(0, 0, 0, [], 1, 4).steps == 4
    assert not node.sync(0, None).quiet
    node.leave(0, {'calls': 3})
    node.pause()
    node.hold(1, {'calls': 1})
    assert node.sync(0, None).quiet


def test_rows_go_to_the_log_of_their_actor_and_are_cut_on_resume(tmp_path):
    node = counter(tmp_path, num_actors=2, max_actor_steps=1_000)
    node.open_logs(['actor_steps', 'learner_steps', 'loss', 'entropy'])
    row = {'actor_steps': 9, 'learner_steps': 0, 'episode_return': -1.0, 'episode_length': 9,
           'steps_per_second': 5.0}  # fmt: skip
    node.exchange(1, 9, 1, [row], 1, 1)
    node.sync(2, {'actor_steps': 9, 'learner_steps': 2, 'loss': 0.5, 'entropy': 1.0})
    saved = node.get_state()
    node.exchange(0, 9, 1, [row], 1, 1)
    node.evaluated(
        [{'actor_steps': 18, 'learner_steps': 2, 'episode_return': 1.0, 'episode_length': 9.0,
          'episode_return_std': 0.0, 'episodes': 2}],
        {'episodes': 2, 'return_mean': np.float64(1.0), 'return_std': 0.0},
    )  # fmt: skip
    node.complete(FINISHED)
    assert node.get_status()['episodes'] == 2
    assert len((tmp_path / 'actor-0.csv').read_text().splitlines()) == 2
    assert len((tmp_path / 'evaluator.csv').read_text().splitlines()) == 2

    resumed = counter(tmp_path, num_actors=2, max_actor_steps=1_000, state=saved)
    resumed.open_logs(['actor_steps', 'learner_steps', 'loss', 'entropy'])
    status = resumed.get_status()
    assert (status['actor_steps'], status['learner_steps'], status['episodes']) == (9, 2, 1)
    assert (tmp_path / 'actor-1.csv').read_text().splitlines()[1:] == ['9,0,-1.0,9,5.0']
    assert (tmp_path / 'learner.csv').read_text().splitlines()[1:] == ['9,2,0.5,1.0']
    for label in ('actor-0', 'evaluator'):
        assert len((tmp_path / f'{label}.csv').read_text().splitlines()) == 1


def test_a_return_that_was_asked_for_ends_the_run(tmp_path):
    node = counter(tmp_path, until_return=0.5)
    node.open_logs(['actor_steps', 'learner_steps', 'loss'])
    row = dict.fromkeys(('actor_steps', 'learner_steps', 'episode_return'), 0)
    node.evaluated([row], {'return_mean': 0.4})
    assert node.get_phase() == RUN
    node.evaluated([row], {'return_mean': 0.5})
    assert node.get_phase() == OVER


def test_what_an_actor_that_ended_had_claimed_is_free_and_what_it_took_is_not_counted(tmp_path):
    node = counter(tmp_path, num_actors=2, max_actor_steps=10)
    assert node.exchange(0, 0, 0, [], 1, 10).steps == 10
    assert node.exchange(1, 0, 0, [], 1, 4).steps == 0
    node.lost(0)
    assert node.exchange(1, 0, 0, [], 1, 4).steps == 4
    assert node.exchange(0, 0, 0, [], 1, 10).steps == 6  # started again
    assert node.exchange(1, 4, 0, [], 1, 1).steps == 0
    assert node.exchange(0, 6, 0, [], 1, 1).phase == OVER
    assert node.get_status()['actor_steps'] == 10


def test_a_pause_does_not_wait_for_an_actor_that_is_down_and_one_that_is_back_pauses(tmp_path):
    node = counter(tmp_path, num_actors=2)
    node.pause()
    assert node.exchange(1, 0, 0, [], 1, 4).phase == HOLD
    node.hold(1, {'calls': 1})
    node.lost(0)
    assert node.sync(0, None).quiet
    assert node.exchange(0, 0, 0, [], 1, 4).phase == HOLD
    assert not node.sync(0, None).quiet
    node.hold(0, {'calls': 7})
    assert node.sync(0, None).quiet
    assert node.get_actor(0) == {'calls': 7}


def test_an_actor_that_never_paused_has_no_state(tmp_path):
    assert counter(tmp_path).get_actor(1) is None


def test_a_learner_that_begins_anew_goes_on_in_the_logs_and_what_it_lost_is_counted(tmp_path):
    node = counter(tmp_path, num_actors=1)
    columns = ['actor_steps', 'learner_steps', 'loss']
    assert node.open_logs(columns, 0) == 0
    node.sync(30, {'actor_steps': 9, 'learner_steps': 30, 'loss': 0.5})
    node.evaluated(
        [{'actor_steps': 9, 'learner_steps': 30, 'episode_return': 1.0}], {'return_mean': 1.0}
    )
    node.pause()
    assert node.open_logs(columns, 12, 5) == 1
    assert node.get_phase() == RUN  # nobody else would end the pause
    assert node.sync(13, {'actor_steps': 18, 'learner_steps': 13, 'loss': 0.25}).evaluations == 1
    status = node.get_status()
    assert (status['learner_steps'], status['lost']) == (13, {'updates': 18, 'items': 5})
    resumed = counter(tmp_path / 'other', num_actors=1, state=node.get_state())
    assert resumed.get_status()['lost'] == {'updates': 18, 'items': 5}
    node.complete(FINISHED)
    assert (tmp_path / 'learner.csv').read_text().splitlines()[1:] == ['9,30,0.5', '18,13,0.25']


FURTHER = {'evaluator-a': ('actor_steps', 'learner_steps', 'episode_return', 'cell')}
ROW = {'actor_steps': 9, 'learner_steps': 2, 'episode_return': 1.0}


def test_further_evaluators_have_logs_and_numbers_of_their_own_and_end_no_run(tmp_path):
    node = counter(tmp_path, evaluators=FURTHER, until_return=0.5)
    node.open_logs(['actor_steps', 'learner_steps', 'loss'])
    node.evaluated([{**ROW, 'cell': 3.0}], {'return_mean': 1.0}, 'evaluator-a')
    node.evaluating('long', 'evaluator-a')
    assert (node.get_phase(), node.get_status()['evaluation']) == (RUN, None)
    assert node.get_status()['evaluators'] == {'evaluator-a': {'return_mean': 1.0}}
    assert node.get_status()['evaluating'] is None
    assert (node.get_played('evaluator'), node.get_played('evaluator-a')) == (0, 1)
    node.complete(FINISHED)
    assert (tmp_path / 'evaluator-a.csv').read_text().splitlines() == [
        'actor_steps,learner_steps,episode_return,cell', '9,2,1.0,3.0',
    ]  # fmt: skip


def test_what_every_evaluator_has_played_counts_for_the_learner_and_for_a_resumed_run(tmp_path):
    node = counter(tmp_path, evaluators=FURTHER)
    node.open_logs(['actor_steps', 'learner_steps', 'loss'])
    for played in (1, 2):
        node.evaluated([ROW], {'return_mean': 0.0})
        assert node.sync(0, None).evaluations == 0
        assert node.get_played('evaluator') == played
    node.evaluated([ROW], {'return_mean': 0.0}, 'evaluator-a')
    assert node.sync(0, None).evaluations == 1
    saved = node.get_state()
    assert played_by_all(saved.counter) == 1
    resumed = counter(tmp_path, evaluators=FURTHER, state=saved)
    assert (resumed.get_played('evaluator'), resumed.get_played('evaluator-a')) == (2, 1)
    # One that is new begins with what is kept, and one that is gone holds nobody up.
    changed = counter(tmp_path, evaluators={'evaluator-b': FURTHER['evaluator-a']}, state=saved)
    assert changed.get_played('evaluator-b') == 1
    alone = counter(tmp_path, state=saved)
    assert alone.sync(0, None).evaluations == 2
    assert set(alone.get_state().counter) == {
        'actor_steps', 'learner_steps', 'episodes', 'evaluations',
    }  # fmt: skip


def test_after_a_restart_of_the_learner_further_evaluators_go_on_with_the_first(tmp_path):
    node = counter(tmp_path, evaluators={**FURTHER, 'evaluator-b': FURTHER['evaluator-a']})
    columns = ['actor_steps', 'learner_steps', 'loss']
    node.open_logs(columns, 0)
    for label, number in (('evaluator', 2), ('evaluator-a', 1), ('evaluator-b', 3)):
        for _ in range(number):
            node.evaluated([ROW], {'return_mean': 0.0}, label)
    assert node.open_logs(columns, 0) == 2
    assert [node.get_played(f'evaluator-{name}') for name in 'ab'] == [2, 2]
    assert node.sync(0, None).evaluations == 2
