"""R2D2 learns what only memory can tell, values that are known in advance, and, with its defaults, Catch."""

import pytest

import culmen
from culmen.agents import r2d2
from culmen.launchers import compiled
from tests import probes

pytestmark = pytest.mark.learning

GAMMA = 0.8
SMALL = {
    'hidden_sizes': (16,), 'core_size': 16, 'discount': GAMMA, 'n_step': 2, 'learning_rate': 3e-3,
    'burn_in_length': 1, 'sequence_length': 4, 'sequence_period': 2, 'batch_size': 16,
    'samples_per_insert': 16.0, 'min_replay_size': 50, 'replay_capacity': 2_000,
    'target_update_period': 20, 'epsilon_initial': 1.0, 'epsilon': 0.3, 'epsilon_decay_steps': 1_000,
}  # fmt: skip


def train(environment, steps, agent, run=culmen.run):
    experiment = culmen.Experiment(
        agent=agent,
        environment=environment,
        seed=1,
        max_actor_steps=steps,
        evaluation=culmen.Evaluation(every=None, episodes=100),
    )
    return run(experiment, progress=False)


@pytest.mark.parametrize('core', ['lstm', pytest.param('gru', marks=pytest.mark.deep)])
def test_it_remembers(core):
    """The cue of an episode's first step names the right last action; the steps between say nothing."""
    result = train(probes.MemoryProbe, 5_000, r2d2.R2D2(**SMALL, core=core))
    assert result.summary['evaluation']['return_mean'] == probes.MemoryProbe.best_return


VALUE = (probes.ValueProbe, probes.ValueProbe.value)
TRUNCATION = (probes.TruncationProbe, probes.TruncationProbe.value(GAMMA))


@pytest.mark.parametrize(
    ('probe', 'value', 'rescale'),
    [
        (*VALUE, True),
        (*TRUNCATION, False),
        pytest.param(*VALUE, False, marks=pytest.mark.deep),
        pytest.param(*TRUNCATION, True, marks=pytest.mark.deep),
    ],
)
def test_values(probe, value, rescale):
    """The value of the one observation; a truncation is no termination."""
    result = train(probe, 3_000, r2d2.R2D2(**SMALL, rescale=rescale))
    assert result.logs['learner']['q'].iloc[-1] == pytest.approx(value, rel=0.1)


def test_legal_actions():
    """The probe raises where an illegal action is taken: in training, exploring, or evaluation."""
    result = train(probes.LegalActionsProbe, 3_000, r2d2.R2D2(**SMALL))
    best = probes.LegalActionsProbe.length * probes.LegalActionsProbe.best_mean_reward
    assert result.summary['evaluation']['return_mean'] == pytest.approx(best, abs=0.2)


@pytest.mark.deep
def test_the_defaults_learn_catch():
    result = train('jax/catch', 20_000, r2d2.R2D2(), run=compiled.run)
    assert result.summary['evaluation']['return_mean'] >= 0.8
