"""Acting by action values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components import policies
from culmen.components.networks import NO_ACTION
from culmen.components.networks import RecurrentNetwork
from culmen.components.networks import make_branches
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams

VALUES = jnp.array([1.0, 3.0, 2.0, 3.0])


def action_values(params, observation):
    board = observation['board'] if isinstance(observation, dict) else observation
    return params + jnp.zeros((board.shape[0], 1))


def act(core, lanes, observation, key=0, actor_steps=0, params=None, total=None):
    index = jnp.asarray(lanes, jnp.int32)
    state = core.init(jax.random.key(0), Lanes(index, total or len(lanes)))
    timestep = TimeStep(jnp.ones(len(lanes), jnp.int32), None, None, observation)
    context = Context(jax.random.key(key), jnp.int32(actor_steps), jnp.int32(0), jnp.int32(0))
    action, after, extras = core.select_action(
        VALUES[None] if params is None else params, timestep, state, context
    )
    assert jax.tree_util.tree_structure(after) == jax.tree_util.tree_structure(state)
    assert extras == ()
    assert action.dtype == jnp.int32
    return np.asarray(action)


def many(core, count=4000, **kwargs):
    return act(core, range(count), jnp.zeros((count, 1)), **kwargs)


def test_greedy_takes_the_first_of_the_best():
    np.testing.assert_array_equal(many(policies.greedy(action_values), 3), [1, 1, 1])


def test_epsilon_is_the_share_of_random_actions():
    actions = many(policies.epsilon_greedy(action_values, 0.4))
    shares = np.bincount(actions, minlength=4) / len(actions)
    np.testing.assert_allclose(shares, [0.1, 0.7, 0.1, 0.1], atol=0.03)


def test_branches_take_the_best_of_each_and_explore_all_together():
    action = {'move': specs.DiscreteArray(3), 'switches': specs.BoundedArray((1,), np.int8, 0, 1)}
    masks = {'move': specs.Array((3,), bool)}
    spec = registry.discrete_spec()
    spec = spec._replace(
        action=action, observation={'vector': spec.observation, 'legal_actions': masks}
    )
    branches = make_branches('DQN', spec)
    values = lambda params, seen: jnp.broadcast_to(
        jnp.array([[[9.0, 1.0, 2.0], [3.0, 4.0, 0.0]]]), (len(seen['vector']), 2, 3)
    )
    lanes = 6_000
    seen = {
        'vector': np.zeros((lanes, 4), np.float32),
        'legal_actions': {'move': np.broadcast_to([False, True, True], (lanes, 3))},
    }
    timestep = TimeStep(jnp.ones(lanes, jnp.int32), None, None, seen)
    for epsilon in (0.0, 0.4):
        core = policies.epsilon_greedy(values, epsilon, branches=branches)
        state = core.init(jax.random.key(0), Lanes(jnp.arange(lanes), lanes))
        taken, _, _ = core.select_action(None, timestep, state, streams.context(0))
        move, switch = np.asarray(taken['move']), np.asarray(taken['switches'])[:, 0]
        assert set(np.unique(move)) <= {1, 2} and set(np.unique(switch)) <= {0, 1}
        best = (move == 2) & (switch == 1)
        # With probability epsilon both are random, each of two values.
        np.testing.assert_allclose(best.mean(), 1 - epsilon + epsilon / 4, atol=0.02)
        np.testing.assert_allclose((move == 1).mean(), epsilon / 2, atol=0.02)
        both_wrong = (move == 1) & (switch == 0)
        np.testing.assert_allclose(both_wrong.mean(), epsilon / 4, atol=0.02)


def test_epsilon_follows_a_schedule_over_actor_steps():
    core = policies.epsilon_greedy(action_values, policies.linear_schedule(1.0, 0.0, 100))
    for steps, share in ((0, 0.25), (50, 0.625), (100, 1.0), (1000, 1.0)):
        assert np.mean(many(core, actor_steps=steps) == 1) == pytest.approx(share, abs=0.03)


def test_lanes_explore_unequally():
    # Horgan et al. 2018: epsilon ** (1 + 7 i / (N - 1)): 0.4 for lane 0, 0.4 ** 8 for the last.
    lanes = Lanes(jnp.arange(3), 3)
    np.testing.assert_allclose(policies.ape_x_exponents(7.0)(lanes), [1.0, 4.5, 8.0])
    core = policies.epsilon_greedy(action_values, 0.9, policies.ape_x_exponents(7.0))
    timestep = TimeStep(jnp.ones(2, jnp.int32), None, None, jnp.zeros((2, 1)))
    state = core.init(jax.random.key(0), Lanes(jnp.arange(2), 2))

    def of_call(key):
        context = Context(jax.random.key(key), jnp.int32(0), jnp.int32(0), jnp.int32(0))
        return core.select_action(VALUES[None], timestep, state, context)[0]

    first, last = np.mean(np.asarray(jax.vmap(of_call)(jnp.arange(300))) != 1, axis=0)
    assert first == pytest.approx(0.9 * 0.75, abs=0.1)
    assert last == pytest.approx(0.9**8 * 0.75, abs=0.1)


def test_a_lane_depends_on_itself_alone():
    core = policies.epsilon_greedy(action_values, 0.5)
    whole = many(core, 64)
    assert len(set(whole.tolist())) > 1
    for part in (range(0, 1), range(3, 20), range(20, 64)):
        np.testing.assert_array_equal(act(core, part, jnp.zeros((len(part), 1))), whole[list(part)])


def test_calls_differ_by_their_key():
    core = policies.epsilon_greedy(action_values, 1.0)
    assert (many(core, 64, key=0) != many(core, 64, key=1)).any()
    np.testing.assert_array_equal(many(core, 64, key=0), many(core, 64, key=0))


@pytest.mark.parametrize('epsilon', [0.0, 1.0])
def test_illegal_actions_are_never_taken(epsilon):
    legal = np.tile(np.array([True, False, True, False]), (2000, 1))
    observation = {'board': jnp.zeros((2000, 1)), 'legal_actions': jnp.asarray(legal)}
    cores = [policies.epsilon_greedy(action_values, epsilon)]
    cores += [policies.greedy(action_values)] if epsilon == 0 else []
    for core in cores:
        shares = np.bincount(act(core, range(2000), observation), minlength=4) / 2000
        # The best legal action is 2; at random both legal ones are equally likely.
        np.testing.assert_allclose(shares, [epsilon / 2, 0, 1 - epsilon / 2, 0], atol=0.04)


def test_masking_keeps_a_zero_discount_out():
    observation = {'legal_actions': jnp.array([False, False])}
    assert jnp.max(policies.mask_illegal(jnp.array([1.0, 2.0]), observation)) * 0.0 == 0.0


# With memory: the state counts the steps of an episode and adds up what was done and what was paid.


def step(params, inputs, state):
    seen = jnp.stack([inputs.previous_action.astype(jnp.float32), inputs.reward], axis=-1)
    return VALUES[None] + jnp.zeros((len(state), 1)), jnp.concatenate([state[:, :1] + 1, seen], -1)


COUNTING = RecurrentNetwork(
    init=None, initial_state=lambda batch_size: jnp.zeros((batch_size, 3)), step=step, unroll=None
)


def recurrent_ticks(core, step_types, rewards, epsilon_key=0):
    """Actions, extras and states of one lane, a tick after another."""
    state = core.init(jax.random.key(0), Lanes(jnp.arange(1), 1))
    given = []
    for tick, (step_type, reward) in enumerate(zip(step_types, rewards, strict=True)):
        timestep = TimeStep(
            jnp.array([step_type]), jnp.array([reward]), jnp.ones(1), jnp.zeros((1, 1))
        )
        key = jax.random.fold_in(jax.random.key(epsilon_key), tick)
        context = Context(key, jnp.int32(0), jnp.int32(0), jnp.int32(0))
        action, state, extras = core.select_action((), timestep, state, context)
        given.append((int(action[0]), extras, state))
    return given


def test_memory_starts_anew_at_first_and_knows_the_action_before():
    core = policies.recurrent_epsilon_greedy(COUNTING, 1.0, extras=lambda *given: {})
    ticks = recurrent_ticks(core, [FIRST, MID, LAST, FIRST, MID], [0.0, 2.0, 3.0, 0.0, 5.0])
    actions = [action for action, _, _ in ticks]
    assert len(set(actions)) > 1
    before = [NO_ACTION, *actions[:2], NO_ACTION, actions[3]]
    assert [int(extras['previous_action'][0]) for _, extras, _ in ticks] == before
    entered = [extras['core_state'][0].tolist() for _, extras, _ in ticks]
    after = [state.core_state[0].tolist() for _, _, state in ticks]
    assert after == [
        [1, before[0], 0],
        [2, before[1], 2],
        [3, before[2], 3],
        [1, -1, 0],
        [2, before[4], 5],
    ]
    assert entered == [[0, 0, 0], after[0], after[1], [0, 0, 0], after[3]]


def test_extras_of_values_know_the_best_legal_and_the_taken_action():
    kept = []
    core = policies.recurrent_epsilon_greedy(
        COUNTING, 0.5, extras=lambda *given: kept.append(given) or {'mine': given[0]}
    )
    state = core.init(jax.random.key(0), Lanes(jnp.arange(64), 64))
    legal = jnp.tile(jnp.array([True, False, True, False]), (64, 1))
    zeros = jnp.zeros(64)
    timestep = TimeStep(jnp.ones(64, jnp.int32), zeros, zeros, {'legal_actions': legal})
    context = Context(jax.random.key(3), jnp.int32(0), jnp.int32(0), jnp.int32(0))
    action, after, extras = core.select_action((), timestep, state, context)
    assert set(extras) == {'core_state', 'previous_action', 'mine'}
    values, best, taken = kept[0]
    np.testing.assert_array_equal(values, np.tile(VALUES, (64, 1)))  # as they are, illegal ones too
    assert (best == 2).all()
    np.testing.assert_array_equal(taken, action)
    np.testing.assert_array_equal(after.previous_action, action)
    assert set(action.tolist()) == {0, 2}
    assert core.select_action((), timestep, state, context)[0].tolist() == action.tolist()


def test_extras_of_values_without_memory():
    core = policies.epsilon_greedy(action_values, 0.5, extras=policies.values_that_acted)
    state = core.init(jax.random.key(0), Lanes(jnp.arange(64), 64))
    timestep = TimeStep(jnp.ones(64, jnp.int32), None, None, jnp.zeros((64, 1)))
    context = Context(jax.random.key(3), jnp.int32(0), jnp.int32(0), jnp.int32(0))
    action, _, extras = core.select_action(VALUES[None], timestep, state, context)
    np.testing.assert_array_equal(extras['best_q'], np.full(64, 3.0))
    np.testing.assert_array_equal(extras['q'], VALUES[action])
    assert set(extras['q'].tolist()) == {1.0, 2.0, 3.0}
    plain = policies.epsilon_greedy(action_values, 0.5)
    np.testing.assert_array_equal(
        plain.select_action(VALUES[None], timestep, state, context)[0], action
    )


def test_with_memory_lanes_explore_as_without():
    lanes = Lanes(jnp.arange(64), 64)
    exponents = policies.ape_x_exponents(3.0)
    plain = policies.epsilon_greedy(action_values, 0.7, exponents)
    recurrent = policies.recurrent_epsilon_greedy(COUNTING, 0.7, exponents)
    timestep = TimeStep(jnp.ones(64, jnp.int32), jnp.zeros(64), jnp.ones(64), jnp.zeros((64, 1)))
    context = Context(jax.random.key(5), jnp.int32(0), jnp.int32(0), jnp.int32(0))
    given = [
        core.select_action(VALUES[None], timestep, core.init(jax.random.key(0), lanes), context)
        for core in (plain, recurrent)
    ]
    np.testing.assert_array_equal(given[0][0], given[1][0])
    assert given[1][2] == ()  # nothing is kept where nobody asks
