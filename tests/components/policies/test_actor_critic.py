"""Policies that draw from a distribution, or take its mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import policies
from culmen.components.networks import ActorCriticNetwork
from culmen.components.networks import Categorical
from culmen.components.networks import PolicyAndValue
from culmen.components.networks import make_actor_critic_network
from culmen.core.types import FIRST
from culmen.core.types import MID
from culmen.core.types import Lanes
from culmen.core.types import Sample
from culmen.core.types import Steps
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams

pytestmark = pytest.mark.slow

LANES = 2_000


def make(spec, core='none', bias=None):
    """(actor, evaluator, params); `bias` is added to the last layer of the policy."""
    network = make_actor_critic_network('', spec, (8,), core=core, core_size=5)
    extras = lambda policy, drawn: {'log_prob': policy.log_prob(drawn)}
    params = jax.jit(network.init)(jax.random.key(0))
    if bias is not None:
        bias = jnp.asarray(bias, jnp.float32)
        params = jax.tree_util.tree_map(lambda x: x + bias if x.shape == bias.shape else x, params)
    return policies.sampling(network, spec, extras), policies.likeliest(network, spec), params


def act(core, params, step_type=MID, count=0, state=None, lanes=LANES):
    state = core.init(jax.random.key(0), streams.lanes(lanes)) if state is None else state
    observation = np.zeros((lanes, 4), np.float32)
    timestep = TimeStep(np.full(lanes, step_type, np.int32), None, None, observation)
    return core.select_action(params, timestep, state, streams.context(count))


def test_actions_are_drawn_with_their_probabilities():
    probabilities = np.array([0.1, 0.3, 0.6])
    actor, evaluator, params = make(registry.discrete_spec(), bias=np.log(probabilities))
    action, _, extras = act(actor, params)
    share = np.bincount(action, minlength=3) / LANES
    np.testing.assert_allclose(share, probabilities, atol=0.04)
    np.testing.assert_allclose(extras['log_prob'], np.log(probabilities)[action], rtol=1e-4)
    assert set(extras) == {'log_prob'}
    assert (act(actor, params, count=1)[0] != action).any()
    action, _, extras = act(evaluator, params)
    assert (action == 2).all()
    assert extras == ()


def test_a_continuous_action_is_clipped_and_what_was_drawn_is_kept():
    spec = registry.continuous_spec(2)
    actor, evaluator, params = make(spec)  # a standard normal around 0, in units of the box
    action, _, extras = act(actor, params)
    assert (np.abs(action) <= 1).all()
    np.testing.assert_allclose(action, np.clip(extras['drawn'], -1, 1))
    assert np.mean(np.abs(extras['drawn']) > 1) == pytest.approx(0.317, abs=0.03)
    np.testing.assert_array_equal(act(evaluator, params)[0], np.zeros((LANES, 2)))
    steps = Steps(
        None, None, None, None, action[:, None], {'drawn': extras['drawn'][:, None]}, None
    )
    np.testing.assert_array_equal(policies.drawn_actions(steps)[:, 0], extras['drawn'])
    assert policies.drawn_actions(steps._replace(extras={})) is steps.action


@pytest.mark.parametrize('kind', ['lstm', 'gru'])
def test_the_state_that_is_kept_is_the_one_that_entered_the_step(kind):
    actor, _, params = make(registry.discrete_spec(), core=kind)
    _, state, extras = act(actor, params, FIRST, lanes=3)
    for leaf in jax.tree_util.tree_leaves(extras['core_state']):
        np.testing.assert_array_equal(leaf, np.zeros((3, 5)))
    _, after, extras = act(actor, params, MID, state=state, lanes=3)
    streams.assert_trees_equal(extras['core_state'], state.core_state)
    _, _, extras = act(actor, params, FIRST, state=after, lanes=3)  # an episode begins
    for leaf in jax.tree_util.tree_leaves(extras['core_state']):
        np.testing.assert_array_equal(leaf, np.zeros((3, 5)))
    windows = jax.tree_util.tree_map(lambda x: x[:, None], {'core_state': after.core_state})
    steps = Steps(None, None, None, None, None, windows, None)
    streams.assert_trees_equal(policies.entering_state(steps), after.core_state)
    assert policies.entering_state(steps._replace(extras={})) == ()


def test_a_network_is_told_the_task_of_each_lane():
    network = ActorCriticNetwork(
        init=lambda key: (),
        initial_state=lambda batch_size: (),
        step=lambda params, tasked, state: (
            PolicyAndValue(Categorical(50.0 * jax.nn.one_hot(tasked.task, 3)), tasked.observation),
            state,
        ),
        unroll=lambda params, tasked, step_type, state: PolicyAndValue(
            Categorical(jnp.zeros((*tasked.task.shape, 3))), tasked.task
        ),
        num_tasks=3,
    )
    spec = registry.discrete_spec()
    lanes = Lanes(np.array([4, 5, 6, 1], np.int32), 7)
    timestep = TimeStep(np.full(4, MID, np.int32), None, None, np.zeros((4, 1), np.float32))
    for core in (
        policies.sampling(network, spec, lambda policy, drawn: {}),
        policies.likeliest(network, spec),
    ):
        state = core.init(jax.random.key(0), lanes)
        action, *_ = core.select_action((), timestep, state, streams.context(0))
        assert action.tolist() == [1, 2, 0, 1]
    steps = Steps(np.full((2, 3), MID, np.int32), None, None, np.zeros((2, 3, 1)), None, {}, None)
    sample = Sample(steps, None, None, None, np.array([5, 3], np.int32))
    given = policies.unrolled(network, (), sample).value
    assert given.tolist() == policies.tasks_of(network, sample).tolist() == [[2] * 3, [0] * 3]
