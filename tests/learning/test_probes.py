"""DQN on probe environments: it learns the values that are known in advance.

The bar, for any seed: every learned value is within 0.05 of the right one (rewards are about 1), and
where actions matter each evaluation episode has the best return. Where legal actions are drawn at
random, within 0.2: an unmasked maximum would be off by 0.8 * (1 - 2 / 3) = 0.27.
"""

import jax
import numpy as np
import pytest

import culmen
from culmen.agents import dqn
from culmen.components import networks
from culmen.core.specs import make_environment_spec
from culmen.core.types import TimeStep
from tests import probes

pytestmark = pytest.mark.learning

TOLERANCE = 0.05
TOLERANCE_OF_A_RANDOM_MASK = 0.2
GAMMA = 0.8
STEPS = 1_500
SEEDS = (0, 1)
AGENT = {
    'hidden_sizes': (16,), 'discount': GAMMA, 'n_step': 1, 'double': True, 'learning_rate': 1e-2,
    'optimizer': 'adam', 'target_update_period': 20, 'batch_size': 16, 'min_replay_size': 50,
    'replay_capacity': 2_000, 'samples_per_insert': 16.0, 'epsilon_initial': 1.0, 'epsilon': 0.5,
    'epsilon_decay_steps': 500, 'huber_delta': 1.0, 'priority_exponent': 0.0,
}  # fmt: skip

# What differs from AGENT: each option has to come to the same values.
VARIANTS = {
    'plain': {'double': False},
    'all_options': {'dueling': True, 'priority_exponent': 0.6, 'importance_exponent': 1.0,
                    'max_gradient_norm': 10.0},
}  # fmt: skip


def train(probe, seed, steps=STEPS, **changes):
    """A finished run, and its action values as a function of an observation."""
    agent = dqn.DQN(**{**AGENT, **changes})
    experiment = culmen.Experiment(
        agent=agent,
        environment=probe,
        seed=seed,
        max_actor_steps=steps,
        evaluation=culmen.Evaluation(every=None, episodes=10),
    )
    result = culmen.run(experiment, progress=False)
    spec = make_environment_spec(probe(0))
    num_actions = probe.num_actions
    network = networks.make_action_value_network(
        spec, num_actions, agent.hidden_sizes, agent.dueling
    )

    def values(number):
        observation = np.full((1, 1), number, np.float32)
        if probe is probes.LegalActionsProbe:
            legal = np.ones((1, num_actions), bool)
            observation = {'observation': observation, 'legal_actions': legal}
        return np.asarray(network.apply(result.params, observation))[0]

    return result, values


def assert_near(given, expected, tolerance=TOLERANCE):
    np.testing.assert_allclose(given, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize('seed', SEEDS)
def test_value(seed):
    _, values = train(probes.ValueProbe, seed, steps=800)
    assert_near(values(0.0), [probes.ValueProbe.value] * 2)


@pytest.mark.parametrize('seed', SEEDS)
def test_observation(seed):
    _, values = train(probes.ObservationProbe, seed, steps=800)
    for number, value in probes.ObservationProbe.values.items():
        assert_near(values(number), [value] * 2)


@pytest.mark.parametrize('n_step', [1, 3])
@pytest.mark.parametrize('seed', SEEDS)
def test_discount(seed, n_step):
    _, values = train(probes.DiscountProbe, seed, n_step=n_step)
    for number, value in probes.DiscountProbe.values(GAMMA).items():
        assert_near(values(number), [value] * 2)


@pytest.mark.parametrize('n_step', [1, 3])
def test_truncation(n_step):
    """Episodes cut after five steps are worth 1 / (1 - 0.6), not (1 - 0.6^5) / (1 - 0.6)."""
    _, values = train(probes.TruncationProbe, 0, discount=0.6, n_step=n_step)
    assert_near(values(0.0), [probes.TruncationProbe.value(0.6)] * 2)
    assert 1.0 / (1 - 0.6) - TOLERANCE > (1 - 0.6**5) / (1 - 0.6)


@pytest.mark.parametrize('seed', SEEDS)
def test_action(seed):
    result, values = train(probes.ActionProbe, seed, steps=800)
    assert_near(values(0.0), probes.ActionProbe.action_values)
    assert result.summary['evaluation']['return_mean'] == probes.ActionProbe.best_return


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('seed', SEEDS)
def test_observation_and_action(seed, variant):
    result, values = train(probes.ObservationActionProbe, seed, **VARIANTS[variant])
    assert_near(values(-1.0), [1.0, -1.0])
    assert_near(values(1.0), [-1.0, 1.0])
    summary = result.summary['evaluation']
    assert (summary['return_mean'], summary['return_std']) == (1.0, 0.0)


@pytest.mark.parametrize('variant', VARIANTS)
def test_legal_actions(variant):
    """The probe raises where an illegal action is taken: in training, exploring, or evaluation."""
    result, values = train(
        probes.LegalActionsProbe, 0, steps=3_000, learning_rate=3e-3, **VARIANTS[variant]
    )
    for number, expected in probes.LegalActionsProbe.action_values(GAMMA).items():
        assert_near(values(number)[:2], expected, TOLERANCE_OF_A_RANDOM_MASK)
    assert result.summary['actor_steps'] == 3_000


def test_a_legal_policy_is_the_best_one():
    """The best legal action at every mask, the most rewarding one never."""
    result, _ = train(probes.LegalActionsProbe, 1, steps=2_000)
    core = dqn.DQN(**AGENT).build(make_environment_spec(probes.LegalActionsProbe(0))).evaluator
    masks = np.array(probes.LegalActionsProbe.masks)
    observation = {'observation': np.zeros((3, 1), np.float32), 'legal_actions': masks}
    timestep = TimeStep(np.ones(3, np.int32), np.zeros(3), np.ones(3), observation)
    context = culmen.core.Context(jax.random.key(0), np.int32(0), np.int32(0), np.int32(0))
    state = core.init(jax.random.key(0), culmen.core.Lanes(np.arange(3), 3))
    action, _, _ = core.select_action(result.params, timestep, state, context)
    assert np.asarray(action).tolist() == [0, 1, 1]
