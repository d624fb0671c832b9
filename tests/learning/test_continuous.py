"""The continuous agents on probes: they find the best action, and values that are known in advance."""

import pytest
from dm_env import specs

import culmen
from culmen.agents import d4pg
from culmen.agents import mpo
from culmen.agents import sac
from culmen.agents import td3
from culmen.agents import wpo
from tests import probes

pytestmark = pytest.mark.learning

GAMMA = 0.8
SMALL = {
    'hidden_sizes': (32,), 'discount': GAMMA, 'batch_size': 32, 'samples_per_insert': 32.0,
    'min_replay_size': 100, 'random_steps': 100, 'replay_capacity': 2_000,
}  # fmt: skip
RATES = {'policy_learning_rate': 3e-3, 'critic_learning_rate': 3e-3, 'exploration_noise': 0.3}
IMPROVED = {
    **{name: value for name, value in SMALL.items() if name != 'random_steps'},
    'policy_learning_rate': 3e-3, 'critic_learning_rate': 3e-3, 'n_step': 1, 'num_samples': 10,
    'target_policy_update_period': 10, 'target_critic_update_period': 10,
}  # fmt: skip
MPO = {**IMPROVED, 'epsilon_mean': 0.1, 'epsilon_scale': 1e-3, 'initial_temperature': 1.0}
AGENTS = {
    'sac': sac.SAC(**SMALL, learning_rate=3e-3, target_rate=0.05, temperature=0.01),
    'td3': td3.TD3(**SMALL, **RATES, target_rate=0.05),
    'ddpg': td3.DDPG(**SMALL, **RATES, target_rate=0.05),
    'd4pg': d4pg.D4PG(**SMALL, **RATES, n_step=1, v_min=-5.0, v_max=5.0, target_update_period=20),
    'mpo': mpo.MPO(**MPO),
    'mpo_retrace': mpo.MPO(**MPO, targets='retrace', sequence_length=4),
    'dmpo': mpo.DMPO(**MPO, v_min=-5.0, v_max=5.0),
    'dmpo_gaussians': mpo.DMPO(**MPO, critic='gaussians', num_returns=16),
    'wpo': wpo.WPO(**IMPROVED, initial_alpha_scale=10.0),
}

# Further targets and critics of these are held to their formulas in the folder of MPO.
VARIANTS = ('mpo_retrace', 'dmpo_gaussians')
NAMES = pytest.mark.parametrize(
    'name',
    [pytest.param(name, marks=pytest.mark.deep if name in VARIANTS else ()) for name in AGENTS],
)


class Continuous:
    """A probe whose action is a number that changes nothing."""

    def action_spec(self):
        return probes.ContinuousProbe.action_spec(self)


class ValueProbe(Continuous, probes.ValueProbe):
    pass


class DiscountProbe(Continuous, probes.DiscountProbe):
    pass


class TruncationProbe(Continuous, probes.TruncationProbe):
    pass


def train(name, probe, steps=2_000):
    experiment = culmen.Experiment(
        agent=AGENTS[name],
        environment=probe,
        seed=1,
        max_actor_steps=steps,
        evaluation=culmen.Evaluation(every=None, episodes=5),
    )
    return culmen.run(experiment, progress=False)


@NAMES
def test_the_best_action(name):
    result = train(name, probes.ContinuousProbe)
    # Within 0.2 of the best action, 0.5.
    assert result.summary['evaluation']['return_mean'] > -(0.2**2)


# The mean value of both observations, or of the one: within the temperature's part of it.
VALUES = {
    ValueProbe: ValueProbe.value,
    DiscountProbe: (1.0 + GAMMA) / 2,
    TruncationProbe: TruncationProbe.value(GAMMA),
}


@pytest.mark.parametrize('probe', VALUES)
@NAMES
def test_values(name, probe):
    result = train(name, probe)
    q = result.logs['learner']['q'].iloc[-1]
    assert q == pytest.approx(VALUES[probe], rel=0.1)


def test_the_probes_have_an_action_of_a_box():
    for probe in VALUES:
        assert isinstance(probe(0).action_spec(), specs.BoundedArray)
