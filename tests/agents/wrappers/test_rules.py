"""An agent around another that has several rules: each is wrapped by itself, over one set of statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import wrappers
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.agent import Parts
from culmen.core.experience import tables
from culmen.core.rules import arrange
from culmen.core.types import ActorCore
from culmen.core.types import LearnerCore
from tests.agents import registry
from tests.agents import streams
from tests.agents.wrappers.test_wrappers import sample_of

SPEC = registry.discrete_spec(shape=(1,))
EXPERIENCE = {
    'one': Replay(Window(length=2, first=('extras/core',)), 100, 1, 4, 4.0),
    'other': {'queue': Queue(Window(2, 2, True)), 'kept': Replay(Window(), 100, 1, 4, 4.0)},
}


class Mirrors:
    """A base whose rules show what they are given: each keeps its last sample."""

    def build(self, spec):
        del spec

        def select_action(params, timestep, state, context):
            return jnp.zeros(timestep.step_type.shape, jnp.int32), state, {'core': timestep.reward}

        def of(name):
            def update(state, sample, context):
                return {**state, name: sample}, {'loss': jnp.float32(0)}, None

            return update

        actor = ActorCore(lambda key, lanes: (), select_action)
        update = {name: of(name) for name in EXPERIENCE}
        learner = LearnerCore(
            lambda key: dict.fromkeys(EXPERIENCE, ()), update, lambda state: state
        )
        return Parts(actor, actor, learner, EXPERIENCE)


def updates_of(agent):
    parts = agent.build(SPEC)
    assert list(parts.learner.update) == ['one', 'other']
    arrange(parts.learner, parts.experience)
    return parts, parts.learner.init(jax.random.key(0))


def test_each_rule_is_normalised_by_what_all_have_seen():
    parts, state = updates_of(wrappers.Normalised(Mirrors(), epsilon=1e-12))
    update = parts.learner.update
    state, metrics, _ = update['one'](state, sample_of([0, 0, 0], [1, 3, 5]), streams.context(0))
    assert float(metrics['observation_deviation']) == pytest.approx((8 / 3) ** 0.5)
    given = {'queue': sample_of([0, 0, 0], [3, 5, 9]), 'kept': sample_of([0, 0], [5, 3])}
    state, _, _ = update['other'](state, given, streams.context(1))
    for name, observed in (('queue', [3, 5, 9]), ('kept', [5, 3])):
        by_hand = (np.array(observed) - 3) / (8 / 3) ** 0.5
        shown = state.base['other'][name].steps.observation[0, :, 0]
        np.testing.assert_allclose(shown, by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.base['one'].steps.observation[0, :, 0], [1, 3, 5])
    np.testing.assert_allclose(state.moments.mean[0], np.mean([1, 3, 5, 3, 5, 9, 5, 3]), rtol=1e-5)
    assert parts.experience == EXPERIENCE


def test_rewards_of_each_rule_are_scaled_and_its_paths_follow_the_extras():
    parts, state = updates_of(wrappers.RewardScaled(Mirrors(), discount=0.0, epsilon=1e-12))
    extras = {'base': {'core': jnp.zeros((1, 1))}, 'return': jnp.zeros((1, 2))}
    sample = sample_of([0, 2, 6], [0, 0, 0], extras)
    state, metrics, _ = parts.learner.update['one'](state, sample, streams.context(0))
    assert set(state.base['one'].steps.extras) == {'core'}
    assert float(metrics['return_deviation']) == pytest.approx(2.0)
    both = {'queue': sample, 'kept': sample}
    state, _, _ = parts.learner.update['other'](state, both, streams.context(1))
    for given in state.base['other'].values():
        np.testing.assert_allclose(given.steps.reward, [[0, 1, 3]], rtol=1e-5)
    assert parts.experience['one'].window.first == ('extras/base/core',)
    assert list(tables(arrange(parts.learner, parts.experience))) == [
        'one', 'other/queue', 'other/kept',
    ]  # fmt: skip


def test_a_queue_in_one_rule_masks_random_actions_in_all():
    parts, state = updates_of(wrappers.WarmedUp(Mirrors(), steps=10))
    extras = {'base': {'core': jnp.zeros((1, 1))}, 'random': jnp.array([[True, False]])}
    sample = sample_of([0, 1, 2], [0, 0, 0], extras)
    state = {'one': sample, 'other': {'queue': sample, 'kept': sample}}
    base = lambda each: each._replace(steps=each.steps._replace(extras={'core': jnp.zeros((1, 1))}))
    state = jax.tree_util.tree_map(base, state, is_leaf=lambda each: hasattr(each, 'steps'))
    for rule, given in (('one', sample), ('other', {'queue': sample, 'kept': sample})):
        after, _, _ = parts.learner.update[rule](state, given, streams.context(0))
        for each in after[rule].values() if rule == 'other' else [after[rule]]:
            np.testing.assert_array_equal(each.steps.mask, [[False, True]])
            assert set(each.steps.extras) == {'core'}
    assert parts.experience['one'].window.first == ('extras/base/core',)


def test_demonstrations_need_a_base_with_one_replay():
    with pytest.raises(ValueError, match=r"a base with one Replay .* got \{'one': Replay"):
        wrappers.Demonstrated(Mirrors(), 'somewhere').build(SPEC)
