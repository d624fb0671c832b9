"""Which nodes are started again, when, and when the program gives up. The nodes do nothing."""

import json

import pytest

from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.launchers.programs import keeper as keepers
from culmen.launchers.programs import supervisor
from culmen.launchers.programs.faults import Faults
from culmen.launchers.programs.faults import delay
from culmen.launchers.programs.keeper import RESTARTS
from culmen.launchers.programs.keeper import Hooks
from culmen.launchers.programs.keeper import Keeper
from culmen.launchers.programs.pulses import Pulse
from culmen.launchers.programs.supervisor import Failure
from culmen.launchers.programs.supervisor import NodeFailure
from culmen.launchers.programs.topology import NodePlan
from culmen.launchers.programs.topology import restarted_with

LABELS = ('counter', 'replay', 'learner', 'actor-0', 'actor-1', 'evaluator')
REPLAY = Replay(Window(), capacity=50, min_size=8, batch_size=4, samples_per_insert=1.0)
ALL = Replay(Window(), capacity=50, min_size=8, batch_size=1, draw='all', samples_per_insert=1.0)
QUEUE = Queue(Window(length=4, period=4, cross_episodes=True))


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Node:
    """A node whose end a test decides."""

    pid = host = None

    def __init__(self, name, life=0):
        self.name, self.life = name, life
        self.reason, self.is_quiet, self.of_pulse = None, False, Pulse(0.0)

    def is_running(self):
        return self.reason is None and not self.is_quiet

    def failure(self):
        return None if self.reason is None else Failure(self.name, self.reason, output=['the tail'])

    def ask(self):
        pass

    def kill(self):
        self.reason = 'it was ended by SIGKILL'

    def show(self):
        pass

    def pulse(self):
        return self.of_pulse


class House:
    """A Keeper of nodes that do nothing, with a clock that a test moves."""

    def __init__(self, folder, monkeypatch, experience=REPLAY, **settings):
        self.clock = Clock()
        monkeypatch.setattr(keepers, 'time', self.clock)
        self.plans = [self.plan(label) for label in LABELS]
        self.running = [Node(label) for label in LABELS]
        self.lost, self.planned = [], 0
        hooks = Hooks(
            Faults(**settings),
            lambda label: restarted_with(label, LABELS, experience, 2),
            self.start,
            self.plan_again,
            self.lost.append,
            lambda: 77,
            folder,
        )
        self.folder = folder
        self.keeper = Keeper(hooks, self.plans, self.running)

    def plan(self, label):
        calls = () if label in ('counter', 'replay') else ('counter', 'replay', 'learner')
        reports = (label,) if label.startswith(('actor', 'evaluator')) else None
        return NodePlan(label, (lambda **options: options,), calls, reports)

    def plan_again(self):
        self.planned += 1
        return self.plans

    def start(self, plan):
        node = Node(plan.label, plan.life)
        node.made = plan.makes[0]()
        return node

    def node(self, label):
        return self.running[LABELS.index(label)]

    def fail(self, label, reason='it was ended by SIGKILL'):
        self.node(label).reason = reason
        self.look()

    def look(self, seconds=0.0, stopping=False):
        self.clock.now += seconds
        self.keeper.look({'timings': {}}, stopping)

    def away(self):
        return [node.name for node in self.running if self.keeper.state_of(node.name) == 'waiting']


@pytest.fixture
def house(tmp_path, monkeypatch):
    return lambda **options: House(tmp_path, monkeypatch, **options)


def test_without_restarts_a_failure_is_the_program_s(house):
    with pytest.raises(NodeFailure, match='node actor-1 failed: the floor gave way'):
        house().fail('actor-1', 'the floor gave way')


def test_without_restarts_a_hang_is_the_program_s_failure_too(house):
    home = house(hang_after=30.0)
    home.node('actor-1').of_pulse = Pulse(31.0)
    with pytest.raises(NodeFailure, match='node actor-1 failed: it made no progress for 31 s'):
        home.look()


def test_an_actor_is_started_again_alone_and_its_claims_are_free(house):
    home = house(restarts=3)
    before = list(home.running)
    home.fail('actor-1', 'the floor gave way')
    assert (home.away(), home.lost, home.planned) == (['actor-1'], [1], 0)
    home.look(0.5)
    assert home.away() == ['actor-1']  # it is not time yet
    home.look(0.6)
    assert home.away() == []
    assert home.node('actor-1').life == 1
    assert home.node('actor-1').made == {'life': 1}
    assert [a is b for a, b in zip(before, home.running)] == [True] * 4 + [False, True]
    (restart,) = home.keeper.restarts_of('actor-1')
    assert (restart.reason, restart.life, restart.caused_by) == ('the floor gave way', 1, None)
    assert json.loads((home.folder / RESTARTS).read_text()) == restart._asdict()


def test_it_backs_off_and_gives_up_with_the_first_reason(house, capfd):
    home = house(restarts=2, restart_window=600.0)
    home.fail('actor-0', 'the floor gave way')
    home.look(1.1)
    home.fail('actor-0', 'something else')
    home.look(1.1)
    assert home.away() == ['actor-0']
    home.look(1.0)
    assert home.away() == []
    with pytest.raises(NodeFailure, match=r'node actor-0 failed: the floor gave way; nodes failed 3 times '
                       r'in 600 s \(actor-0, actor-0, evaluator\), and restarts is 2'):  # fmt: skip
        home.fail('evaluator', 'a third thing')
    assert '[actor-0] the tail' in capfd.readouterr().err


def test_failures_are_forgotten_after_the_window(house):
    home = house(restarts=1, restart_window=60.0)
    for _ in range(4):
        home.fail('actor-0')
        home.look(61.0)
    assert home.node('actor-0').life == 4


def test_delays_double_up_to_half_a_minute():
    assert [delay(n) for n in (1, 2, 3, 5, 6, 100)] == [1, 2, 4, 16, 30, 30]


@pytest.mark.parametrize(
    ('label', 'experience', 'expected'),
    [
        ('actor-0', QUEUE, ('actor-0',)),
        ('evaluator', REPLAY, ('evaluator',)),
        ('learner', REPLAY, ('learner', 'evaluator')),
        ('learner', QUEUE, LABELS[1:]),
        ('learner', ALL, LABELS[1:]),
        ('learner', {'a': REPLAY, 'b': QUEUE}, LABELS[1:]),
        ('replay', REPLAY, LABELS[1:]),
        ('counter', REPLAY, LABELS),
        # Lanes that wait before their episodes: an actor that ends leaves its place among them.
        ('actor-0', Queue(Window(length=4), batch_size=2, max_staleness=1), LABELS[1:]),
    ],
)
def test_what_is_restarted_with_what(label, experience, expected):
    assert restarted_with(label, LABELS, experience, 2) == expected


def test_what_another_s_failure_caused_does_not_count(house):
    home = house(restarts=1)
    home.node('actor-0').reason = 'ConnectionError: the Reverb server is gone'
    home.fail('replay')
    assert home.away() == list(LABELS[1:])
    causes = {each.node: each.caused_by for each in home.keeper.restarts}
    assert causes == {'replay': None, **dict.fromkeys(LABELS[2:], 'replay')}
    home.look(1.1)
    assert home.away() == []
    assert home.planned == 1
    assert home.node('learner').made == {'life': 1}
    assert home.node('replay').made == {'before': None}  # nobody could be asked
    assert home.lost == [0, 1]


def test_a_learner_alone_keeps_the_draws_of_its_tables_and_one_with_them_counts_what_is_dropped(
    house,
):
    home = house(restarts=1)
    home.fail('learner')
    home.look(1.1)
    assert home.node('learner').made == {'life': 1, 'lost_table': True}
    assert home.node('replay').life == 0
    home = house(restarts=1, experience=QUEUE)
    home.fail('learner')
    home.look(1.1)
    assert home.node('learner').made == {'life': 1}
    assert home.node('replay').made == {'before': 77}


def test_a_failure_in_a_call_of_a_silent_node_is_that_node_s(house):
    home = house(restarts=1, hang_after=30.0)
    home.node('replay').of_pulse = Pulse(6.0)
    for _ in range(3):
        home.fail('learner', 'ConnectionError: the Reverb server is gone')
        home.look(1.1)
    assert [each.caused_by for each in home.keeper.restarts_of('learner')] == ['replay'] * 3


def test_a_node_without_progress_is_killed_and_one_that_waits_for_it_is_not(house):
    home = house(restarts=1, hang_after=30.0)
    home.look(100.0)
    home.node('learner').of_pulse = Pulse(31.0)
    for actor in ('actor-0', 'actor-1'):
        home.node(actor).of_pulse = Pulse(30.5, 'learner')
    stuck = home.node('learner')
    home.look()
    assert stuck.reason == 'it was ended by SIGKILL'
    assert home.away() == ['learner', 'evaluator']
    home.look(1.1)  # it is new now, and its callers may wait for it
    home.node('learner').of_pulse = None
    home.look(1.0)
    assert home.away() == []
    (restart,) = home.keeper.restarts_of('learner')
    assert restart.reason == 'it made no progress for 31 s'


def test_a_call_that_never_returns_from_a_node_in_good_health_is_its_caller_s_hang(house):
    home = house(restarts=1, hang_after=30.0)
    home.look(100.0)
    home.node('actor-0').of_pulse = Pulse(30.5, 'counter')
    home.look()
    (restart,) = home.keeper.restarts
    assert restart.reason == 'it made no progress for 30 s, in a call of node counter'


def test_a_node_that_never_begins_hangs_too_but_has_time_to_import(house):
    home = house(restarts=1, hang_after=5.0)
    home.node('actor-0').of_pulse = None
    home.look(100.0)
    assert home.away() == []
    home.look(30.0)
    assert home.away() == ['actor-0']


def test_without_hang_after_a_silent_node_is_left_alone(house):
    home = house(restarts=1)
    home.node('actor-0').of_pulse = Pulse(1e6)
    home.look(1e6)
    assert home.away() == []


def test_nobody_is_started_while_the_program_saves_and_the_others_do_not_wait(house):
    home = house(restarts=1)
    home.node('actor-0').reason = 'it was ended by SIGKILL'
    home.look(stopping=True)
    home.look(60.0, stopping=True)
    assert home.lost == [0]
    assert home.keeper.state_of('actor-0') == 'failed'
    assert home.keeper.can_save
    with pytest.raises(NodeFailure, match='node learner failed'):
        home.node('learner').reason = 'it was ended by SIGKILL'
        home.look(stopping=True)


def test_a_program_whose_learner_is_away_can_not_save(house):
    home = house(restarts=1)
    home.fail('learner')
    assert not home.keeper.can_save


def test_a_loss_that_is_not_finite_is_no_fault(house):
    with pytest.raises(NodeFailure, match='NonFiniteLossError'):
        house(restarts=5).fail('learner', 'NonFiniteLossError: the loss is nan')


def test_a_node_that_ends_and_says_nothing_is_started_again(house, monkeypatch):
    monkeypatch.setattr(supervisor, '_GRACE_SECONDS', 0.0)
    home = house(restarts=2)
    home.node('actor-1').is_quiet = True
    for _ in range(2):
        home.look()
    assert home.away() == []  # its last report may be on its way
    home.look()
    assert home.away() == ['actor-1']
    home.look(1.1)
    home.look()
    assert home.away() == []
    assert home.keeper.restarts[0].reason.startswith('ended before the run was over')
