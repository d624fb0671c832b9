"""Every field of every agent does something: another value of it gives other parts.

Parts are compared as what they are for: what is sampled, which parameters there are, and the programs that
act, evaluate and learn, as JAX traces them. Nothing is compiled. What a field does is asked elsewhere, in the
folder of its agent and in `test_settings.py`.
"""

import dataclasses
import itertools
import re
import typing
from collections.abc import Iterator
from typing import Any
from typing import Literal

import jax
import numpy as np
import pytest
from dm_env import specs

from culmen.components.keys import unpack
from culmen.components.replay import sample_spec
from culmen.core import Lanes
from culmen.core.experience import tables
from culmen.core.types import FIRST
from culmen.core.types import TimeStep
from culmen.launchers.building import prepare
from tests.agents import recorded
from tests.agents import registry

LANES = Lanes(np.arange(2, dtype=np.int32), 2)
PIXELS = specs.BoundedArray((8, 8, 1), np.uint8, 0, 255, 'observation')
# Fields of agents on images alone; there is a base for them beside the rows.
OF_IMAGES = {'encoder_channels', 'augmentation_pad'}
# Another value, where none of the usual ones is accepted.
OTHERS = {
    'base': None,
}
# Fields that change no part, and why.
IGNORED: dict[str, str] = {}

BASES: dict[type, list[tuple[Any, Any]]] = {}
for _row in registry.AGENTS:
    BASES.setdefault(type(_row.agent), []).append((_row.agent, _row.spec))
for _agent, _bases in BASES.items():
    if OF_IMAGES & {field.name for field in dataclasses.fields(_agent)}:
        small = {'encoder_channels': (2,), 'augmentation_pad': 1}
        _base, _spec = _bases[0]
        _bases.append((dataclasses.replace(_base, **small), _spec._replace(observation=PIXELS)))

FIELDS = [
    pytest.param(agent, field.name, id=f'{agent.__name__}.{field.name}')
    for agent in BASES
    for field in dataclasses.fields(agent)
]


def looks(agent: Any, spec: Any) -> Iterator[str]:
    """What there is to see of an agent's parts, the cheap before the dear."""
    parts = agent.build(spec)
    yield re.sub(r' at 0x\w+', '', repr(parts.experience))
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(parts.learner.init, key)
    yield str(state)
    params = jax.eval_shape(parts.learner.variables, state)
    yield str(params)
    context = jax.ShapeDtypeStruct((4,), np.int32)
    timestep = TimeStep(*shapes((FIRST, spec.reward, spec.discount, spec.observation)))
    for core in (parts.actor, parts.evaluator):
        carried = jax.eval_shape(lambda key, core=core: core.init(key, LANES), key)
        yield program(
            lambda params, timestep, carried, packed, core=core: core.select_action(
                params, timestep, carried, unpack(packed)
            ),
            params, timestep, carried, context,
        )  # fmt: skip
    samples = sample_spec(parts.experience, spec, *prepare(parts, spec, LANES), LANES.total)
    of_tables = samples if isinstance(parts.experience, dict) else {'': samples}
    for name, table in tables(parts.experience).items():
        if getattr(table, 'priority', None) is not None:
            yield program(table.priority, of_tables[name].steps)
    yield program(
        lambda state, sample, packed: parts.learner.update(state, sample, unpack(packed)),
        state, samples, context,
    )  # fmt: skip
    yield program(parts.learner.init, key)


def shapes(tree: Any) -> Any:
    """Of two lanes."""
    return jax.tree_util.tree_map(
        lambda leaf: jax.ShapeDtypeStruct(
            (LANES.total, *np.shape(leaf)), getattr(leaf, 'dtype', np.int32)
        ),
        tree,
    )


def program(function: Any, *arguments: Any) -> str:
    """What is computed, with the numbers in it."""
    jaxpr = jax.make_jaxpr(function)(*arguments)
    text = re.sub(r' at 0x\w+', '', str(jaxpr))
    return text + ''.join(np.asarray(const).tobytes().hex() for const in jaxpr.consts)


class Seen:
    """The looks of an agent, each taken once."""

    def __init__(self, agent: Any, spec: Any) -> None:
        self.looks = looks(agent, spec)
        self.taken: list[str] = []

    def __getitem__(self, i: int) -> str | None:
        while len(self.taken) <= i:
            look = next(self.looks, None)
            if look is None:
                return None
            self.taken.append(look)
        return self.taken[i]


SEEN = {(agent, i): Seen(*base) for agent, bases in BASES.items() for i, base in enumerate(bases)}


def other_values(agent: type, name: str, value: Any) -> Iterator[Any]:
    """Values that a field could have instead."""
    annotation = typing.get_type_hints(agent)[name]
    for each in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(each) is Literal:
            yield from (choice for choice in typing.get_args(each) if choice != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, 2 * value, value - 1)
    elif isinstance(value, float):
        yield from (value / 2, value / 2 + 0.25, value - 1.0, value + 1.0)
    elif isinstance(value, tuple):
        yield (*value, 3)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            for inner in other_values(type(value), field.name, getattr(value, field.name)):
                yield dataclasses.replace(value, **{field.name: inner})
    elif callable(value):
        yield from (recorded.discrete, recorded.legal, recorded.continuous)
    elif value is None:
        yield from (1, 0.25, 2)
    if value is not None and type(None) in typing.get_args(annotation):
        yield None


def differs(agent: Any, spec: Any, seen: Seen) -> bool:
    """Whether a look of the agent is another. A value that is refused on the way is none."""
    other = looks(agent, spec)
    for i in itertools.count():
        expected = seen[i]
        try:
            look = next(other, None)
        except (ValueError, TypeError):
            return False
        if look != expected:
            return True
        if look is None:
            return False
    raise AssertionError


@pytest.mark.parametrize(('agent', 'name'), FIELDS)
def test_another_value_of_a_field_gives_other_parts(agent, name):
    for i, (base, spec) in enumerate(BASES[agent]):
        for value in other_values(agent, name, getattr(base, name)):
            try:
                changed = dataclasses.replace(base, **{name: value})
            except (ValueError, TypeError):
                continue
            if differs(changed, spec, SEEN[agent, i]):
                return
    pytest.fail(f'no other value of {agent.__name__}.{name} changes anything')
