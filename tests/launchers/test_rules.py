"""Agents with rules in launchers: offline, in a server's tables, many as one, and with a loss that breaks."""

import dataclasses
import pickle

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import culmen
from culmen.components.learners import NonFiniteLossError
from culmen.core import Dataset
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Stream
from culmen.core import TimeStep
from culmen.core import Window
from culmen.core.types import ActorCore
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers import offline
from culmen.launchers.results import Refused
from tests.conftest import is_installed
from tests.shapes import worlds
from tests.shapes.rows import two_rules

REPLAY = Replay(Window(), capacity=50, min_size=2, batch_size=2, samples_per_insert=1.0)


def recording():
    """One episode of four steps."""
    timestep = TimeStep(
        np.array([0, 1, 1, 1, 2], np.int32),
        np.zeros(5, np.float32),
        np.ones(5, np.float32),
        np.eye(5, worlds.NUM_SIGNS, dtype=np.float32),
    )
    yield Stream(timestep, np.zeros(5, np.int32), (), np.zeros(5, np.int32))


@dataclasses.dataclass(frozen=True)
class Counting:
    """Acts alike always. Its rules count their updates, and one of them may break."""

    recorded: bool = False
    mixed: bool = False  # whether the second has nothing but a recording
    broken_at: int = -1

    def build(self, spec):
        del spec

        def select_action(params, timestep, state, context):
            return jnp.zeros(timestep.step_type.shape, jnp.int32), state, ()

        def of(name):
            def update(state, sample, context):
                bad = (context.rule_steps == self.broken_at) & (name == 'second')
                loss = jnp.where(bad, jnp.nan, context.learner_steps.astype(jnp.float32))
                count = jnp.maximum(state[name], context.rule_steps + 1)
                return (
                    {**state, name: count, 'last': jnp.int32(name == 'second')},
                    {'loss': loss},
                    None,
                )

            return update

        dataset = Dataset(Window(), recording, batch_size=2)
        first = dataset if self.recorded else REPLAY
        second = {'shown': dataset} if self.recorded else dataset if self.mixed else {'own': REPLAY}
        actor = ActorCore(lambda key, lanes: (), select_action)
        counts = ('first', 'second', 'last')
        return Parts(
            actor,
            actor,
            LearnerCore(
                lambda key: dict.fromkeys(counts, jnp.int32(0)),
                {name: of(name) for name in counts[:2]},
                lambda state: state,
            ),
            {'second': second, 'first': first},
        )


def experiment(**changes):
    settings = {'environment': worlds.signs, 'seed': 1, 'evaluation': culmen.Evaluation(episodes=1)}
    return culmen.Experiment(**{**settings, **changes})


def test_offline_rules_take_turns_call_by_call(tmp_path):
    recorded = experiment(agent=Counting(recorded=True), max_learner_steps=11, updates_per_call=2)
    result = offline.run(recorded, tmp_path / 'whole', progress=False)
    last = result.logs['learner'].iloc[-1]
    assert (last['first/rule_steps'], last['second/rule_steps']) == (6, 5)
    assert {name: int(count) for name, count in result.params.items()} == {
        'first': 6, 'second': 5, 'last': 1,
    }  # fmt: skip
    shorter = dataclasses.replace(recorded, max_learner_steps=6)
    offline.run(shorter, tmp_path / 'parts', progress=False)
    resumed = offline.run(recorded, tmp_path / 'parts', progress=False)
    assert resumed.summary['resumed_at'] == 6
    assert {name: int(count) for name, count in resumed.params.items()} == {
        'first': 6, 'second': 5, 'last': 1,
    }  # fmt: skip


@pytest.mark.parametrize('run', [culmen.run, compiled.run, offline.run])
def test_a_rule_of_recordings_alone_beside_another_is_refused(run):
    budget = 'max_learner_steps' if run is offline.run else 'max_actor_steps'
    with pytest.raises(Refused, match=r"experience\['second'\] is of Datasets alone"):
        run(experiment(agent=Counting(mixed=True), **{budget: 10}))


@pytest.mark.parametrize('run', [culmen.run, compiled.run])
def test_the_rule_whose_loss_breaks_is_named(run):
    broken = experiment(agent=Counting(broken_at=3), max_actor_steps=40)
    # Both make an update for every second item: the fourth of the second rule is the eighth of all.
    with pytest.raises(NonFiniteLossError, match=r"loss of update 8 \(of rule 'second'\)"):
        run(broken, progress=False)


def test_a_result_with_rules_pickles_and_evaluates(tmp_path):
    result = culmen.run(experiment(agent=Counting(), max_actor_steps=40), tmp_path, progress=False)
    copy = pickle.loads(pickle.dumps(result))
    assert copy.summary == result.summary
    assert len(culmen.load(tmp_path, trust=True).evaluate(2).returns) == 2


@pytest.mark.slow
def test_many_runs_as_one_keep_the_rules_of_each():
    shape = experiment(agent=two_rules.Beside(), num_environments=2, max_actor_steps=120)
    several = [dataclasses.replace(shape, seed=seed) for seed in (1, 2)]
    counted = ['actor_steps', 'learner_steps', 'ppo/rule_steps', 'dqn/rule_steps', 'ppo/staleness']
    alone = compiled.run(several[1], progress=False).logs['learner'][counted]
    as_one = compiled_many.run_many(several, as_one=True, progress=False)
    assert as_one[0].summary['learner_steps'] > 100
    pd.testing.assert_frame_equal(as_one[1].logs['learner'][counted], alone)


@pytest.mark.slow
@pytest.mark.launchpad
@pytest.mark.skipif(not is_installed('reverb'), reason='Reverb is not installed')
def test_rules_draw_from_a_server_that_is_restored(tmp_path):
    shape = experiment(agent=two_rules.Beside(), num_environments=2, max_actor_steps=80)
    options = {'replay': 'reverb', 'progress': False}
    culmen.run(shape, tmp_path, **options)
    longer = dataclasses.replace(shape, max_actor_steps=160)
    resumed = culmen.run(longer, tmp_path, **options)
    whole = culmen.run(longer, **options)
    assert resumed.summary['resumed_at'] == 80
    runs_of = [each.logs['learner'].iloc[-1] for each in (resumed, whole)]
    for name in ('ppo/rule_steps', 'dqn/rule_steps', 'ppo/staleness'):
        assert runs_of[0][name] == runs_of[1][name]
    assert runs_of[0]['ppo/rule_steps'] > 4
