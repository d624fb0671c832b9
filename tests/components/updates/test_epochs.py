"""Epochs of minibatches: each row once an epoch, in another order each time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import updates
from culmen.core.errors import SettingError


def run(key=0, num=6, epochs=3, minibatches=2):
    def descend(carry, minibatch):
        seen, total = carry
        total = total + jnp.sum(minibatch['x'])
        return (seen + 1, total), {'rows': minibatch['x'], 'pairs': minibatch['y']}

    batch = {'x': np.arange(num), 'y': np.stack([np.arange(num), -np.arange(num)], axis=1)}
    return updates.epochs_of_minibatches(
        descend,
        (jnp.int32(0), jnp.int32(0)),
        batch,
        jax.random.key(key),
        epochs,
        minibatches,
        'steps',
    )


def test_each_row_is_descended_on_once_an_epoch():
    (seen, total), each = run()
    assert (int(seen), int(total)) == (6, 3 * 15)
    rows = np.asarray(each['rows']).reshape(3, 6)
    assert [sorted(epoch) for epoch in rows.tolist()] == [list(range(6))] * 3
    assert len({tuple(epoch) for epoch in rows.tolist()}) == 3  # each epoch has its own order
    np.testing.assert_array_equal(np.asarray(each['pairs'])[..., 1], -np.asarray(each['rows']))


def test_orders_are_of_the_key():
    again, other = run()[1]['rows'], run(key=1)[1]['rows']
    np.testing.assert_array_equal(run()[1]['rows'], again)
    assert not np.array_equal(again, other)


def test_minibatches_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(SettingError, match='num_minibatches must divide the 6 steps .* got 4'):
        run(minibatches=4)
