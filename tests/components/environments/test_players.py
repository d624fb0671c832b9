"""Games of OpenSpiel, PettingZoo and Pgx: known lines, who gets what, players that leave, refusals."""

import sys

import numpy as np
import pytest

from culmen.components import environments
from culmen.core.errors import SettingError
from culmen.core.players import may_move
from culmen.core.players import players
from culmen.core.specs import make_environment_spec

TIC_TAC_TOE = ('open_spiel/tic_tac_toe', 'pettingzoo/classic/tictactoe_v3', 'pgx/tic_tac_toe')
_PACKAGES = {'open_spiel': 'pyspiel'}


def make(name, seed=0, **arguments):
    family = name.partition('/')[0]
    pytest.importorskip(_PACKAGES.get(family, family))
    return environments.make(name, seed, **arguments)


def mover(timestep):
    """Who is to move; None at the end."""
    found = [name for name, seen in timestep.observation.items() if may_move(seen)]
    assert len(found) <= 1
    return found[0] if found else None


def play(environment, moves):
    """Plays moves of who is to move: (movers, the last time step). The others' actions are ignored."""
    timestep = environment.reset()
    movers = []
    for move in moves:
        movers.append(mover(timestep))
        timestep = environment.step(
            {name: np.int32(move if name == movers[-1] else 0) for name in timestep.observation}
        )
    return movers, timestep


@pytest.mark.parametrize('name', TIC_TAC_TOE)
def test_a_line_of_tic_tac_toe(name):
    """Three in the top row win; the loser, whose turn has passed, gets its reward at the same step."""
    environment = make(name)
    names = players(make_environment_spec(environment))
    movers, timestep = play(environment, [0, 3, 1, 4])
    first, second = movers[:2]
    assert {first, second} == set(names)
    assert movers == [first, second] * 2
    assert timestep.mid()
    assert [float(timestep.reward[each]) for each in (first, second)] == [0.0, 0.0]
    legal = timestep.observation[first]['legal_actions']
    assert np.flatnonzero(legal).tolist() == [2, 5, 6, 7, 8]
    assert not timestep.observation[second]['legal_actions'].any()
    timestep = environment.step({first: np.int32(2), second: np.int32(0)})
    assert timestep.last()
    assert [float(timestep.reward[each]) for each in (first, second)] == [1.0, -1.0]
    assert [float(timestep.discount[each]) for each in (first, second)] == [0.0, 0.0]
    assert mover(timestep) is None


@pytest.mark.parametrize('name', TIC_TAC_TOE)
def test_a_picture_shows_the_board_and_play_goes_on(name):
    pytest.importorskip('cv2')
    environment, undrawn = make(name), make(name)
    pictures = []
    for moves in ([], [4], [4, 0], [4, 0, 8]):
        _, timestep = play(environment, moves)
        pictures.append(environments.render(environment))
        reward = play(undrawn, moves)[1].reward
        assert timestep.reward == reward
    assert len({each.tobytes() for each in pictures}) == 4
    assert len({each.shape for each in pictures}) == 1


@pytest.mark.parametrize('name', TIC_TAC_TOE[1:])
def test_an_illegal_move_loses(name, capsys):
    environment = make(name)
    movers, timestep = play(environment, [4, 4])
    assert timestep.last()
    assert float(timestep.reward[movers[1]]) == -1.0
    assert {float(each) for each in timestep.discount.values()} == {0.0}
    assert capsys.readouterr() == ('', '')


def test_open_spiel_refuses_an_illegal_move():
    environment = make('open_spiel/tic_tac_toe')
    environment.reset()
    environment.step({'player_0': np.int32(4), 'player_1': np.int32(0)})
    with pytest.raises(
        SettingError, match=r'action/player_1 must be legal, one of \[0, 1.*, got 4'
    ):
        environment.step({'player_0': np.int32(0), 'player_1': np.int32(4)})


def test_matching_pennies():
    environment = make('open_spiel/matrix_mp')
    payoff = np.zeros((2, 2))
    for row in range(2):
        for column in range(2):
            assert all(may_move(seen) for seen in environment.reset().observation.values())
            timestep = environment.step({'player_0': np.int32(row), 'player_1': np.int32(column)})
            assert timestep.last()
            payoff[row, column] = timestep.reward['player_0']
            assert timestep.reward['player_1'] == -timestep.reward['player_0']
    np.testing.assert_array_equal(payoff, [[1, -1], [-1, 1]])


@pytest.mark.parametrize(
    ('name', 'passes', 'bets'), [('open_spiel/kuhn_poker', 0, 1), ('pgx/kuhn_poker', 1, 0)]
)
def test_the_stakes_of_kuhn_poker(name, passes, bets):
    """Who has the higher card wins 1 if nobody bets, and 2 after a bet and a call; cards are drawn."""
    environment = make(name, seed=1)
    winners = set()
    for _ in range(12):
        movers, timestep = play(environment, [passes, passes])
        assert timestep.last()
        assert sorted(float(each) for each in timestep.reward.values()) == [-1.0, 1.0]
        winners.add(movers.index(max(timestep.reward, key=timestep.reward.get)))
    assert winners == {0, 1}
    _, timestep = play(environment, [bets, bets])
    assert sorted(float(each) for each in timestep.reward.values()) == [-2.0, 2.0]
    movers, timestep = play(environment, [bets, passes])
    assert float(timestep.reward[movers[0]]) == 1.0


@pytest.mark.parametrize('tensor', ['observation', 'information_state'])
def test_what_a_player_of_open_spiel_sees(tensor):
    """An information state tells the bets, which the observation of the present does not."""
    environment = make('open_spiel/leduc_poker', tensor=tensor)
    default = make('open_spiel/leduc_poker')
    shape = environment.observation_spec()['player_0']['observation'].shape
    assert (shape == default.observation_spec()['player_0']['observation'].shape) == (
        tensor == 'information_state'
    )


def test_a_game_made_of_another():
    name = 'open_spiel/turn_based_simultaneous_game'
    environment = make(name, game='matrix_mp()')
    movers, timestep = play(environment, [0, 1])
    assert movers == ['player_0', 'player_1']
    assert float(timestep.reward['player_0']) == -1.0


class TestPlayersThatLeave:
    """`one` is terminated at step 1, `two` truncated at step 2, `three` stays to the truncation at step 3."""

    @staticmethod
    def make(seed=0):
        pettingzoo = pytest.importorskip('pettingzoo')
        spaces = pytest.importorskip('gymnasium.spaces')
        from culmen.components.environments.families.pettingzoo_episodes import AtOnce

        class Leaving(pettingzoo.ParallelEnv):
            metadata: dict = {}
            possible_agents = ['one', 'two', 'three']

            def observation_space(self, agent):
                return spaces.Box(0, 9, (1,), np.float32)

            def action_space(self, agent):
                return spaces.Discrete(2)

            def reset(self, seed=None, options=None):
                self.agents, self.at = list(self.possible_agents), 0
                return self.seen(), {name: {} for name in self.agents}

            def seen(self):
                return {name: np.array([self.at], np.float32) for name in self.agents}

            def step(self, actions):
                assert list(actions) == self.agents  # those who have left do not act
                self.at += 1
                there = list(self.agents)
                terminated = {name: name == 'one' and self.at == 1 for name in there}
                truncated = {
                    name: {'one': 9, 'two': 2, 'three': 3}[name] == self.at for name in there
                }
                seen = self.seen()
                self.agents = [
                    name for name in there if not terminated[name] and not truncated[name]
                ]
                return (
                    seen,
                    dict.fromkeys(there, 1.0),
                    terminated,
                    truncated,
                    {n: {} for n in there},
                )

        return AtOnce(lambda render_mode: Leaving(), seed)

    def test_what_they_get(self):
        environment = self.make()
        act = dict.fromkeys(('one', 'two', 'three'), np.int32(0))
        environment.reset()
        steps = [environment.step(act) for _ in range(3)]
        assert [each.last() for each in steps] == [False, False, True]
        column = lambda nest, name: [float(getattr(each, nest)[name]) for each in steps]
        of = lambda field, name: [each.observation[name][field].item() for each in steps]
        assert [column('reward', name) for name in act] == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
        # A truncation keeps the discount; after it, and after a termination, there is nothing.
        assert [column('discount', name) for name in act] == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]
        assert of('present', 'one') == [False, False, False]
        assert of('present', 'two') == [True, False, False]
        assert of('present', 'three') == [True, True, True]
        assert of('observation', 'one') == [1, 1, 1]  # the last that it saw

    def test_they_are_checked(self):
        assert environments.check_environment(self.make, 40).truncations == 10


@pytest.mark.parametrize(
    ('name', 'given', 'match'),
    [
        ('open_spiel/kuhn_pokr', {}, "unknown environment 'open_spiel/kuhn_pokr'.*kuhn_poker"),
        ('open_spiel/mfg_crowd_modelling', {}, 'is a mean-field game'),
        ('open_spiel/cribbage', {}, 'has no observation in numbers'),
        ('open_spiel/kuhn_poker', {'player_count': 2}, "unknown argument 'player_count'.*players"),
        ('open_spiel/kuhn_poker', {'players': 'two'}, 'players must be an int'),
        ('open_spiel/kuhn_poker', {'players': 99}, 'open_spiel/kuhn_poker: .*num_players'),
        ('open_spiel/tic_tac_toe', {'tensor': 'information_state'}, r'tensor must be one of'),
        ('pettingzoo/classic/tictactoe_v9', {}, 'pettingzoo/classic/tictactoe_v3'),
        ('pettingzoo/classic/tictactoe_v3', {'turns': False}, 'turns must be True'),
        (
            'pettingzoo/classic/rps_v2',
            {'num_action': 5},
            "unknown argument 'num_action'.*num_actions",
        ),
        ('pgx/tic_tac_to', {}, 'pgx/tic_tac_toe'),
        ('pgx/hex', {'sise': 5}, "unknown argument 'sise'.*size"),
        ('pgx/go_9x9', {'size': 5}, "unknown argument 'size'"),
    ],
)
def test_what_can_not_be_played_is_refused(name, given, match):
    with pytest.raises(ValueError, match=match):
        make(name, **given)


def test_what_pettingzoo_needs_besides_is_named(monkeypatch):
    pytest.importorskip('pettingzoo')
    monkeypatch.setitem(sys.modules, 'pymunk', None)
    with pytest.raises(environments.MissingPackage, match=r'pymunk.*pettingzoo\[butterfly\]'):
        environments.make('pettingzoo/butterfly/pistonball_v6', 0)


def test_players_may_move_in_turn_or_at_once():
    at_once, in_turn = (
        make('pettingzoo/classic/rps_v2', turns=turns, max_cycles=1) for turns in (None, True)
    )
    assert 'to_move' not in at_once.observation_spec()['player_0']
    at_once.reset()
    paper_against_rock = {'player_0': np.int32(1), 'player_1': np.int32(0)}
    timestep = at_once.step(paper_against_rock)
    assert timestep.last()
    assert [float(each) for each in timestep.reward.values()] == [1.0, -1.0]
    movers, timestep = play(in_turn, [1, 0])
    assert movers == ['player_0', 'player_1']
    assert timestep.last()
    assert [float(each) for each in timestep.reward.values()] == [1.0, -1.0]
