"""A learner of several rules: whose turn it is, what each is told, and what is handed on and saved."""

import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.dispatch import unpacked
from culmen.components.learners import Learner
from culmen.components.learners import NonFiniteLossError
from culmen.core.types import LearnerCore
from tests.components.learners.tables import BATCH
from tests.components.learners.tables import Table

NAMES = ('up', 'down')  # not in the order of the alphabet


def core(broken_at=None):
    """Each rule notes what its Context told it at its last call; `order` has the calls as digits, from 1."""

    def of(place):
        def update(state, sample, context):
            told = jnp.stack([context.learner_steps, context.rule_steps])
            bad = False if broken_at is None or not place else context.rule_steps == broken_at
            after = {
                'told': state['told'].at[place].set(told),
                'order': state['order'] * 10 + place + 1,
                'seen': state['seen'] + sample[0],
            }
            loss = jnp.where(bad, jnp.nan, sample[0])
            return after, {'loss': loss}, sample * (place + 1)

        return update

    def init(key):
        return {
            'told': jnp.full((2, 2), -1, jnp.int32),
            'order': jnp.int32(0),
            'seen': jnp.float32(0),
        }

    updates = {name: of(place) for place, name in enumerate(NAMES)}
    return LearnerCore(init, updates, variables=lambda state: state)


def make(totals=(2, 3), lag=0, **settings):
    tables = {name: Table(total) for name, total in zip(NAMES, totals, strict=True)}
    return Learner(
        core(settings.pop('broken_at', None)), tables, seed=0, lag=lag, **settings
    ), tables


def order(learner):
    return str(int(learner.newest_variables['order']))


def test_rules_take_turns_in_the_order_of_declaration_each_while_it_is_due():
    learner, tables = make()
    learner.run_due(7)
    assert order(learner) == '11222'
    assert learner.rule_steps == {'up': 2, 'down': 3}
    assert learner.learner_steps == 5
    # (updates of all, updates of the rule) before its last one
    assert np.asarray(learner.newest_variables['told']).tolist() == [[1, 1], [4, 2]]
    tables['up'].total = 3
    learner.run_due(8)
    assert order(learner) == '112221'


def test_what_each_learns_reaches_its_own_table_and_one_version_names_all():
    learner, tables = make()
    learner.run_due(0)
    version, _ = learner.get_variables(None)
    assert version == (2, 3)
    assert [each[1:] for each in tables['up'].written] == [(1, 1.0), (2, 2.0)]
    assert [each[1:] for each in tables['down'].written] == [(1, 2.0), (2, 4.0), (3, 6.0)]
    assert learner.get_variables((2, 3)) is None


def test_lag_counts_the_calls_of_all_rules():
    learner, tables = make(totals=(2, 2), lag=2)
    seen = []
    for name in ('up', 'down', 'up', 'down'):
        learner.step(0, rule=name)
        seen.append(learner.get_variables(None)[0])
    # Results of call c are handed on just before the draw of call c + 3.
    assert seen == [(0, 0), (0, 0), (0, 0), (1, 0)]
    assert len(tables['up'].written) == 1


def test_a_budget_counts_the_updates_of_all_rules():
    learner, _ = make(totals=(3, 3), max_updates=4)
    learner.run_due(0)
    assert order(learner) == '1112'
    learner, _ = make(totals=(3, 3), max_updates=4, updates_per_call=3)
    learner.run_due(0)
    assert order(learner) == '1112'


def test_a_call_makes_updates_of_one_rule():
    learner, _ = make(totals=(5, 4), updates_per_call=2)
    learner.run_due(0)
    assert order(learner) == '11112222'
    assert np.asarray(learner.newest_variables['told']).tolist() == [[3, 3], [7, 3]]
    learner.run_rest(0)
    assert order(learner) == '111122221'


def test_without_ticks_the_learner_stays_with_a_rule_while_it_is_due():
    learner, tables = make(totals=(1, 1))
    assert learner.next_due(1) == 'up'
    learner.step(0, rule='up')
    assert learner.next_due(1) == 'down'
    tables['down'].total = 2
    learner.step(0, rule='down')
    tables['up'].total = 5
    assert learner.next_due(1) == 'down'
    learner.step(0, rule='down')
    assert learner.next_due(1) == 'up'
    assert learner.next_due(5) is None
    learner, _ = make(totals=(9, 9))
    for _ in range(4):
        learner.step_in_turn()
    assert order(learner) == '1212'


def test_metrics_have_the_name_of_their_rule_from_its_first_update_on():
    learner, _ = make(totals=(2, 1))
    spec = {name: np.zeros(BATCH, np.float32) for name in NAMES}
    assert learner.metric_names(spec) == (
        'up/rule_steps', 'up/loss', 'down/rule_steps', 'down/loss',
    )  # fmt: skip
    assert learner.metrics == {}
    learner.step(0, rule='up')
    assert learner.metrics == {'up/rule_steps': 1, 'up/loss': 1.0}
    learner.run_due(0)
    assert learner.metrics == {
        'up/rule_steps': 2, 'up/loss': 2.0, 'down/rule_steps': 1, 'down/loss': 1.0,
    }  # fmt: skip


def test_a_metric_may_not_take_the_name_of_the_count():
    named = core()
    update = named.update['up']

    def with_count(state, sample, context):
        state, metrics, priorities = update(state, sample, context)
        return state, {**metrics, 'rule_steps': metrics['loss']}, priorities

    learner = Learner(named._replace(update={'up': with_count}), {'up': Table()}, seed=0, lag=0)
    with pytest.raises(ValueError, match="must not hold 'rule_steps'"):
        learner.metric_names({'up': np.zeros(BATCH, np.float32)})


def test_a_loss_that_is_not_finite_is_told_with_its_rule():
    learner, _ = make(totals=(2, 3), broken_at=1)
    learner.run_due(0)
    with pytest.raises(NonFiniteLossError, match=r"loss of update 4 \(of rule 'down'\) was not"):
        learner.check_finite()


@pytest.mark.parametrize('lag', [0, 1])
def test_a_resumed_learner_goes_on_with_the_same_bits(lag):
    turns = ('up', 'up', 'down', 'down', 'down')
    whole, tables = make(totals=(4, 6), lag=lag)
    for name in turns:
        whole.step(0, rule=name)
    state = whole.get_state()
    before = {name: len(table.written) for name, table in tables.items()}
    resumed, rest = make(totals=(4, 6), lag=lag)
    for name, table in rest.items():
        table.draws = tables[name].draws
    resumed.set_state(state)
    assert resumed.metrics == whole.metrics
    assert resumed.rule_steps == {'up': 2, 'down': 3}
    assert resumed.get_variables(None)[0] == whole.get_variables(None)[0]
    for learner in (whole, resumed):
        for name in turns:
            learner.step(0, rule=name)
    assert whole.metrics == resumed.metrics
    held, of_resumed = (each.get_variables(None) for each in (whole, resumed))
    assert held[0] == of_resumed[0]
    for name in ('told', 'order', 'seen'):
        a, b = (unpacked(each[1])[name] for each in (held, of_resumed))
        np.testing.assert_array_equal(a, b, name)
    assert order(whole) == order(resumed) == '1122211222'
    for name in NAMES:
        assert tables[name].written[before[name] :] == rest[name].written


def test_a_checkpoint_of_other_rules_is_refused():
    learner, _ = make()
    state = {**learner.get_state(), 'rule_steps': {'up': 0, 'two': 0}}
    with pytest.raises(ValueError, match=r"'rule_steps' must have \['up', 'down'\], got"):
        learner.set_state(state)
