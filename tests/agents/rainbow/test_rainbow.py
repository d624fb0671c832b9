"""Rainbow is C51, or IQN, with settings of its own."""

import dataclasses
import re

import jax
import pytest

from culmen.agents import c51
from culmen.agents import iqn
from culmen.agents import rainbow
from tests.agents import registry
from tests.agents import streams

ROW = registry.of('rainbow')


def test_it_has_all_improvements_by_default():
    agent = rainbow.Rainbow()
    assert (agent.head, agent.double, agent.dueling, agent.noise) == (
        'c51', True, True, 'factorised',
    )  # fmt: skip
    assert (agent.n_step, agent.priority_exponent, agent.importance_exponent) == (3, 0.5, 0.4)
    assert (agent.epsilon_initial, agent.epsilon) == (0.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(('head', 'other'), [('c51', c51.C51), ('iqn', iqn.IQN)])
def test_it_is_the_agent_of_its_head_with_its_settings(head, other):
    changes = {'head': head, **({} if head == 'c51' else {'num_atoms': 51})}
    agent = dataclasses.replace(ROW.agent, **changes)
    names = {field.name for field in dataclasses.fields(other)}
    settings = {
        field.name: getattr(agent, field.name)
        for field in dataclasses.fields(agent)
        if field.name in names
    }
    one, same = agent.build(ROW.spec), other(**settings).build(ROW.spec)
    assert one.experience == same.experience
    key = jax.random.key(0)
    sample = streams.samples(ROW)[0]
    results = [
        str(jax.make_jaxpr(lambda state, core=parts.learner: core.update(state, sample, streams.context(0)))(
            parts.learner.init(key)
        ))
        for parts in (one, same)
    ]  # fmt: skip
    assert len({re.sub(r'0x\w+', '', each) for each in results}) == 1


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        (
            {'head': 'iqn', 'v_min': -1.0},
            r"v_min must be left at -10.0 where head is 'iqn', got -1.0",
        ),
        ({'num_fractions': 9}, r"num_fractions must be left at 8 where head is 'c51', got 9"),
        ({'head': 'qr'}, "Rainbow.head must be one of 'c51', 'iqn'"),
        ({'v_min': 3.0, 'v_max': 3.0}, 'v_max must be finite and above'),
    ],
)
def test_settings_of_the_other_head_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        rainbow.Rainbow(**settings)
