"""The state of an environment written in JAX in its observation, and the model of a spec."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import culmen
from culmen.components import environments
from culmen.components.environments import functional
from culmen.components.environments.wrappers import ObserveState
from culmen.core import environment_state
from culmen.core import make_environment_spec
from culmen.core import without_environment_state
from tests import probes
from tests.components.environments.counting import SPEC
from tests.components.environments.counting import count
from tests.shapes import worlds
from tests.shapes.rows.search import Search


def drawing():
    """An environment whose state holds a key of all 32 bits, from which each observation is drawn."""

    def observe(key):
        return jax.random.randint(jax.random.wrap_key_data(key), (), 0, 2**30)

    def begin(key):
        drawn = jax.random.key_data(key) | jnp.uint32(2**31)
        return drawn, observe(drawn)

    def advance(key, state, action):
        after = state + jnp.uint32(1)
        return after, functional.Outcome(observe(after), 0.0, False)

    spec = SPEC._replace(observation=functional.REWARD.replace(dtype=np.int32))
    return functional.Functional(spec, begin, advance)


@pytest.mark.parametrize('inside', [count(3), drawing(), worlds.line(0).functions])
def test_a_search_goes_on_from_an_observed_state_as_the_environment_does(inside):
    around = ObserveState(inside)
    plain = functional.DmEnvironment(inside, 5)
    environment = functional.DmEnvironment(around, 5)
    environments.check_environment(lambda seed: functional.DmEnvironment(around, seed), 100)
    model = make_environment_spec(environment).model
    for _ in range(7):
        wanted, timestep = plain.step(1), environment.step(1)
        np.testing.assert_equal(without_environment_state(timestep.observation), wanted.observation)
        assert timestep[:3] == wanted[:3]
        state = environment_state(timestep.observation)
        _, ahead = model.step(jax.random.key(0), state, jnp.int32(1))
        if timestep.step_type != 2:  # the next is within the episode, which draws nothing
            following = pickle.loads(pickle.dumps(environment.get_state()))
            later = functional.DmEnvironment(around, 0)
            later.set_state(following)
            np.testing.assert_equal(
                jax.tree_util.tree_leaves(later.step(1).observation),
                jax.tree_util.tree_leaves(ahead.observation),
            )


def test_what_has_no_model_says_so():
    assert make_environment_spec(environments.make('jax/catch', 0)).model is not None
    assert make_environment_spec(environments.make('jax/catch', 0, step_limit=3)).model is None
    assert make_environment_spec(probes.ActionProbe(0)).model is None

    class Delegating(probes.ActionProbe):  # as wrappers from elsewhere do
        def __getattr__(self, name):
            return getattr(environments.make('jax/catch', 0), name)

    assert make_environment_spec(Delegating()).model is None


def test_only_what_is_written_in_jax_has_a_state_to_observe():
    with pytest.raises(
        ValueError, match=r'observe_state needs an environment written in JAX .*Action'
    ):
        environments.wrap(probes.ActionProbe(0), 0, observe_state=True)
    with pytest.raises(ValueError, match='has a field environment_state already'):
        ObserveState(ObserveState(count(2)))


def test_lanes_around_one_environment_are_one_program():
    made = [environments.make('jax/catch', seed, observe_state=True) for seed in (1, 2)]
    assert made[0].functions is made[1].functions
    assert environments.render(made[0]).shape == (320, 160, 3)


def test_the_policy_of_a_pickled_result_searches():
    environment = culmen.environment('tests.shapes.worlds:line', observe_state=True)
    experiment = culmen.Experiment(
        Search(), environment, max_actor_steps=60, evaluation=culmen.Evaluation(episodes=1)
    )
    result = pickle.loads(pickle.dumps(culmen.run(experiment, progress=False)))
    for each in (result, pickle.loads(pickle.dumps(result))):
        timestep = environments.make(environment.name, 0, observe_state=True).reset()
        assert each.policy()(timestep) in (0, 1)
