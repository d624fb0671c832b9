"""Every agent's update on random valid windows: finite, and blind to what is not real."""

import jax
import numpy as np
import pytest

from culmen.core import experience
from culmen.core.types import LAST
from tests.agents import registry
from tests.agents import streams
from tests.agents import subject

ROWS = pytest.mark.parametrize('row', registry.AGENTS, ids=lambda row: row.name)


@ROWS
def test_the_samples_hold_what_the_other_tests_are_about(row):
    """Terminations, truncations, and padding where windows are longer than one transition."""
    drawn = subject.of(row).samples(6)
    steps = [each.steps for sample in drawn for each in streams.of_tables(sample)]
    mask = np.concatenate([s.mask for s in steps])
    last = np.concatenate([s.step_type[:, 1:] for s in steps]) == LAST
    discount = np.concatenate([s.discount[:, 1:] for s in steps])
    assert (mask & last & (discount == 0)).any()
    assert (mask & last & (discount == 1)).any()
    window = next(iter(experience.tables(row.experience).values())).window
    assert (~mask).any() == (window.length > 1)


@ROWS
def test_updates_are_finite_and_change_the_parameters(row):
    agent = subject.of(row)
    state = agent.state
    for i, sample in enumerate(agent.samples(6)):
        state, metrics, priorities = agent.update(state, sample, i, i, i)
        for leaf in jax.tree_util.tree_leaves((state, metrics, priorities)):
            assert np.isfinite(leaf).all()
        if priorities is not None:
            assert (np.asarray(priorities) >= 0).all()
    after = agent.parts.learner.variables(state)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (agent.params, after)), strict=True):
        assert (np.asarray(a) != np.asarray(b)).any()


@ROWS
def test_an_update_depends_on_its_sample(row):
    agent = subject.of(row)
    params = [
        jax.tree_util.tree_leaves(agent.update(agent.state, sample)[0])
        for sample in agent.samples(2)
    ]
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*params, strict=True))


@ROWS
def test_padding_contributes_nothing(row):
    """Any numbers under a False mask give the same update, bit for bit."""
    window = next(iter(experience.tables(row.experience).values())).window
    if window.length == 1:
        pytest.skip('its windows have no padding')
    agent = subject.of(row)
    padded = 0
    for i, sample in enumerate(agent.samples(6)):
        padded += sum((~np.asarray(each.steps.mask)).sum() for each in streams.of_tables(sample))
        changed = streams.map_steps(under_the_mask, sample)
        streams.assert_trees_equal(
            agent.update(agent.state, sample, i), agent.update(agent.state, changed, i)
        )
    assert padded > 0


def under_the_mask(steps):
    """Steps with other numbers wherever no real transition reads them."""
    generator = np.random.default_rng(0)
    mask = np.asarray(steps.mask)
    # What came with time step t + 1 belongs to transition t; its observation also starts the next.
    to = np.concatenate([np.zeros_like(mask[:, :1]), ~mask], axis=1)
    start = np.concatenate([mask, np.zeros_like(mask[:, :1])], axis=1)

    def other(leaf, where):
        leaf = np.asarray(leaf)
        if leaf.shape[1] != where.shape[1]:
            return leaf  # kept at the ends or at the start only: always real
        where = where.reshape(where.shape + (1,) * (leaf.ndim - 2))
        if leaf.dtype.kind == 'f':
            return np.where(where, generator.normal(size=leaf.shape), leaf).astype(leaf.dtype)
        if leaf.dtype.kind == 'b':
            return np.where(where, True, leaf)
        return np.where(where, leaf + 1, leaf).astype(leaf.dtype)

    def nest(tree, where):
        return jax.tree_util.tree_map(lambda leaf: other(leaf, where), tree)

    return steps._replace(
        reward=nest(steps.reward, to),
        discount=nest(steps.discount, to),
        observation=nest(steps.observation, to & ~start),
        action=nest(steps.action, ~mask),
        extras=nest(steps.extras, ~mask),
    )
