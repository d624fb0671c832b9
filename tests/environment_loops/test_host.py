"""The loop of one process, with one lane and with many."""

import numpy as np
import pytest

from culmen.components.actors import Actor
from culmen.components.counts import StepCounter
from culmen.components.dispatch import Contexts
from culmen.core.types import Lanes
from culmen.environment_loops import BatchedEnvironment
from culmen.environment_loops import EnvironmentLoop
from culmen.environment_loops.batched import EnvironmentFailure
from tests.environment_loops.fakes import SPEC
from tests.environment_loops.fakes import Counting
from tests.environment_loops.fakes import Held
from tests.environment_loops.fakes import Recorder
from tests.environment_loops.fakes import counting_core


def make(environments, **kwargs):
    """A loop of these lanes, or of a batch."""
    batch = environments
    if not isinstance(batch, BatchedEnvironment):
        batch = BatchedEnvironment(environments, SPEC)
    lanes = Lanes(np.arange(batch.num_lanes, dtype=np.int32), batch.num_lanes)
    table = Recorder()
    actor = Actor(counting_core(), Held(), lanes, Contexts(0, 'actor', 0), 0, writer=table)
    counter = StepCounter()
    loop = EnvironmentLoop(batch, actor, counter, **kwargs)
    return loop, table, counter, actor


def test_the_order_of_a_tick():
    loop, table, _, _ = make([Counting(length=2)])
    loop.run(num_steps=5)
    kinds = [event[0] for event in table.events]
    assert kinds == ['observe', 'act'] * (len(kinds) // 2) + ['observe'] * (len(kinds) % 2)
    observed = [int(e[1].step_type[0]) for e in table.events if e[0] == 'observe']
    assert observed == [0, 1, 2, 0, 1, 2, 0, 1]
    # The action on LAST is stored too, and the state starts anew at FIRST.
    assert [int(e[1][0]) for e in table.events if e[0] == 'act'] == [1, 2, 3, 1, 2, 3, 1]


def test_steps_are_time_steps_that_are_not_first():
    loop, table, counter, _ = make([Counting(length=2)])
    assert loop.run(num_steps=5) == {'episodes': 2, 'steps': 5}
    assert counter.actor_steps == 5
    assert counter.episodes == 2
    # The context of a call has the steps of its own tick.
    assert [int(e[2]['actor_steps'][0]) for e in table.events if e[0] == 'act'] == [
        0,
        1,
        2,
        2,
        3,
        4,
        4,
    ]


def test_a_cut_episode_goes_on_in_the_next_call():
    episodes = []
    loop, _, counter, _ = make([Counting(length=4)], on_episode=lambda e, m: episodes.append(e))
    assert loop.run(num_steps=3) == {'episodes': 0, 'steps': 3}
    assert loop.run(num_episodes=1) == {'episodes': 1, 'steps': 1}
    assert [e.episode_length for e in episodes] == [4]
    assert episodes[0].episode_return == 1 + 2 + 3 + 4
    assert counter.actor_steps == 4


def test_a_loop_may_be_asked_for_episodes():
    loop, _, _, _ = make([Counting(length=3)])
    assert loop.run(num_episodes=2) == {'episodes': 2, 'steps': 6}


def test_lanes_end_when_they_like():
    episodes = []
    environments = [Counting(length=n, start=100 * n) for n in (1, 2, 5)]
    loop, table, counter, _ = make(environments, on_episode=lambda e, m: episodes.append(e))
    loop.run(num_steps=30)
    observed = [e[1] for e in table.events if e[0] == 'observe']
    for lane, length in enumerate((1, 2, 5)):
        step_types = [int(t.step_type[lane]) for t in observed]
        expected = ([0] + [1] * (length - 1) + [2]) * 20
        assert step_types == expected[: len(step_types)]
        values = [float(t.observation[lane, 0]) - 100 * length for t in observed]
        assert values == [x % (length + 1) for x in range(len(values))]
        lengths = {e.episode_length for e in episodes if e.lane == lane}
        assert lengths == {length}
    # At most one step a lane less one is taken over the number asked for.
    assert 30 <= counter.actor_steps <= 32


def test_one_lane_and_many_act_alike():
    alone = []
    for length in (2, 3):
        loop, table, _, _ = make([Counting(length=length)])
        loop.run(num_episodes=3)
        alone.append([int(e[1][0]) for e in table.events if e[0] == 'act'])
    loop, table, _, _ = make([Counting(length=2), Counting(length=3)])
    loop.run(num_episodes=5)
    for lane in (0, 1):
        together = [int(e[1][lane]) for e in table.events if e[0] == 'act']
        count = min(len(together), len(alone[lane]))
        assert count >= 6
        assert together[:count] == alone[lane][:count]


def test_the_policy_is_compiled_once_and_called_once_a_tick():
    loop, table, _, actor = make([Counting(), Counting()])
    loop.run(num_steps=20)
    assert actor.num_compilations == 1
    assert actor.get_state()['calls'] == len([e for e in table.events if e[0] == 'act'])


def test_time_steps_are_not_changed_afterwards():
    loop, table, _, _ = make([Counting(length=5)])
    loop.run(num_steps=4)
    values = [float(e[1].observation[0, 0]) for e in table.events if e[0] == 'observe']
    assert values == [0, 1, 2, 3, 4]


def test_on_tick_ends_a_run_between_updates_and_action():
    ticks = []

    def on_tick():
        ticks.append(loop.actor_steps)
        return loop.actor_steps == 3

    loop, table, _, _ = make([Counting(length=9)], on_tick=on_tick)
    assert loop.run() == {'episodes': 0, 'steps': 3}
    assert table.events[-1][0] == 'observe'
    assert ticks == [0, 1, 2, 3]


class Watcher:
    """Sums the actions it sees."""

    def __init__(self):
        self.total = 0

    def observe(self, timestep, action):
        self.total += int(action[0])

    def get_metrics(self, lane):
        return {'actions': self.total}


def test_observers_watch_every_tick_and_report_at_the_end_of_an_episode():
    rows = []
    loop, _, _, _ = make(
        [Counting(length=2)], observers=[Watcher()], on_episode=lambda e, m: rows.append(m)
    )
    loop.run(num_episodes=2)
    assert rows == [{'actions': 3}, {'actions': 9}]  # 1 + 2, then LAST's 3 and 1 + 2


@pytest.mark.parametrize(
    ('bad', 'words'),
    [('nan', 'reward must be finite, got nan'), ('shape', r'observation must have shape \(1,\), got \(2,\)'),
     ('dtype', 'observation must have dtype float32, got float64')],
)  # fmt: skip
def test_a_step_that_breaks_its_spec_names_the_lane_and_the_leaf(bad, words):
    loop, _, _, _ = make([Counting(), Counting(bad=bad)])
    with pytest.raises(EnvironmentFailure, match=f'lane 1 broke its spec: {words}'):
        loop.run(num_steps=100)


def test_an_environment_that_raises_is_named():
    loop, table, _, _ = make([Counting(), Counting(fail_at=4)])
    with pytest.raises(
        EnvironmentFailure, match='lane 1 raised RuntimeError: out of fuel'
    ) as error:
        loop.run(num_steps=100)
    assert isinstance(error.value.__cause__, RuntimeError)
    assert len(table.events) == 8


def test_time_is_told_by_phase():
    loop, _, _, _ = make([Counting()])
    loop.run(num_steps=10)
    assert set(loop.timings) == {'environment', 'observe', 'learn', 'act'}
    assert loop.timings['act'] > 0
    assert loop.timings['learn'] == 0


def test_a_restored_loop_acts_on_the_tick_it_stood_at():
    batch = BatchedEnvironment([Counting(length=5)], SPEC)
    whole, table, _, actor = make(batch)
    whole.run(num_steps=3)
    state, actor_state, lanes = whole.get_state(), actor.get_state(), batch.get_state()
    whole.run(num_steps=9)
    acted = [int(e[1][0]) for e in table.events if e[0] == 'act'][3:]

    environment = Counting(length=5)
    environment.reset()
    for action in (1, 2, 3):
        environment.step(action)
    batch = BatchedEnvironment([environment], SPEC)
    loop, table, counter, other = make(batch)
    loop.set_state(state)
    other.set_state(actor_state)
    batch.set_state(lanes)
    loop.run(num_steps=9)
    assert [int(e[1][0]) for e in table.events if e[0] == 'act'] == acted
    assert loop.actor_steps == whole.actor_steps == 12
