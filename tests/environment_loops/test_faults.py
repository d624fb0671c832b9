"""What compiled loops and evaluations refuse: the same as the loops of the host, by lane and leaf."""

import dataclasses
from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.components.environments import functional
from culmen.core import EnvironmentSpec
from culmen.core import Lanes
from culmen.core import TimeStep
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.environment_loops.boundary import ActionFailure
from culmen.environment_loops.compiled import CompiledEvaluator
from culmen.environment_loops.compiled import CompiledLoop
from culmen.environment_loops.faults import Faults
from culmen.launchers import compiled
from tests.environment_loops import telling

SPEC = EnvironmentSpec(
    {
        'count': specs.Array((), np.uint32),
        'pixels': specs.Array((2, 2), np.uint8),
        'x': specs.Array((3,), np.float32),
    },
    {'fire': specs.DiscreteArray(2), 'turn': specs.BoundedArray((2,), np.int32, [-1, 0], [1, 3])},
    functional.REWARD,
    functional.DISCOUNT,
)


def timestep(**changed):
    observation = {
        'count': jnp.zeros(4, jnp.uint32),
        'pixels': jnp.full((4, 2, 2), 255, jnp.uint8),
        'x': jnp.full((4, 3), 3e38, jnp.float32),
    }
    fields = {
        'step_type': jnp.ones(4, jnp.int32),
        'reward': jnp.zeros(4),
        'discount': jnp.ones(4),
        **{name: value for name, value in changed.items() if name not in observation},
    }
    return TimeStep(**fields, observation={**observation, **_of(changed, observation)})


def _of(changed, observation):
    return {name: value for name, value in changed.items() if name in observation}


def in_lane_2(value, dtype=jnp.float32):
    return jnp.zeros(4, dtype).at[2].set(value)


GOOD = {'fire': jnp.array([0, 1, 0, 1]), 'turn': jnp.tile(jnp.array([[-1, 3]]), (4, 1))}
FAULTS = {
    'observation/count must be within int32': {'count': in_lane_2(2**31, jnp.uint32)},
    'observation/x must be finite': {'x': jnp.zeros((4, 3)).at[2, 1].set(jnp.nan)},
    'reward must be finite': {'reward': in_lane_2(-jnp.inf)},
    r'discount must be in \[0, 1\]': {'discount': in_lane_2(1.5)},
    'step_type must be FIRST, MID or LAST': {'step_type': in_lane_2(3, jnp.int32)},
}


def test_a_good_tick_has_no_fault():
    numbers = jax.jit(Faults(SPEC).of)(timestep(), timestep(), GOOD)
    assert numbers.dtype == jnp.int32
    assert numbers.tolist() == [0] * 4
    Faults(SPEC).check(numbers)


def test_each_fault_is_found_and_named_with_its_lane():
    faults = Faults(SPEC)
    find = jax.jit(faults.of)
    for words, changed in FAULTS.items():
        numbers = find(timestep(**changed), timestep(), GOOD)
        assert np.flatnonzero(numbers).tolist() == [2]
        with pytest.raises(EnvironmentFailure, match=f'lane 2 broke its spec: {words}'):
            faults.check(np.stack([np.zeros(4, int), numbers]))  # of two ticks
    for name, value, words in (
        ('fire', GOOD['fire'].at[3].set(2), r'action/fire must be in \[0, 1\]'),
        ('turn', GOOD['turn'].at[3, 0].set(-2), r'action/turn must be in'),
    ):
        action = {**GOOD, name: value}
        with pytest.raises(ActionFailure, match=f'action of lane 3 is not of its spec: {words}'):
            faults.check(find(timestep(), timestep(), action))
        at_last = timestep(step_type=jnp.full(4, 2))
        assert not find(timestep(), at_last, action).any()


def test_parts_of_an_action_match_by_their_keys():
    """An OrderedDict in another order is the same action, for the check and for the environment."""
    other = OrderedDict(turn=GOOD['turn'], fire=GOOD['fire'])
    assert not Faults(SPEC).of(timestep(), timestep(), other).any()
    whole = EnvironmentSpec(
        specs.Array((), np.int32), SPEC.action, functional.REWARD, functional.DISCOUNT
    )
    environment = functional.Functional(
        whole,
        begin=lambda key: (jnp.int32(0), jnp.int32(0)),
        advance=lambda key, n, action: (
            n + 1,
            functional.Outcome(jax.tree_util.tree_leaves(action)[0].astype(jnp.int32), 0.0, False),
        ),
    )
    lane, _ = functional.begin(environment, functional.lane_keys([0])[0])
    one = jax.tree_util.tree_map(lambda leaf: leaf[1], other)
    _, told = functional.advance(environment, lane, one)
    assert told.observation == GOOD['fire'][1] == 1


# In whole loops.

SMALL = EnvironmentSpec(
    specs.Array((2,), np.float32), specs.DiscreteArray(3), functional.REWARD, functional.DISCOUNT
)


def blowing_up(at):
    """Is NaN at a step, in the lanes with the largest of some draws."""
    begin = lambda key: (
        (jnp.int32(0), jax.random.uniform(key)),
        jnp.full(2, jnp.where(at == 0, jnp.nan, 0.0)),
    )

    def advance(key, state, action):
        n, drawn = state[0] + 1, state[1]
        x = jnp.where((n == at) & (drawn > 0.5), jnp.nan, 0.0)
        return (n, drawn), functional.Outcome(jnp.full(2, x), 0.0, n == 9)

    return functional.Functional(SMALL, begin, advance)


@dataclasses.dataclass(frozen=True)
class OutOfRange:
    """Takes action 7 of 3 at its fifth step."""

    base: Any

    def build(self, spec):
        parts = self.base.build(spec)

        def wrong(core):
            def select_action(params, timestep, state, context):
                action, state, extras = core.select_action(params, timestep, state, context)
                return jnp.where(state['ever'] == 5, 7, action).astype(jnp.int32), state, extras

            return core._replace(select_action=select_action)

        return parts._replace(actor=wrong(parts.actor))


def make(environment, agent):
    lanes = Lanes(np.arange(3, dtype=np.int32), 3)
    return CompiledLoop(environment, agent.build(environment.spec()), lanes)


AGENT = telling.Telling(telling.EXPERIENCES['transitions'])


@pytest.mark.slow
def test_a_compiled_loop_names_the_lane_and_the_leaf():
    environment = blowing_up(at=4)
    loop = make(environment, AGENT)
    carry, report = loop.run(loop.begin(0), 3)
    loop.faults.check(report.faults())
    _, report = loop.run(carry, 20)
    lane = int(np.flatnonzero(report.faults()[0])[0])
    with pytest.raises(EnvironmentFailure, match=f'lane {lane} broke.*observation must be finite'):
        loop.faults.check(report.faults())
    # Runs side by side: one that waits has none.
    alone = [loop.begin(seed) for seed in (0, 0)]
    stacked = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *alone)
    _, (waits, runs) = loop.run_all(stacked, 20, [(0, 0), (20, None)])
    assert not waits.faults().any()
    assert runs.faults().any()
    with pytest.raises(EnvironmentFailure, match='lane 0 broke.*observation must be finite'):
        make(blowing_up(at=0), AGENT).begin(0)


@pytest.mark.slow
@pytest.mark.parametrize('launcher', [culmen.run, compiled.run])
@pytest.mark.parametrize(
    ('agent', 'at', 'error', 'words'),
    [
        (AGENT, 4, EnvironmentFailure, 'lane . broke its spec: observation must be finite'),
        (OutOfRange(AGENT), 99, ActionFailure, r'action of lane 0 .* must be in \[0, 2\]'),
    ],
)
def test_every_launcher_ends_the_run(launcher, agent, at, error, words):
    environment = blowing_up(at)
    experiment = culmen.Experiment(
        agent,
        lambda seed: functional.DmEnvironment(environment, seed),
        max_actor_steps=60,
        num_environments=3,
        evaluation=culmen.Evaluation(every=None, episodes=1),
    )
    with pytest.raises(error, match=words):
        launcher(experiment, progress=False)


@pytest.mark.slow
def test_a_compiled_evaluation_refuses_it_too():
    params = {'updates': np.int32(0), 'told': np.float32(0)}
    for at, words in ((4, 'lane . broke.*observation must be finite'), (0, 'lane 0 broke')):
        environment = blowing_up(at)
        core = AGENT.build(SMALL).evaluator
        with pytest.raises(EnvironmentFailure, match=words):
            CompiledEvaluator(core, environment, 4).of(3).evaluate(params, 0, 0, 0)
