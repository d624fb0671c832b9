"""Every field of every agent does something: another value of it gives other parts.

Parts are compared as what they are for: what is sampled, which parameters there are, and the programs that
act, evaluate and learn, as JAX traces them. Nothing is compiled. What a field does is asked elsewhere, in the
folder of its agent and in `test_settings.py`.
"""

import dataclasses
import functools
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
PIXELS = specs.BoundedArray((84, 84, 1), np.uint8, 0, 255, 'observation')
# Beside the rows of the registry: what else has to be said for a field to matter.
MORE = {
    'encoder_channels': ({'encoder_channels': (2,), 'augmentation_pad': 1}, PIXELS),
    'torso': ({}, PIXELS),
    'shared_torso': ({'core': 'none'}, None),
    'rmsprop_decay': ({'optimizer': 'rmsprop'}, None),
}
# Fields that change no part, by agent and name, with the reason.
NOTHING: dict[tuple[str, str], str] = {}

BASES: dict[type, list[tuple[Any, Any]]] = {}
for _row in registry.AGENTS:
    BASES.setdefault(type(_row.agent), []).append((_row.agent, _row.spec))
for _agent, _bases in BASES.items():
    for _name, (_settings, _observation) in MORE.items():
        if _name in {field.name for field in dataclasses.fields(_agent)}:
            _base, _spec = _bases[0]
            if _observation is not None:
                _spec = _spec._replace(observation=_observation)
            _bases.append((dataclasses.replace(_base, **_settings), _spec))

FIELDS = [
    pytest.param(agent, field.name, id=f'{agent.__name__}.{field.name}')
    for agent in BASES
    for field in dataclasses.fields(agent)
]


class Looks:
    """What there is to see of an agent's parts, each taken when it is first asked for."""

    def __init__(self, agent: Any, spec: Any) -> None:
        self.agent, self.spec = agent, spec
        self.parts = agent.build(spec)
        self.key = jax.eval_shape(lambda: jax.random.key(0))
        self.state = jax.eval_shape(self.parts.learner.init, self.key)
        self.context = jax.ShapeDtypeStruct((4,), np.int32)

    @functools.cached_property
    def samples(self) -> Any:
        prepared = prepare(self.parts, self.spec, LANES)
        return sample_spec(self.parts.experience, self.spec, *prepared, LANES.total)

    @functools.cached_property
    def shapes(self) -> str:
        """Of what is sampled and learned."""
        experience = re.sub(r' at 0x\w+', '', repr(self.parts.experience))
        params = jax.eval_shape(self.parts.learner.variables, self.state)
        return f'{experience} {self.state} {params}'

    @functools.cached_property
    def acting(self) -> str:
        """The programs of who acts, and of who evaluates."""
        params = jax.eval_shape(self.parts.learner.variables, self.state)
        timestep = TimeStep(
            *of_lanes((FIRST, self.spec.reward, self.spec.discount, self.spec.observation))
        )
        text = ''
        for core in (self.parts.actor, self.parts.evaluator):
            init = functools.partial(core.init, lanes=LANES)
            carried = jax.eval_shape(init, self.key)
            select = lambda params, timestep, carried, packed, core=core: core.select_action(
                params, timestep, carried, unpack(packed)
            )
            text += program(init, self.key)
            text += program(select, params, timestep, carried, self.context)
        return text

    @functools.cached_property
    def priorities(self) -> str:
        """The programs that give new items theirs."""
        of_tables = self.samples if isinstance(self.parts.experience, dict) else {'': self.samples}
        return ''.join(
            program(table.priority, of_tables[name].steps)
            for name, table in tables(self.parts.experience).items()
            if getattr(table, 'priority', None) is not None
        )

    @functools.cached_property
    def learning(self) -> str:
        """The program of an update."""
        update = lambda state, sample, packed: self.parts.learner.update(
            state, sample, unpack(packed)
        )
        return program(update, self.state, self.samples, self.context)

    @functools.cached_property
    def beginning(self) -> str:
        """The program of the first state."""
        return program(self.parts.learner.init, self.key)

    def used_by_update(self, names: list[str]) -> set[str]:
        """Which of these numbers an update's results are made from, as JAX traces them."""

        def update(values: Any, *inputs: Any) -> Any:
            *inputs, packed = inputs
            parts = dataclasses.replace(self.agent, **values).build(self.spec)
            return parts.learner.update(*inputs, unpack(packed))

        values = {name: jax.ShapeDtypeStruct((), np.float32) for name in names}
        jaxpr = jax.make_jaxpr(update)(values, self.state, self.samples, self.context).jaxpr
        needed = {variable for variable in jaxpr.outvars if not hasattr(variable, 'val')}
        for equation in reversed(jaxpr.eqns):
            if needed & set(equation.outvars):
                needed |= {variable for variable in equation.invars if not hasattr(variable, 'val')}
        return {name for name, given in zip(sorted(values), jaxpr.invars) if given in needed}


CHEAP = ('shapes', 'acting', 'priorities')
DEAR = ('learning', 'beginning')


def of_lanes(tree: Any) -> Any:
    """Shapes and dtypes."""
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


@functools.cache
def base_looks(agent: type, i: int) -> Looks:
    return Looks(*BASES[agent][i])


@functools.cache
def other_looks(agent: type, i: int, name: str) -> list[Looks]:
    """Of the agents with another value of a field, as far as that is accepted."""
    base, spec = BASES[agent][i]
    found = []
    for value in other_values(agent, name, getattr(base, name)):
        try:
            found.append(Looks(dataclasses.replace(base, **{name: value}), spec))
        except (ValueError, TypeError):
            continue
    return found


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


def differ(agent: type, i: int, name: str, looks: tuple[str, ...]) -> bool:
    """Whether one of these looks is another. A value that is refused on the way is none."""
    for other, look in itertools.product(other_looks(agent, i, name), looks):
        mine = getattr(base_looks(agent, i), look)
        try:
            if getattr(other, look) != mine:
                return True
        except (ValueError, TypeError):
            continue
    return False


@functools.cache
def used_numbers(agent: type, i: int) -> set[str]:
    """The fields, of those that can be seen nowhere else, whose numbers an update is made from."""
    base, _ = BASES[agent][i]
    numbers = [
        field.name
        for field in dataclasses.fields(agent)
        if type(getattr(base, field.name)) is float and not differ(agent, i, field.name, CHEAP)
    ]
    return base_looks(agent, i).used_by_update(numbers)


@pytest.mark.parametrize(('agent', 'name'), FIELDS)
def test_another_value_of_a_field_gives_other_parts(agent, name):
    bases = range(len(BASES[agent]))
    seen = (
        any(differ(agent, i, name, CHEAP) for i in bases)
        or any(name in used_numbers(agent, i) for i in bases)
        or any(differ(agent, i, name, DEAR) for i in bases)
    )
    assert seen or (agent.__name__, name) in NOTHING, 'no other value of it changes anything'
