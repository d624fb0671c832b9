"""Every agent that learns from its own steps runs in the compiled loop, as it is."""

import jax
import numpy as np
import pytest

from culmen.components.counts import wide
from culmen.core.experience import recorded
from culmen.core.types import Lanes
from culmen.environment_loops.compiled import CompiledEvaluator
from culmen.environment_loops.compiled import CompiledLoop
from tests.agents import registry
from tests.agents.toys import Toy

ROWS = pytest.mark.parametrize(
    'row',
    registry.one_of_each_family_and_kind(
        [row for row in registry.AGENTS if not recorded(row.experience)]
    ),
    ids=lambda row: row.name,
)


@ROWS
def test_an_agent_runs_compiled(row):
    environment = Toy(row.spec)
    parts = row.agent.build(row.spec)
    loop = CompiledLoop(environment, parts, Lanes(np.arange(2, dtype=np.int32), 2))
    carry = loop.begin(0)
    before = jax.tree_util.tree_map(np.array, loop.variables(carry))
    ticks = 0
    for _ in range(3):
        carry, report = loop.run(carry, 20)
        ticks += report.ticks
    assert ticks == 60
    assert wide.as_int(carry.learner_steps) >= 2
    assert loop.num_compilations == 1
    assert int(carry.non_finite) == 0
    assert not np.asarray(loop.tables.faults(carry.tables.items)).any()
    assert all(np.isfinite(value) for value in carry.metrics.values())
    assert [episode.episode_return for _, episode in report.episodes()] == [6.0] * 10
    after = loop.variables(carry)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (before, after)), strict=True):
        assert a.shape == b.shape
        assert np.isfinite(b).all()
    assert not all(
        np.array_equal(a, b)
        for a, b in zip(*map(jax.tree_util.tree_leaves, (before, after)), strict=True)
    )
    evaluator = CompiledEvaluator(parts.evaluator, environment, episodes=3)
    result = evaluator.evaluate(after, 0, 0, 0)
    assert result.returns.tolist() == [6.0] * 3
    assert result.lengths.tolist() == [3] * 3
