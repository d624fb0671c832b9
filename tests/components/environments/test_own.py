"""Culmen's own environments: the best return of each, or a bound of it, and that it is reached."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from culmen.components.environments import own
from culmen.components.environments.functional import Functional
from culmen.components.environments.own import control
from culmen.components.environments.own import grids
from culmen.components.environments.own import mazes
from culmen.core.types import LAST


def play(environment: Functional, policy, seed: int, limit: int = 1000) -> tuple[float, int, list]:
    """One episode of a policy of (time step, episode's state). Returns: (return, steps, states)."""
    step = jax.jit(environment.step)
    state, timestep = jax.jit(environment.reset)(jax.random.key(seed))
    total, steps, states = 0.0, 0, [state.state]
    while timestep.step_type != LAST:
        action = policy(timestep, state.state)
        state, timestep = step(jax.random.key(1000 * seed + steps), state, action)
        total += float(timestep.reward)
        steps += 1
        states.append(state.state)
        assert steps <= limit
    return total, steps, states


def returns(environment: Functional, policy, episodes: int, steps: int, memory) -> NDArray:
    """Returns of a pure policy, (observation, memory) -> (action, memory), over whole episodes, compiled."""

    def episode(key):
        of_start, of_steps = jax.random.split(key)
        state, timestep = environment.reset(of_start)

        def step(carry, key):
            state, timestep, memory, alive = carry
            action, memory = policy(timestep, memory)
            state, timestep = environment.step(key, state, action)
            reward = jnp.where(alive, timestep.reward, 0.0)
            return (state, timestep, memory, alive & (timestep.step_type != LAST)), reward

        begin = state, timestep, memory, jnp.bool_(True)
        carry, rewards = jax.lax.scan(step, begin, jax.random.split(of_steps, steps))
        return jnp.sum(rewards), carry[3]

    total, alive = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), episodes))
    assert not alive.any(), 'each episode has ended'
    return np.asarray(total)


def test_catch_is_always_won():
    environment = own.catch(rows=6, columns=5)

    def policy(timestep, memory):
        ball = jnp.argmax(timestep.observation[:-1].sum(0))
        paddle = jnp.argmax(timestep.observation[-1])
        return 1 + jnp.sign(ball - paddle), memory

    assert (returns(environment, policy, 64, 5, ()) == 1.0).all()


def test_six_states_is_worth_a_fifth_of_the_long_way():
    # Backwards over the rules: a value for each place, before and after the visit.
    after = np.full(6, 1.0)
    before = np.zeros(6)
    before[0], before[5] = 0.01, after[5]
    for _ in range(2000):
        inner = np.maximum(before[:-2], 0.5 * before[:-2] + 0.5 * before[2:])
        before[1:-1] = inner
    assert before[1] == pytest.approx(0.208)

    def policy(timestep, memory):
        visited = timestep.observation[6] > 0
        return jnp.where(visited, 0, 1), memory

    totals = returns(own.six_states(show_visited=True), policy, 4000, 300, ())
    assert set(np.round(totals, 6)) == {np.float32(0.01), np.float32(1.0)}
    assert totals.mean() == pytest.approx(0.208, abs=3 * totals.std() / np.sqrt(4000))


def bayes(pulls: int) -> float:
    """The return of the best policy for two dependent arms, whose p is uniform in [0, 1]."""
    # Both arms tell of one p. The state: how often it spoke for a large p, of how many pulls.
    value = np.zeros(pulls + 1)
    for made in reversed(range(pulls)):
        large = (np.arange(made + 1) + 1) / (made + 2)
        ahead = large * value[1 : made + 2] + (1 - large) * value[: made + 1]
        value = np.maximum(large, 1 - large) + ahead
    return float(value[0])


def test_a_bandit_is_worth_what_bayes_says():
    assert bayes(1) == pytest.approx(0.5)
    assert bayes(2) == pytest.approx(0.5 + 2 / 3)
    assert bayes(100) == pytest.approx(73.78, abs=0.005)

    def policy(timestep, balance):
        # A pull of arm 0 that pays, or of arm 1 that does not, speaks for arm 0.
        first, _, reward, made = timestep.observation
        heard = jnp.where(made > 0, jnp.where((first > 0) == (reward > 0), 1, -1), 0)
        return jnp.where(balance + heard >= 0, 0, 1), balance + heard

    totals = returns(own.bandit(pulls=20), policy, 4000, 20, jnp.int32(0))
    assert totals.mean() == pytest.approx(bayes(20), abs=3 * totals.std() / np.sqrt(4000))


def test_independent_arms_are_drawn_apart():
    state, _ = jax.vmap(own.bandit(dependent=False).reset)(
        jax.random.split(jax.random.key(0), 4000)
    )
    p = np.asarray(state.state.probabilities)
    assert abs(np.corrcoef(p.T)[0, 1]) < 0.05
    assert p.max(axis=1).mean() == pytest.approx(2 / 3, abs=0.015)


def test_bit_flip_takes_as_many_steps_as_bits_differ():
    def policy(timestep, memory):
        seen = timestep.observation
        return jnp.argmax(seen['observation'] != seen['desired_goal']), memory

    totals = returns(own.bit_flip(bits=5), policy, 4000, 5, ())
    best = 1 - 5 * 2**4 / (2**5 - 1)  # all sets of bits but the empty one are as likely
    assert totals.mean() == pytest.approx(best, abs=3 * totals.std() / np.sqrt(4000))
    assert totals.max() == 0.0
    assert totals.min() == -4.0


def shortest(walls: NDArray, start: tuple[int, int], end: tuple[int, int]) -> list[int]:
    """The moves of a shortest way over the tiles that are no walls."""
    before = {start: None}
    queue = collections.deque([start])
    while queue:
        place = queue.popleft()
        for move, (down, right) in enumerate(grids.MOVES):
            after = place[0] + down, place[1] + right
            if after not in before and not walls[after]:
                before[after] = place, move
                queue.append(after)
    moves = []
    while before[end] is not None:
        end, move = before[end]
        moves.append(move)
    return moves[::-1]


def as_tuple(place) -> tuple[int, int]:
    return int(place[0]), int(place[1])


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('name', ['four_rooms', 'key_door', 'two_rooms'])
def test_rooms_are_crossed_by_a_shortest_way(name, seed):
    environment = own.MAKERS[name](**({'fixed_goal': False} if name == 'four_rooms' else {}))
    state, timestep = environment.reset(jax.random.key(seed))
    begun = state.state
    walls = np.asarray(timestep.observation[..., 0]) > 0
    stops = [begun.agent, begun.goal]
    if name == 'key_door':
        stops = [begun.agent, begun.key, begun.door, begun.goal]
        assert walls[as_tuple(begun.door)]
        walls[as_tuple(begun.door)] = False
    ways = zip(stops[:-1], stops[1:], strict=True)
    moves = [move for way in ways for move in shortest(walls, *map(as_tuple, way))]
    planned = iter(moves)
    total, steps, states = play(environment, lambda *_: next(planned), seed)
    assert (total, steps) == (1.0, len(moves))
    if name == 'key_door':
        assert states[-1].has_key


def test_four_rooms_takes_these_steps_on_average():
    walls = grids.four_rooms_walls()
    ends = (7, 9)
    lengths = [len(shortest(walls, tuple(place), ends)) for place in np.argwhere(~walls)]
    assert len(lengths) == 104
    assert np.mean([each for each in lengths if each]) == pytest.approx(7.59, abs=0.005)


def test_the_door_is_a_wall_without_its_key():
    environment = own.key_door()
    state, timestep = environment.reset(jax.random.key(0))
    begun = state.state
    walls = np.asarray(timestep.observation[..., 0]) > 0
    walls[as_tuple(begun.key)] = True  # a way that does not pass the key
    walls[as_tuple(begun.door)] = False
    to_door = iter([*shortest(walls, as_tuple(begun.agent), as_tuple(begun.door)), *[1] * 500])
    total, steps, states = play(environment, lambda *_: next(to_door), 0)
    assert (total, steps) == (0.0, 200)
    assert int(states[-1].agent[1]) == 5  # in front of the door


def test_noise_is_drawn_each_step_and_can_be_switched_off():
    for noise in (True, False):
        environment = own.two_rooms(noise=noise, max_steps=5)
        shown = []
        play(
            environment,
            lambda timestep, _, shown=shown: shown.append(timestep.observation[1, 1, 5]) or 0,
            0,
        )
        assert len({float(each) for each in shown[1:]}) == (4 if noise else 1)


def test_a_slip_goes_another_way():
    environment = own.four_rooms(slip=1.0)
    state, _ = environment.reset(jax.random.key(0))
    held = state._replace(state=state.state._replace(agent=jnp.array([3, 3], jnp.int32)))
    step = jax.jit(jax.vmap(environment.step, in_axes=(0, None, None)))
    after, _ = step(jax.random.split(jax.random.key(1), 40), held, 0)
    ends = {as_tuple(place) for place in np.asarray(after.state.agent)}
    assert ends == {(3, 4), (4, 3), (3, 2)}


def test_the_u_is_left_in_as_many_steps_as_its_width_needs():
    environment = own.u_maze()
    # Right until the wall is passed, then up, then back: x has to move by 3 less the goal's radius, y by 1
    # beyond the wall's end, with 0.2 a step.
    bound = int(np.ceil((1.5 + 1.0 + 1.5 - mazes.RADIUS - 0.2) / 0.2))

    def policy(timestep, memory):
        x, y = timestep.observation['observation']
        across = jnp.where(y < mazes.WALL_TOP, jnp.where(x < 2.0, 1.0, 0.0), -1.0)
        up = jnp.where((x < 2.0) & (y < mazes.WALL_TOP), jnp.where(y < 0.9, 1.0, 0.0), 1.0)
        up = jnp.where(y > 2.4, 0.0, up)
        return jnp.stack([across, up]), memory

    totals = returns(environment, policy, 64, 100, ())
    assert bound == 18
    assert totals.min() >= -21
    assert totals.max() <= 1 - bound


def test_no_move_enters_the_wall():
    environment = own.u_maze(random_goal=True)
    state, timestep = jax.vmap(environment.reset)(jax.random.split(jax.random.key(0), 64))
    assert not mazes.is_wall(np.asarray(timestep.observation['desired_goal'])).any()
    step = jax.jit(jax.vmap(environment.step))
    moves = np.random.default_rng(0)
    for _ in range(100):
        action = moves.uniform(-1, 1, (64, 2)).astype(np.float32)
        state, timestep = step(jax.random.split(jax.random.key(0), 64), state, action)
        assert not mazes.is_wall(np.asarray(timestep.observation['observation'])).any()


def test_pixels_show_what_reaches_the_target():
    environment = own.pixel_reach()
    red, green = 0, 1

    def centre(image):
        rows, columns = np.nonzero(image)
        return np.array([columns.mean(), rows.mean()]) / image.shape[0]

    def policy(timestep, _):
        image = np.asarray(timestep.observation)
        away = centre(image[..., green]) - centre(image[..., red])
        return np.clip(away / 0.1, -1, 1).astype(np.float32)

    for seed in range(3):
        total, steps, states = play(environment, policy, seed)
        away = np.abs(np.asarray(states[0].target - states[0].place)).max()
        # Each step moves a coordinate by 0.1.
        bound = steps - int(np.ceil(max(away - 0.15, 0) / 0.1)) + 1
        assert bound - 3 <= total <= bound


def test_the_cart_poles_energy_changes_by_force_and_friction():
    physics = jnp.array([0.3, -0.7, 1.9, 2.1])
    for force in (0.0, 7.0):
        _, change = jax.jvp(
            control.energy, (physics,), (control.derivative(physics, jnp.float32(force)),)
        )
        velocity = float(physics[1])
        assert float(change) == pytest.approx(
            velocity * (force - control.FRICTION * velocity), rel=1e-4
        )


def test_the_cart_pole_can_be_swung_up():
    environment = own.cartpole_swingup(start_scale=0.0)
    state, _ = environment.reset(jax.random.key(0))

    def total(forces):
        def step(state, force):
            state, timestep = environment.step(jax.random.key(0), state, force[None])
            return state, timestep.reward

        return jnp.sum(jax.lax.scan(step, state, forces)[1])

    # The cross-entropy method over the forces of an episode.
    @jax.jit
    def improve(carry, key):
        mean, deviation = carry
        forces = jnp.clip(mean[None] + deviation[None] * jax.random.normal(key, (200, 40)), -1, 1)
        values = jax.vmap(total)(forces)
        best = forces[jnp.argsort(-values)[:20]]
        return (best.mean(0), best.std(0)), values.max()

    begin = jnp.zeros(40), jnp.ones(40)
    keys = jax.random.split(jax.random.key(1), 40)
    _, values = jax.lax.scan(improve, begin, keys)
    # The first second goes by before the pendulum stands.
    assert 15.0 < float(values.max()) < 40.0
