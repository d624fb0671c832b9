"""With the fast path off the numbers are the same."""

import jax
import numpy as np
import pytest

import culmen
from culmen.agents import dqn
from culmen.agents import impala
from culmen.agents import sac
from culmen.components import dispatch
from culmen.components.dispatch import Packed
from culmen.components.dispatch import pack
from culmen.launchers import compiled

RUNS = {
    'dqn': (dqn.DQN(min_replay_size=50, batch_size=16), 'bsuite/catch/0', {}),
    'several updates a call': (
        dqn.DQN(min_replay_size=50, batch_size=16, samples_per_insert=32.0),
        'bsuite/catch/0',
        {'updates_per_call': 2},
    ),
    'impala': (impala.IMPALA(), 'bsuite/catch/0', {'num_environments': 4}),
    'sac in threads': (
        sac.SAC(hidden_sizes=(256, 256), batch_size=256, min_replay_size=280),
        'gymnasium/Pendulum-v1',
        {},
    ),
}


def train(agent, environment, run=culmen.run, **changes):
    budget = {'max_actor_steps': 300, **changes}
    evaluation = culmen.Evaluation(every=None, episodes=2)
    experiment = culmen.Experiment(agent, environment, evaluation=evaluation, **budget)
    return run(experiment, progress=False)


def difference(fast, plain):
    """The largest difference of two parameters, as a share of the largest of its leaf."""
    leaves = zip(
        jax.tree_util.tree_leaves(fast.params), jax.tree_util.tree_leaves(plain.params), strict=True
    )
    return max(float(np.abs(a - b).max() / (np.abs(a).max() + 1e-9)) for a, b in leaves)


def check(agent, environment, tolerance, **changes):
    fast = train(agent, environment, **changes)
    with dispatch.plainly():
        plain = train(agent, environment, **changes)
    for count in ('actor_steps', 'learner_steps', 'episodes'):
        assert fast.summary[count] == plain.summary[count]
    assert fast.summary['learner_steps'] > 0
    assert difference(fast, plain) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_one_update_has_the_same_numbers(name):
    """But for rounding: XLA fuses other operations where leaves are joined.

    An optimiser that divides by the root of a mean of squares turns the rounding of a gradient near
    zero into a share of a whole step, and the first step of a bias is as large as the bias.
    Processors round differently: where one has 0, another has 2e-6. A learning rate that is 1%
    larger gives 1e-2.
    """
    agent, environment, changes = RUNS[name]
    check(agent, environment, 1e-5, max_learner_steps=2, **changes)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['dqn', 'sac in threads'])
def test_a_run_has_the_same_counts_and_nearly_the_same_parameters(name):
    agent, environment, changes = RUNS[name]
    check(agent, environment, 1e-3, **changes)


@pytest.mark.slow
def test_a_compiled_run_has_the_same_numbers():
    """Only the executor changes, which rounds no other way."""
    agent = dqn.DQN(min_replay_size=50, batch_size=16)
    check(agent, 'jax/catch', 1e-6, run=compiled.run)


def test_nothing_is_joined_without_it():
    tree = {'w': np.ones((2, 3), np.float32), 'b': np.ones(3, np.float32)}
    assert len(pack(tree).arrays) == 1
    with dispatch.plainly():
        packed = pack(tree)
    assert isinstance(packed, Packed)
    assert len(packed.arrays) == 2
    for one, other in zip(*map(jax.tree_util.tree_leaves, (packed.unpack(), tree)), strict=True):
        np.testing.assert_array_equal(one, other)
