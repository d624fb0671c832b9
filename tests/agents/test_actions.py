"""Which agent takes which actions: those that build for them, and that a refusal names them."""

import numpy as np
import pytest
from dm_env import specs

from culmen import agents
from culmen.components import networks
from tests.agents import registry

CHOICE = specs.DiscreteArray(3, np.int32, 'choice')
BOX = specs.BoundedArray((2,), np.float32, -1, 1, 'box')
UNBOUNDED = specs.Array((2,), np.float32, 'unbounded')
ACTIONS = {
    'one choice': CHOICE,
    'one choice of integers': specs.BoundedArray((), np.int32, 2, 4),
    'choices': specs.BoundedArray((2,), np.int32, [0, 1], [1, 3]),
    'bools': specs.Array((2,), bool),
    'nest of choices': {'a': CHOICE, 'b': specs.BoundedArray((2, 2), np.int8, 0, 1)},
    'box': BOX,
    'box of a number': specs.BoundedArray((), np.float32, 0, 1),
    'box without bounds': UNBOUNDED,
    'nest of a box': (BOX,),
    'hybrid': {'a': CHOICE, 'b': BOX},
    'hybrid without bounds': {'a': CHOICE, 'b': UNBOUNDED},
    'integers without bounds': specs.Array((2,), np.int32),
}
NEEDED = {'bc': {'source': 'a'}}
PLAIN = {
    name: target
    for name, target in agents.AGENTS.items()
    if not target.startswith('culmen.agents.wrappers')
}


def class_of(name):
    agent = getattr(agents, PLAIN[name].partition(':')[0].rpartition('.')[2])
    return getattr(agent, PLAIN[name].partition(':')[2])


def build(name, action):
    agent = class_of(name)(**NEEDED.get(name, {}))
    return agent.build(registry.discrete_spec()._replace(action=action))


@pytest.mark.parametrize('kind', ACTIONS)
def test_the_agents_that_take_an_action_are_those_that_a_refusal_names(kind):
    action = ACTIONS[kind]
    takers = networks.takers(action)
    words = f'take it: {", ".join(takers)}' if takers else 'No agent of Culmen takes it'
    for name in PLAIN:
        if name in takers:
            build(name, action)
            continue
        with pytest.raises(ValueError, match=f'^{class_of(name).__name__} needs .*{words}'):
            build(name, action)
