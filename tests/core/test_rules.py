"""Rules: what an experience has to mirror, and what is refused."""

import jax.numpy as jnp
import pytest

from culmen.core import rules
from culmen.core.agent import Parts
from culmen.core.experience import ByRule
from culmen.core.experience import Dataset
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.experience import live
from culmen.core.experience import mirror
from culmen.core.experience import recorded
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.experience import unmirror
from culmen.core.experience import version_shape
from culmen.core.types import ActorCore
from culmen.core.types import LearnerCore
from culmen.launchers.building import build_agent

REPLAY = Replay(Window(), capacity=10, min_size=2, batch_size=4, samples_per_insert=1.0)
QUEUE = Queue(Window(4, 4, True), max_staleness=0)
DATASET = Dataset(Window(), 'somewhere', batch_size=4)


def learn(state, sample, context):
    return state, {'loss': jnp.float32(0)}, None


def core(update):
    return LearnerCore(lambda key: jnp.float32(0), update, lambda state: state)


TWO = {'one': learn, 'two': learn}


def test_a_lone_function_is_the_rule_without_a_name():
    experience = {'a': REPLAY, 'b': DATASET}
    lone = core(learn)
    assert rules.arrange(lone, experience) is experience
    assert rules.updates(lone) == {'': learn}
    assert rules.by_rule(lone, experience) == {'': experience}
    assert rules.mirrored(lone, {'': 3}) == 3
    assert version_shape(experience) == ()


def test_tables_of_rules_have_the_names_of_both_in_the_order_of_the_rules():
    of_two = {'queue': QUEUE, 'recorded': DATASET}
    experience = rules.arrange(core(TWO), {'two': of_two, 'one': REPLAY})
    assert list(tables(experience).items()) == [
        ('one', REPLAY), ('two/queue', QUEUE), ('two/recorded', DATASET),
    ]  # fmt: skip
    assert table_label('two/queue') == "experience['two']['queue']"
    assert list(recorded(experience)) == ['two/recorded']
    assert list(tables(live(experience))) == ['one', 'two/queue']
    alone = ByRule({'one': DATASET, 'two': REPLAY})
    assert live(alone) == ByRule({'one': {}, 'two': REPLAY})  # a version has a number for each
    assert live(ByRule({'one': DATASET})) is None
    assert version_shape(experience) == (2,)
    values = {'one': 1, 'two/queue': 2, 'two/recorded': 3}
    mirrored = {'one': 1, 'two': {'queue': 2, 'recorded': 3}}
    assert mirror(experience, values) == mirrored
    assert unmirror(experience, mirrored) == values
    assert set(unmirror(experience, None).values()) == {None}
    assert rules.largest_version(experience, values) == (1, 3)


@pytest.mark.parametrize(
    ('update', 'experience', 'words'),
    [
        (3, REPLAY, 'LearnerCore.update must be a function or a mapping of rules, got 3'),
        ({}, {}, 'at least one rule, got an empty mapping'),
        ({'one': 3}, {'one': REPLAY}, r"update\['one'\] must be a function, got 3"),
        ({'a/b': learn}, {'a/b': REPLAY}, "a rule must have a name .* got 'a/b'"),
        ({'a,b': learn}, {'a,b': REPLAY}, "a rule must have a name .* got 'a,b'"),
        ({'': learn}, {'': REPLAY}, "a rule must have a name .* got ''"),
        ({7: learn}, {7: REPLAY}, 'a rule must have a name .* got 7'),
        (TWO, REPLAY, r"for each of the rules \['one', 'two'\], got Replay"),
        (TWO, {'one': REPLAY}, r"the names of the rules \['one', 'two'\], got \['one'\]"),
        (TWO, {'one': REPLAY, 'three': REPLAY}, r"got \['one', 'three'\]"),
        (TWO, {'one': REPLAY, 'two': {}}, r"experience\['two'\] must have at least one table"),
        (TWO, {'one': REPLAY, 'two': 3}, r"experience\['two'\] must be a Replay, .* or a dict of"),
        (TWO, {'one': REPLAY, 'two': {'a': 3}}, r"experience\['two'\]\['a'\] must be a Replay, a Q"),
        (TWO, {'one': REPLAY, 'two': {'a/b': REPLAY}}, r"a table of experience\['two'\] must have a n"),
        (learn, {}, 'experience must have at least one table'),
        (learn, 3, 'experience must be a Replay, a Queue, a Dataset or a dict of them, got 3'),
        (learn, {'a': 3}, r"experience\['a'\] must be a Replay, a Queue, a Dataset, got 3"),
        (learn, {'a/b': REPLAY}, "a table of experience must have a name .* got 'a/b'"),
    ],
)  # fmt: skip
def test_what_does_not_mirror_the_update_is_refused_where_an_agent_is_built(
    update, experience, words
):
    class Agent:
        def build(self, spec):
            del spec
            actor = ActorCore(lambda key, lanes: (), lambda *given: given)
            return Parts(actor, actor, core(update), experience)

    with pytest.raises(ValueError, match=words):
        build_agent(Agent(), None)


def test_rules_are_changed_one_by_one():
    actor = ActorCore(lambda key, lanes: (), lambda *given: given)
    parts = Parts(actor, actor, core(TWO), {'one': REPLAY, 'two': {'queue': QUEUE}})
    seen = []

    def change(name, rule):
        seen.append(name)
        return rules.Rule(lambda *given: (name, rule.update(*given)), DATASET)

    changed = rules.map_rules(parts, change)
    assert seen == ['one', 'two']
    assert changed.experience == {'one': DATASET, 'two': DATASET}
    assert changed.learner.update['two'](1, 2, 3)[0] == 'two'
    assert changed.actor is parts.actor


@pytest.mark.parametrize(
    ('version', 'needed', 'older'),
    [
        (3, 3, False), (2, 3, True), (-1, 0, True), ((3, 5), (3, 4), False), ((3, 5), (4, 0), True),
        (-1, (0, 0), True),
    ],
)  # fmt: skip
def test_a_version_is_older_if_one_rule_is_behind(version, needed, older):
    assert rules.is_older(version, needed) is older
    assert rules.total((3, 5)) == 8 and rules.total(7) == 7
    assert rules.as_version([3, 5]) == (3, 5) and rules.as_version(7) == 7
