"""The list of agents: whole, true, and with the names of other frameworks."""

import shlex

import pytest

from culmen.agents import AGENTS
from culmen.agents.catalogue import ELSEWHERE
from culmen.agents.catalogue import ENTRIES
from culmen.agents.catalogue import elsewhere
from culmen.components import networks
from culmen.launchers.configs import agent_class
from culmen.launchers.configs import preset
from tests.agents import registry


def test_every_agent_has_an_entry_and_groups_are_together():
    assert set(ENTRIES) == set(AGENTS)
    groups = [entry.group for entry in ENTRIES.values()]
    begins = [a for a, b in zip(groups, [None, *groups]) if a != b]
    assert len(begins) == len(set(begins))


def test_kinds_of_actions_are_those_that_build_takes():
    of_kinds = {
        'one choice': registry.discrete_spec(), 'choices': registry.multi_discrete_spec(),
        'a bounded box': registry.continuous_spec(),
    }  # fmt: skip
    takers = {kind: networks.takers(spec.action) for kind, spec in of_kinds.items()}
    for name, entry in ENTRIES.items():
        if entry.group == 'around an agent':
            continue
        assert ('choice' in entry.actions) == (name in takers['one choice']), name
        assert ('choices' in entry.actions) == (name in takers['choices']), name
        assert ('box' in entry.actions) == (name in takers['a bounded box']), name


@pytest.mark.parametrize('name', ELSEWHERE)
def test_what_another_name_means_is_a_command_that_is_accepted(name):
    agent, *options = shlex.split(ELSEWHERE[name].partition(',')[0])
    cls = agent_class(agent)
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == '--preset':
            assert preset(agent, value)
        else:
            assert option.removeprefix('--agent.') in cls.__dataclass_fields__


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('double', 'did you mean dqn --agent.double true'),
        ('QRDQN', 'did you mean qr_dqn'),
        ('DQN', 'did you mean dqn'),
        ('m_iqn', 'did you mean iqn --preset munchausen'),
        ('dqm', 'the nearest valid ones: dqn'),
    ],
)
def test_an_unknown_name_is_answered(name, words):
    with pytest.raises(ValueError, match=words):
        agent_class(name)
    assert elsewhere('dqn') is None
