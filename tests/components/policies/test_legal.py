"""Legal actions: what is forbidden is never the best, and where nothing is legal everything may be chosen."""

import jax
import numpy as np
import pytest

from culmen.components.policies import mask_illegal
from culmen.components.policies import uniform_actions
from culmen.core.specs import allowed_actions
from tests.agents import registry
from tests.agents import subject

ROWS = ('dqn_legal_actions', 'r2d2_all_options', 'ppo_all_options', 'bc_legal_actions')
LEAST = np.finfo(np.float32).min


def observe(*masks):
    return {'vector': np.zeros((len(masks), 4), np.float32), 'legal_actions': np.array(masks, bool)}


def test_values_of_what_is_illegal_are_the_least_unless_nothing_is_legal():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    masked = mask_illegal(values, observe([True, False, True], [False] * 3))
    np.testing.assert_array_equal(masked, [[0, LEAST, 2], [3, 4, 5]])
    assert allowed_actions(observe([False] * 3, [False, True, False])).tolist() == [
        [True, True, True], [False, True, False],
    ]  # fmt: skip
    assert allowed_actions({'vector': values}) is None


def test_where_nothing_is_legal_a_random_action_is_any():
    keys = jax.random.split(jax.random.key(0), 300)
    observation = observe(*[[False] * 3] * 300)
    drawn = uniform_actions('WarmedUp', registry.legal_spec(), observation, keys)
    assert np.unique(drawn).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    'row', [row for row in registry.AGENTS if row.name in ROWS], ids=lambda row: row.name
)
def test_an_agent_learns_from_steps_without_a_legal_action(row):
    agent = subject.of(row)
    (sample,) = agent.samples(1)

    def forbid(steps):
        legal = np.zeros_like(np.asarray(steps.observation['legal_actions']))
        discount = np.ones_like(np.asarray(steps.discount))  # cut off, not over
        return steps._replace(
            observation={**steps.observation, 'legal_actions': legal}, discount=discount
        )

    given = sample._replace(steps=forbid(sample.steps))
    _, metrics, _ = agent.update(agent.state, given)
    assert all(np.isfinite(value) and abs(value) < 1e6 for value in metrics.values()), metrics
