"""Culmen's own games of two players: who wins with best play, and the rules of turns and illegal moves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import dqn
from culmen.agents import ppo
from culmen.components.environments import own
from culmen.components.environments.checking import check_environment
from culmen.components.environments.functional import DmEnvironment
from culmen.core.actions import allowed_choices
from culmen.core.actions import check_legal_actions
from culmen.core.errors import SettingError
from culmen.core.players import check_players
from culmen.core.players import may_move
from culmen.core.players import player_spec
from culmen.core.players import players
from culmen.core.specs import make_environment_spec

FIRST_PLAYER, SECOND_PLAYER = 'player_0', 'player_1'


def play(environment, policies, seed=0):
    """One game of policies by player, (its observation, generator) -> action. Returns: (rewards, movers)."""
    generator = np.random.default_rng(seed)
    lane = DmEnvironment(environment, seed)
    timestep = lane.reset()
    total = dict.fromkeys(policies, 0.0)
    movers = []
    while not timestep.last():
        movers += [name for name in policies if may_move(timestep.observation[name])]
        action = {
            name: np.int32(policy(timestep.observation[name], generator))
            for name, policy in policies.items()
        }
        timestep = lane.step(action)
        for name in total:
            total[name] += float(timestep.reward[name])
    assert sum(total.values()) == 0.0
    return total, movers


def at_random(observation, generator):
    legal = np.flatnonzero(observation['legal_actions'])
    return generator.choice(legal) if legal.size else 0


# Tic-tac-toe and a small connect four, by rules written anew: a board is a string of '.', 'x' and 'o'.


def winner(board, rows, columns, in_line):
    for row in range(rows):
        for column in range(columns):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                places = [(row + i * down, column + i * right) for i in range(in_line)]
                if all(0 <= r < rows and 0 <= c < columns for r, c in places):
                    stones = {board[r * columns + c] for r, c in places}
                    if len(stones) == 1 and stones != {'.'}:
                        return stones.pop()
    return None


def moves(board, rows, columns, falls):
    """(action, place) of all legal moves."""
    if not falls:
        return [(place, place) for place, stone in enumerate(board) if stone == '.']
    free = [(c, [r for r in range(rows) if board[r * columns + c] == '.']) for c in range(columns)]
    return [(c, max(empty) * columns + c) for c, empty in free if empty]


def solver(rows, columns, in_line, falls):
    @functools.cache
    def value(board, stone):
        """The value to who moves, and a best action."""
        best = -2, None
        for action, place in moves(board, rows, columns, falls):
            after = board[:place] + stone + board[place + 1 :]
            if winner(after, rows, columns, in_line):
                return 1, action
            reply = -value(after, 'o' if stone == 'x' else 'x')[0] if '.' in after else 0
            best = max(best, (reply, action), key=lambda pair: pair[0])
        return best

    def policy(observation, generator):
        del generator
        if not observation['to_move']:
            return 0
        mine, other = (observation['observation'][..., i].ravel() > 0 for i in (0, 1))
        stones = 'xo' if mine.sum() == other.sum() else 'ox'
        board = ''.join(
            stones[0] if a else stones[1] if b else '.' for a, b in zip(mine, other, strict=True)
        )
        return value(board, stones[0])[1]

    return value('.' * rows * columns, 'x')[0], policy


GAMES = {
    'tic_tac_toe': (own.tic_tac_toe(), (3, 3, 3, False), 0),
    'connect_three': (own.connect_four(rows=3, columns=4, in_line=3), (3, 4, 3, True), 1),
}


@pytest.mark.parametrize('name', GAMES)
def test_best_play_on_a_board_has_the_games_value(name):
    environment, rules, known = GAMES[name]
    value, best = solver(*rules)
    assert value == known
    rewards, movers = play(environment, {FIRST_PLAYER: best, SECOND_PLAYER: best})
    assert rewards[FIRST_PLAYER] == value
    assert movers == [FIRST_PLAYER, SECOND_PLAYER] * (len(movers) // 2) + [FIRST_PLAYER] * (
        len(movers) % 2
    )
    for seed in range(5):
        assert (
            play(environment, {FIRST_PLAYER: best, SECOND_PLAYER: at_random}, seed)[0][FIRST_PLAYER]
            >= value
        )


def test_nim_is_won_by_the_sum_of_its_heaps():
    def best(observation, generator):
        heaps = observation['observation'].argmax(-1)
        total = np.bitwise_xor.reduce(heaps)
        for heap, size in enumerate(heaps):
            if size ^ total < size:
                return heap * 5 + size - (size ^ total) - 1
        return at_random(observation, generator)

    environment = own.nim(heaps=(3, 4, 5))
    for seed in range(5):
        assert (
            play(environment, {FIRST_PLAYER: best, SECOND_PLAYER: at_random}, seed)[0][FIRST_PLAYER]
            == 1.0
        )
    even = own.nim(heaps=(5, 1, 4))  # 5 ^ 1 ^ 4 = 0: who begins has lost
    assert play(even, {FIRST_PLAYER: best, SECOND_PLAYER: best})[0][FIRST_PLAYER] == -1.0


def test_the_mixtures_of_matrix_games_are_best():
    for environment, mixture, value in (
        (own.matching_pennies(), (0.5, 0.5), 0.0),
        (own.biased_game(), (0.4, 0.6), 0.2),
    ):
        payoff = np.zeros((2, 2))
        for row in range(2):
            for column in range(2):
                choose = {
                    FIRST_PLAYER: lambda *_, row=row: row,
                    SECOND_PLAYER: lambda *_, column=column: column,
                }
                payoff[row, column] = play(environment, choose)[0][FIRST_PLAYER]
        np.testing.assert_allclose(np.asarray(mixture) @ payoff, value, atol=1e-6)
        np.testing.assert_allclose(payoff @ np.asarray(mixture), value, atol=1e-6)


def test_players_see_the_round_before_their_own_choice_first():
    environment = DmEnvironment(
        own.biased_game(payoff=((1.0, 0.0, 2.0), (0.0, 1.0, 3.0)), rounds=2), 0
    )
    environment.reset()
    seen = environment.step({FIRST_PLAYER: np.int32(1), SECOND_PLAYER: np.int32(2)}).observation
    np.testing.assert_array_equal(seen[FIRST_PLAYER], [0, 1, 0, 0, 1])
    np.testing.assert_array_equal(seen[SECOND_PLAYER], [0, 0, 1, 0, 1])


@pytest.mark.parametrize('name', ['tic_tac_toe', 'connect_four', 'nim'])
def test_an_illegal_move_loses_and_who_waits_may_give_any_action(name):
    environment = DmEnvironment(own.MAKERS[name](), 0)
    timestep = environment.reset()
    count = len(timestep.observation[FIRST_PLAYER]['legal_actions'])
    assert not timestep.observation[SECOND_PLAYER]['legal_actions'].any()
    legal = int(np.argmax(timestep.observation[FIRST_PLAYER]['legal_actions']))
    for step in range(100):
        mover = timestep.observation[FIRST_PLAYER]['to_move']
        name_of = FIRST_PLAYER if mover else SECOND_PLAYER
        other = SECOND_PLAYER if mover else FIRST_PLAYER
        mask = timestep.observation[name_of]['legal_actions']
        if not mask.all():
            illegal = int(np.argmin(mask))
            timestep = environment.step({name_of: np.int32(illegal), other: np.int32(legal)})
            break
        timestep = environment.step({name_of: np.int32(legal), other: np.int32(count - 1)})
        assert not timestep.last(), step
    assert timestep.last()
    assert (float(timestep.reward[name_of]), float(timestep.reward[other])) == (-1.0, 1.0)
    assert all(float(each) == 0.0 for each in timestep.discount.values())


class TestSpecs:
    spec = make_environment_spec(DmEnvironment(own.tic_tac_toe(), 0))

    def test_players_have_their_own(self):
        assert players(self.spec) == (FIRST_PLAYER, SECOND_PLAYER)
        assert players(player_spec(self.spec, FIRST_PLAYER)) == ()
        assert player_spec(self.spec, SECOND_PLAYER).action.num_values == 9
        with pytest.raises(SettingError, match=r"player must be one of .*, got 'x'"):
            player_spec(self.spec, 'x')
        assert players(make_environment_spec(DmEnvironment(own.catch(), 0))) == ()

    def test_legal_actions_are_by_player(self):
        check_legal_actions(self.spec)
        timestep = DmEnvironment(own.tic_tac_toe(), 0).reset()
        batch = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf)[None], timestep.observation)
        first, second = allowed_choices(self.spec.action, batch)
        # Who has no legal action may choose any: it is ignored.
        assert first.all()
        assert second.all()

    def test_fields_of_turns_are_bools(self):
        check_players(self.spec)
        observation = {name: {**each} for name, each in self.spec.observation.items()}
        observation[SECOND_PLAYER]['to_move'] = self.spec.reward[SECOND_PLAYER]
        with pytest.raises(
            SettingError, match=r'observation/player_1/to_move must be a bool\[\], got float32'
        ):
            check_players(self.spec._replace(observation=observation))


@pytest.mark.parametrize('agent', [ppo.PPO(), dqn.DQN()])
def test_agents_of_one_reward_refuse_players(agent):
    with pytest.raises(
        ValueError, match=r'(PPO|DQN) needs one reward, float32\[\], got .*player_0'
    ):
        agent.build(TestSpecs.spec)


def test_bad_games_are_refused():
    with pytest.raises(ValueError, match=r'payoff must have rows of one length'):
        own.biased_game(payoff=((1.0,), (1.0, 2.0)))
    with pytest.raises(ValueError, match=r'heaps must have one heap at least'):
        own.nim(heaps=())


class LongTurns(DmEnvironment):
    """Players whose turns are told by a number."""

    def observation_spec(self):
        spec = {name: {**each} for name, each in super().observation_spec().items()}
        spec[FIRST_PLAYER]['to_move'] = self.reward_spec()[FIRST_PLAYER]
        return spec


def test_check_environment_knows_players():
    report = check_environment('jax/tic_tac_toe', 60)
    assert report.terminations > 3
    with pytest.raises(ValueError, match=r'observation/player_0/to_move must be a bool\[\]'):
        check_environment(LongTurns(own.tic_tac_toe(), 0))
