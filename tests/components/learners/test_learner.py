"""The learner worker: donation, hand-offs at counted places, several updates a call, finite losses."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.dispatch import unpacked
from culmen.components.learners import Learner
from culmen.components.learners import NonFiniteLossError
from culmen.core.types import LearnerCore
from tests.components.learners.tables import BATCH
from tests.components.learners.tables import Table


def core(loss=lambda state, sample: jnp.mean(sample), priorities=True):
    """Counts updates and sums what it saw; `w` and its copy share a value at init, as targets do."""

    def init(key):
        w = jax.random.normal(key, (3,))
        return {'w': w, 'target': w, 'seen': jnp.float32(0), 'count': 0}

    def update(state, sample, context):
        new = {
            'w': state['w'] + 1,
            'target': state['target'],
            'seen': state['seen'] + sample[0],
            'count': context.learner_steps + 1,
        }
        return (
            new,
            {'loss': loss(state, sample), 'draw': sample[0]},
            sample * 10 if priorities else None,
        )

    return LearnerCore(
        init, update, variables=lambda state: {'count': state['count'], 'w': state['w']}
    )


def count(variables):
    version, params = variables
    assert int(unpacked(params)['count']) == version
    return version


def assert_same_training_state(one, other):
    a, b = (learner.get_state()['training_state'] for learner in (one, other))
    assert set(a) == set(b)
    for path, leaf in a.items():
        np.testing.assert_array_equal(leaf, b[path], path)


@pytest.mark.parametrize('lag', [0, 1, 2, 3])
@pytest.mark.parametrize('updates', [1, 2])
def test_hand_offs_happen_at_counted_places(lag, updates):
    table = Table()
    learner = Learner(core(), table, seed=0, lag=lag, updates_per_call=updates)
    assert count(learner.get_variables(None)) == 0
    for call in range(6):
        learner.step(0, updates=updates)
        # Results of call c are handed on just before the draw of call c + lag + 1.
        handed = call + 1 if lag == 0 else max(call - lag, 0)
        assert count(learner.get_variables(None)) == handed * updates
        assert [keys for _, keys, _ in table.written] == list(range(1, handed * updates + 1))
    for at, keys, value in table.written:
        assert value == 10 * keys
        if lag:
            call = (keys - 1) // updates
            assert at == (call + lag + 1) * updates  # draws made when it was written
    assert int(learner.newest_variables['count']) == 6 * updates


def test_variables_are_given_once():
    learner = Learner(core(), Table(), seed=0)
    version, _ = learner.get_variables(None)
    assert learner.get_variables(version) is None
    learner.step(0)
    assert learner.get_variables(version)[0] == 1


@pytest.mark.parametrize('updates', [1, 3])
def test_the_update_is_compiled_once_and_its_state_donated(updates):
    learner = Learner(core(), Table(), seed=0, updates_per_call=updates)
    for _ in range(3):
        learner.step(0, updates=updates)
    assert learner.num_compilations == 1
    before = jax.live_arrays()
    learner.step(0, updates=updates)
    # `w`, its copy and `seen`. The count is not read, and so not passed.
    given = [leaf.size for leaf in before if leaf.is_deleted() and leaf.dtype == np.float32]
    assert sorted(given) == [1, 3, 3]


def test_variables_outlive_the_donation():
    learner = Learner(core(), Table(), seed=0, lag=0)
    _, params = learner.get_variables(None)
    learner.step(0)
    _, newer = learner.get_variables(None)
    learner.step(0)
    np.testing.assert_allclose(newer.unpack()['w'], params.unpack()['w'] + 1)


def test_several_updates_a_call_are_those_updates():
    one, three = (
        Learner(core(), Table(), seed=0),
        Learner(core(), Table(), seed=0, updates_per_call=3),
    )
    for _ in range(6):
        one.step(0)
    for _ in range(2):
        three.step(0, updates=3)
    assert_same_training_state(one, three)
    assert one.metrics == three.metrics == {'loss': 6.0, 'draw': 6.0}


@pytest.mark.parametrize(('updates', 'total', 'made'), [(1, 5, 5), (2, 5, 4), (4, 3, 0)])
def test_a_call_is_made_when_all_its_updates_are_due(updates, total, made):
    learner = Learner(core(), Table(total), seed=0, updates_per_call=updates)
    learner.run_due(0)
    assert learner.learner_steps == made
    learner.run_rest(0)
    assert learner.learner_steps == total


def test_the_budget_of_updates_is_exact():
    learner = Learner(core(), Table(), seed=0, updates_per_call=4, max_updates=6)
    learner.run_due(0)
    assert learner.learner_steps == 6


def nan_at(update):
    return lambda state, sample: jnp.where(state['count'] + 1 == update, jnp.nan, 1.0)


def test_a_loss_that_is_not_finite_is_named():
    learner = Learner(core(nan_at(7)), Table(), seed=0)
    for _ in range(20):
        learner.step(0)
    with pytest.raises(NonFiniteLossError, match='the loss of update 7 was not finite'):
        learner.check_finite()
    learner = Learner(core(nan_at(7)), Table(), seed=0)
    with pytest.raises(NonFiniteLossError, match='update 7'):
        learner.run_due(0)
    assert learner.learner_steps == 100  # it looks every so many calls, not at each


def test_a_loss_that_is_not_finite_may_be_passed_over():
    learner = Learner(core(nan_at(7)), Table(), seed=0, stop_on_non_finite=False)
    learner.run_due(0)
    assert learner.learner_steps == 1000


@pytest.mark.parametrize('lag', [0, 1, 2])
@pytest.mark.parametrize('updates', [1, 2])
def test_a_restored_learner_goes_on_as_the_unbroken_one(lag, updates):
    unbroken, first = Table(), Table()
    whole = Learner(core(), unbroken, seed=0, lag=lag, updates_per_call=updates)
    part = Learner(core(), first, seed=0, lag=lag, updates_per_call=updates)
    for _ in range(4):
        whole.step(0, updates=updates)
        part.step(0, updates=updates)
    state = part.get_state()
    rest = Table()
    rest.draws, rest.written = first.draws, list(first.written)
    other = Learner(core(), rest, seed=1, lag=lag, updates_per_call=updates)
    other.set_state(state)
    versions = collections.defaultdict(list)
    for _ in range(4):
        for learner in (whole, other):
            versions[learner].append(count(learner.get_variables(None)))
            learner.step(0, updates=updates)
    assert versions[whole] == versions[other]
    assert unbroken.written == rest.written
    assert_same_training_state(whole, other)


@pytest.mark.parametrize('budget', [None, 6])
def test_pretraining_in_pieces_is_that_at_once(budget):
    """Seven updates: three calls of two and one of one; or a budget that ends before."""
    most, tables = 7, [Table(), Table()]
    whole, pieces = (
        Learner(
            core(), table, seed=0, updates_per_call=2, max_updates=budget, updates_before={'': most}
        )
        for table in tables
    )
    assert whole.pretrain(lambda: False)
    made, asked = [], 0

    def is_time():
        nonlocal asked
        asked += 1
        return asked % 2 == 0

    while not pieces.pretrain(is_time):
        made.append(pieces.learner_steps)
    assert made == ([2, 4, 6] if budget is None else [2, 4])
    assert whole.learner_steps == pieces.learner_steps == (budget or most)
    assert tables[0].written == tables[1].written
    assert_same_training_state(whole, pieces)
    assert pieces.pretrain(lambda: True) and pieces.learner_steps == whole.learner_steps


def test_a_state_that_does_not_fit_names_the_leaf():
    state = Learner(core(), Table(), seed=0).get_state()
    state['training_state']['w'] = np.zeros(4, np.float32)
    with pytest.raises(
        ValueError, match=r'training_state/w must be float32\[3\], got float32\[4\]'
    ):
        Learner(core(), Table(), seed=0).set_state(state)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            lambda s: {**s, 'w': s['w'][:2]},
            r'keep training_state/w as float32\[3\], got float32\[2\]',
        ),
        (
            lambda s: {**s, 'w': s['w'].astype(jnp.int32)},
            r'keep training_state/w as float32\[3\], got int32',
        ),
        (lambda s: {'w': s['w']}, 'keep the structure of the training state'),
    ],
)
def test_an_update_that_changes_the_training_state_is_refused(change, words):
    base = core()
    broken = base._replace(update=lambda s, x, c: (change(s), {'loss': jnp.float32(0)}, None))
    with pytest.raises(ValueError, match=words):
        Learner(broken, Table(), seed=0).step(0)


def test_metrics_need_a_loss():
    broken = core()._replace(update=lambda s, x, c: (s, {'td': jnp.float32(0)}, None))
    with pytest.raises(ValueError, match=r"must hold 'loss', got \['td'\]"):
        Learner(broken, Table(), seed=0).step(0)


def test_metric_names_are_known_before_an_update():
    learner = Learner(core(), Table(), seed=0)
    assert learner.metric_names(jax.ShapeDtypeStruct((BATCH,), np.float32)) == ('loss', 'draw')
    assert learner.learner_steps == 0
