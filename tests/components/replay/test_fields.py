"""`Window.fields` in every table: what a batch has, what is stored, and what is refused."""

from collections import OrderedDict
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.dispatch import unpacked
from culmen.components.replay import InProcessTable
from culmen.components.replay import RowSpec
from culmen.components.replay import fold
from culmen.components.replay.served.layout import ItemLayout
from culmen.components.replay.served.layout import RowLayout
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from tests.components.replay import streams
from tests.components.replay.device.table import DeviceTable
from tests.components.replay.registry import NAMES
from tests.components.replay.registry import TABLES
from tests.components.replay.test_tables import feed

WHERE = ('observation/where',)  # what the stream's rows are known by
UNROLL = {'length': 4, 'period': 4, 'cross_episodes': True}


class Pair(NamedTuple):
    left: Any
    right: Any


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kind', ['replay', 'unrolls'])
def test_a_batch_has_the_fields_of_its_window_alone(name: str, kind: str) -> None:
    fields = (*WHERE, 'action/1', 'extras/value')
    experience: Any = Replay(Window(2, fields=fields), 50, 1, 8, 1.0)
    if kind == 'unrolls':
        experience = Queue(Window(**UNROLL, fields=fields))
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 5))
    table = TABLES[name].make(experience, streams.ROW_SPEC, 5, 0)
    feed(table, stream, 0, 4)
    table.observe(stream.at(4)[0])
    steps = unpacked(table.draw().samples).steps
    assert steps.reward == steps.discount == ()  # nothing is left of these
    assert set(steps.observation) == {'where'}  # a dict has no keys of what is left out
    assert set(steps.extras) == {'value'}
    discrete, continuous = steps.action  # a tuple keeps its positions
    assert discrete == ()
    assert len(continuous) == len(steps.step_type) == len(steps.mask)
    where = np.asarray(steps.observation['where'])
    lane, start = where[:, 0, 1], where[:, 0, 0]
    np.testing.assert_array_equal(continuous[:, 0], stream.action[1][start, lane])
    np.testing.assert_array_equal(steps.extras['value'][:, 0], stream.extras['value'][start, lane])


def test_nests_of_any_kind_lose_what_is_left_out() -> None:
    spec = streams.SPEC._replace(
        observation=Pair(
            OrderedDict(a=streams.SPEC.reward['own'], b={'c': streams.SPEC.reward['own']}),
            [streams.SPEC.reward['own'], streams.SPEC.reward['other']],
        )
    )
    rows = RowSpec(spec, streams.ACTION, ())
    *_, whole, action, extras = rows.unflatten(dict.fromkeys(rows.leaves, 1))
    assert whole == Pair(OrderedDict(a=1, b={'c': 1}), [1, 1])
    assert (action, extras) == ((1, 1), ())
    kept = {'observation/left/a': 1, 'observation/right/1': 2}
    reward, discount, observation, action, extras = rows.unflatten(kept)
    assert observation == Pair(OrderedDict(a=1), [(), 2])
    assert isinstance(observation.left, OrderedDict)
    assert reward == discount == action == extras == ()


def num_bytes(table: DeviceTable) -> int:
    return sum(leaf.nbytes for leaf in jax.tree_util.tree_leaves(table.state.rows))


@pytest.mark.parametrize('window', [Window(), Window(**UNROLL)], ids=['ring', 'unrolls'])
def test_what_no_batch_has_is_not_stored(window: Window) -> None:
    few = Window(window.length, window.period, window.cross_episodes, fields=WHERE)
    make = Queue if window.cross_episodes else lambda window: Replay(window, 1000, 1, 1, 1.0)
    # A row has the steps' type and version, and of the leaves: two rewards, a discount, an image
    # of six bytes in two words, two numbers that name the row, two actions and 101 extras.
    device = [num_bytes(DeviceTable(make(each), streams.ROW_SPEC, 1, 0)) for each in (few, window)]
    assert device[0] / device[1] == pytest.approx(4 / (2 + 4 + 2 + 2 + 3 + 101), abs=0.01)
    tables = [
        InProcessTable(experience, streams.ROW_SPEC, 1, 0).nbytes
        for experience in (make(few), {'a': make(few), 'b': make(window)}, make(window))
    ]
    assert tables[0] / tables[1] == pytest.approx(4 / 114, abs=0.001)
    assert tables[1] == tables[2]  # another table has it all


def test_an_item_of_reverb_has_the_columns_of_its_fields_alone() -> None:
    few, all_of_them = Queue(Window(fields=WHERE), 1), Queue(Window(), 1)

    def columns(experience: Any, table: Any) -> int:
        rows = RowLayout(experience, streams.ROW_SPEC, np.zeros(1, np.int32))
        history = {'before': 'xx', 'after': 'xx', 'extras/state/0': 'xx'}
        return len(ItemLayout(rows, table).columns(history, 1, is_open=False))

    assert columns(few, few) == columns({'a': few, 'b': all_of_them}, few) == 2
    assert columns(all_of_them, all_of_them) == 3


@pytest.mark.parametrize('name', NAMES)
def test_unknown_fields_are_refused_with_the_known_ones(name: str) -> None:
    def refused(words: str, **fields: Any) -> None:
        with pytest.raises(ValueError, match=words):
            TABLES[name].make(Queue(Window(**fields), 1), streams.ROW_SPEC, 1, 0)

    refused(r"Window.fields must name .*'extras/value'.* got 'pixels'", fields=('pixels',))
    refused(
        r"Window.ends must name leaves of a row, \['observation/where'\], got 'reward'",
        fields=WHERE, ends=('reward',),
    )  # fmt: skip


def test_no_fields_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r'Window.fields must name at least one field, got \(\)'):
        Window(fields=())


@pytest.mark.parametrize('field', ['reward', 'discount'])
def test_a_window_without_rewards_is_not_folded(field: str) -> None:
    known = sample_steps()
    with pytest.raises(ValueError, match=f'steps must have {field} to be folded: Window.fields'):
        fold(known._replace(**{field: ()}), 0.9)


def sample_steps() -> Any:
    table = InProcessTable(Queue(Window(), 1), streams.ROW_SPEC, 1, 0)
    feed(table, streams.make_stream(streams.step_types([[5]], 3)), 0, 3)
    return jax.tree_util.tree_map(jnp.asarray, unpacked(table.draw().samples).steps)
