"""An environment of players as one of a single player: when it moves, what it is paid, and when it ends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.agents import dqn
from culmen.components import environments
from culmen.components.environments import functional
from culmen.components.environments import wrappers
from culmen.components.environments.functional import DmEnvironment
from culmen.components.environments.functional import Functional
from culmen.core.specs import EnvironmentSpec
from culmen.launchers import compiled
from culmen.launchers import local

PLAYERS = ('one', 'two')
END = 6


@functools.cache
def turns(leaves_at=99, may_have_none=False):
    """`one` moves at times 2 and 4. It gets t at time t, with discounts of 1/2, until the end at time 6."""

    def observe(state):
        time, has_turns = state
        mine = has_turns & ((time == 2) | (time == 4))
        fields = {'time': time, 'present': time < leaves_at}
        return {
            'one': {**fields, 'to_move': mine},
            'two': {**fields, 'present': jnp.bool_(True), 'to_move': ~mine},
        }

    def begin(key):
        state = jnp.int32(0), jax.random.bernoulli(key) | (not may_have_none)
        return state, observe(state)

    def advance(key, state, action):
        del key
        time, has_turns = state
        # An action of `one` at its turn moves the time on by itself: 1 as any, 2 by two.
        chosen = jnp.where(observe(state)['one']['to_move'], action['one'], 0)
        state = time + 1 + chosen, has_turns
        reward = dict.fromkeys(PLAYERS, state[0].astype(jnp.float32))
        half = dict.fromkeys(PLAYERS, 0.5)
        return state, functional.Outcome(observe(state), reward, state[0] >= END, discount=half)

    seen = {'time': specs.Array((), np.int32)}
    seen |= {name: specs.Array((), bool) for name in ('present', 'to_move')}
    spec = EnvironmentSpec(
        dict.fromkeys(PLAYERS, seen),
        dict.fromkeys(PLAYERS, specs.DiscreteArray(3, np.int32)),
        dict.fromkeys(PLAYERS, functional.REWARD),
        dict.fromkeys(PLAYERS, functional.DISCOUNT),
    )
    return Functional(spec, begin, advance)


KINDS = {
    'in Python': lambda inner: wrappers.OnePlayer(DmEnvironment(inner, 0), 'one', 0),
    'in JAX': lambda inner: wrappers.one_player(DmEnvironment(inner, 0), 'one', 0),
}


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


def told(timestep):
    reward, discount = timestep.reward, timestep.discount
    return timestep.step_type.name, int(timestep.observation), reward, discount


def test_a_step_lasts_to_the_next_turn_and_is_paid_for_all_of_it(make):
    environment = make(turns())
    assert environment.observation_spec().name is None  # the field alone, without those of turns
    for _ in range(2):
        # Before the first turn: 1 + 2 / 2, paid with the first step.
        assert told(environment.step(0)) == ('FIRST', 2, None, None)
        assert told(environment.step(0)) == ('MID', 4, 2 + (3 + 4 / 2), 1 / 4)
        assert told(environment.step(0)) == ('LAST', 6, 5 + 6 / 2, 0.0)


def test_the_players_own_action_is_what_moves_it(make):
    environment = make(turns())
    environment.reset()
    assert told(environment.step(1)) == ('MID', 4, 2 + 4, 1 / 2)
    assert told(environment.step(2)) == ('LAST', 7, 7, 0.0)


def test_an_episode_ends_when_the_player_leaves(make):
    environment = make(turns(leaves_at=5))
    for _ in range(2):
        assert told(environment.step(0))[:2] == ('FIRST', 2)
        assert told(environment.step(0))[:2] == ('MID', 4)
        assert told(environment.step(0)) == ('LAST', 5, 5, 1 / 2)


def test_an_episode_without_a_turn_is_passed_over(make):
    environment = make(turns(may_have_none=True))
    for _ in range(8):
        assert told(environment.reset()) == ('FIRST', 2, None, None)
        assert told(environment.step(0)) == ('MID', 4, 2 + (3 + 4 / 2), 1 / 4)


@pytest.mark.parametrize('name', ['jax/tic_tac_toe', 'open_spiel/tic_tac_toe'])
def test_opponents_take_every_legal_action_and_no_other(name):
    if name.startswith('open_spiel'):
        pytest.importorskip('pyspiel')
    environment = environments.make(name, 3, player='player_1')
    begun = set()
    for _ in range(60):
        timestep = environment.reset()
        begun.add(int(np.flatnonzero(~timestep.observation['legal_actions'])[0]))
        free = 8
        while not timestep.last():  # an illegal move of the opponent would end the game early
            assert timestep.observation['legal_actions'].sum() == free
            free -= 2
            move = np.flatnonzero(timestep.observation['legal_actions'])[0]
            timestep = environment.step(np.int32(move))
        assert free <= (4 if float(timestep.reward) else 0)
    assert begun == set(range(9))


def test_what_it_needs_is_said():
    with pytest.raises(ValueError, match=r'jax/catch: player must be left out .*, got .player_0.'):
        environments.make('jax/catch', 0, player='player_0')
    with pytest.raises(ValueError, match="unknown player 'player_2'.*player_1"):
        environments.make('jax/tic_tac_toe', 0, player='player_2')


@pytest.mark.slow
@pytest.mark.parametrize(
    'run',
    [local.run, pytest.param(compiled.run, marks=pytest.mark.deep)],
    ids=['local', 'compiled'],
)
def test_an_agent_of_one_reward_plays(run):
    experiment = culmen.Experiment(
        agent=dqn.DQN(hidden_sizes=(8,), min_replay_size=20, replay_capacity=100, batch_size=8),
        environment=culmen.environment('jax/tic_tac_toe', player='player_0'),
        max_actor_steps=60,
        num_environments=2,
        evaluation=culmen.Evaluation(episodes=2),
    )
    assert run(experiment).summary['learner_steps'] > 0
