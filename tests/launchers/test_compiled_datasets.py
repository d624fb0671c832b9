"""Datasets of compiled runs: the draws of a run in one process, programs of many runs, and pretraining."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import culmen
from culmen.components.dispatch import distinct
from culmen.core import FIRST
from culmen.core import MID
from culmen.core import ActorCore
from culmen.core import Dataset
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Queue
from culmen.core import Stream
from culmen.core import TimeStep
from culmen.core import Window
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers.results import Refused
from tests.launchers.compiled_runs import CATCH

pytestmark = pytest.mark.slow
UPDATES = 90
ROWS = 500


def numbered():
    """Each row has its number in its observation."""
    step_type = np.full(ROWS, MID, np.int32)
    step_type[::7] = FIRST
    observation = np.zeros((ROWS, 4, 3), np.float32)
    observation[:, 0, 0] = np.arange(ROWS)
    timestep = TimeStep(step_type, np.zeros(ROWS), np.ones(ROWS), observation)
    yield Stream(timestep, np.zeros(ROWS, np.int32), (), np.zeros(ROWS, np.int32))


@dataclass(frozen=True)
class Listing:
    """Its parameters are a checksum of all that it has drawn from a recording, in order."""

    factor: float = 1.0
    batch_size: int = 8192  # so many that the draws of a call are used up soon
    change: bool = False
    updates_before: int = 0

    def build(self, spec):
        def select_action(params, timestep, state, context):
            return jnp.zeros(timestep.step_type.shape, spec.action.dtype), state, ()

        def update(state, samples, context):
            shown = samples if self.updates_before else samples['shown']
            rows = shown.steps.observation[:, 0, 0, 0].astype(jnp.uint32)
            places = jnp.arange(1, len(rows) + 1, dtype=jnp.uint32)
            listed = state['listed'] * 31 + jnp.sum(rows * places)
            return {**state, 'listed': listed}, {'loss': jnp.float32(self.factor)}, None

        def of_own(state, samples, context):
            return state, {'loss': jnp.float32(0)}, None

        actor = ActorCore(lambda key, lanes: jnp.zeros(len(lanes.index)), select_action)
        own = Queue(Window(length=4, period=4, cross_episodes=True))
        # A map of this agent's own, as it would be if it depended on a setting.
        change: Callable[[Stream], Stream] | None = None
        if self.change:
            change = functools.partial(lambda factor, stream: stream, self.factor)
        shown = Dataset(
            Window(length=2), numbered, self.batch_size, change,
            updates_before=self.updates_before,
        )  # fmt: skip
        experience = {'own': own, 'shown': shown}
        core = LearnerCore(lambda key: {'listed': jnp.uint32(0)}, update, lambda state: state)
        if self.updates_before:
            core = core._replace(update={'own': of_own, 'shown': update})
        return Parts(actor, actor, core, experience)


def experiment(agent=None, seed=3, **changes):
    settings = {
        'agent': agent or Listing(), 'environment': CATCH, 'seed': seed, 'lag': 0,
        'max_learner_steps': UPDATES, 'num_environments': 2,
        'evaluation': culmen.Evaluation(episodes=1),
    }  # fmt: skip
    return culmen.Experiment(**{**settings, **changes})


@functools.cache
def listed(agent, seed):
    """What a run in one process draws."""
    return int(culmen.run(experiment(agent, seed), progress=False).params['listed'])


@pytest.mark.parametrize('before', [0, 70])
def test_a_compiled_run_draws_what_a_run_in_one_process_does(before):
    agent = Listing(updates_before=before)
    result = compiled.run(experiment(agent), progress=False)
    assert result.summary['learner_steps'] == UPDATES
    assert int(result.params['listed']) == listed(agent, 3) != listed(agent, 4)


@pytest.mark.parametrize('as_one', [False, True])
@pytest.mark.parametrize('before', [0, 70])
def test_runs_of_one_program_draw_each_their_own(as_one, before):
    agent = Listing(updates_before=before)
    results = compiled_many.run_many(
        [experiment(agent, seed) for seed in (3, 4)], as_one=as_one, progress=False
    )
    assert [int(result.params['listed']) for result in results] == [
        listed(agent, 3), listed(agent, 4),
    ]  # fmt: skip


def test_a_resumed_run_draws_what_the_unbroken_one_does(tmp_path):
    short = experiment(max_learner_steps=50)
    compiled.run(short, tmp_path, progress=False)
    result = compiled.run(experiment(), tmp_path, progress=False)
    assert result.summary['resumed_at'] > 0
    assert int(result.params['listed']) == listed(Listing(), 3)


def test_a_number_that_a_map_may_depend_on_is_not_shared():
    same = [experiment(Listing(factor)) for factor in (1.0, 2.0)]
    assert len(compiled_many.plan(same)) == 1
    own = [experiment(Listing(factor, change=True)) for factor in (1.0, 2.0)]
    assert len(compiled_many.plan(own)) == 2


def test_pretraining_in_pieces_gives_the_same_bits():
    plan = compiled.make_plan(experiment(Listing(updates_before=20, batch_size=4)))
    engine = compiled.CompiledEngine(plan, experiment(), stop_on_non_finite=True)
    engine.feeds.refill(engine.draws)
    whole, made = plan.loop.pretrain(_begun(plan, engine), 100)
    assert made == 20
    pieces, numbers = _begun(plan, engine), []
    while True:
        pieces, made = plan.loop.pretrain(pieces, 7)
        numbers.append(made)
        if not made:
            break
    assert numbers == [7, 7, 6, 0]
    for a, b in zip(*map(jax.tree_util.tree_leaves, (whole, pieces)), strict=True):
        np.testing.assert_array_equal(a, b)


def _begun(plan, engine):
    return plan.loop.begin(3)._replace(feeds=distinct(engine.feeds.now))


def test_a_lost_recording_is_refused_before_anything_is_written(tmp_path):
    agent = dataclasses.replace(Demonstration(), source=str(tmp_path / 'none'))
    with pytest.raises(Refused, match='none holds no recording: there is no spec.json'):
        compiled.run(experiment(agent), tmp_path / 'run', progress=False)
    assert not (tmp_path / 'run').exists()


@dataclass(frozen=True)
class Demonstration(Listing):
    """From a folder."""

    source: str = ''

    def build(self, spec):
        parts = super().build(spec)
        shown = dataclasses.replace(parts.experience['shown'], source=self.source)
        return parts._replace(experience={**parts.experience, 'shown': shown})
