"""Every field of every agent does something: another value of it gives other parts.

Parts are compared as what they are for: what is sampled, which parameters there are, and the programs that
act, evaluate and learn, as JAX traces them. Nothing is compiled. What a field does is asked elsewhere, in the
folder of its agent and in `test_settings.py`.
"""

import dataclasses
import functools
import re
import typing
from collections.abc import Iterator
from typing import Any
from typing import Literal

import jax
import numpy as np
import pytest
from dm_env import specs

from culmen.components.dispatch import unpack_context
from culmen.components.replay import sample_spec
from culmen.core import Lanes
from culmen.core.experience import tables
from culmen.core.specs import REWARD
from culmen.core.types import FIRST
from culmen.core.types import TimeStep
from culmen.launchers.building import trace
from tests.agents import recorded
from tests.agents import registry

pytestmark = pytest.mark.slow  # of all agents together; each field takes a part of a second

LANES = Lanes(np.arange(2, dtype=np.int32), 2)
PIXELS = specs.BoundedArray((84, 84, 1), np.uint8, 0, 255, 'observation')
NUMBER = registry.box_spec().observation
# What has to be said for a field to matter, where no row of the registry does: settings, parts of the spec.
MORE = {
    'encoder_channels': (
        {'encoder_channels': (2,), 'augmentation_pad': 1, 'critic_observation': ()},
        {'observation': PIXELS},
    ),
    'augmentation_pad': ({'critic_observation': ()}, {'observation': PIXELS}),
    'torso': ({}, {'observation': PIXELS}),
    'shared_torso': ({'core': 'none'}, {}),
    'rmsprop_decay': ({'optimizer': 'rmsprop'}, {}),
    'noise_sigma': ({'noise': 'factorised'}, {}),
    'log_policy_clip': ({'munchausen': 0.9, 'double': False}, {}),
    'retrace_lambda': ({'targets': 'retrace', 'critic': 'mean', 'sequence_length': 4}, {}),
    **dict.fromkeys(('num_atoms', 'v_min', 'v_max'), ({'critic': 'categorical'}, {})),
    **dict.fromkeys(('num_components', 'num_returns'), ({'critic': 'gaussians'}, {})),
    'online': ({'min_replay_size': 0, 'samples_per_insert': 4.0}, {}),
    'head': ({'num_atoms': 51, 'embedding_size': 64}, {}),
    'epsilon_objectives': (
        {'epsilon_objectives': (0.1, 0.2)},
        {'reward': {'a': REWARD, 'b': REWARD}},
    ),
    'initial_log_scale': ({}, {'action': registry.continuous_spec().action}),
    'task_input': ({}, {'num_tasks': 2}),
    'critic_observation': ({'critic_observation': ('number',)}, {'observation': NUMBER}),
}
# Fields that change no part, by agent and name, with the reason.
NOTHING: dict[tuple[str, str], str] = {}

BASES: dict[type, list[tuple[Any, Any]]] = {}
for _row in registry.AGENTS:
    BASES.setdefault(type(_row.agent), []).append((_row.agent, _row.spec))
OWN = {}  # the place of the base that is made for a field
for _agent, _bases in BASES.items():
    for _name, (_settings, _parts) in MORE.items():
        _fields = {field.name for field in dataclasses.fields(_agent)}
        if _name in _fields:
            _base, _spec = _bases[0]
            _settings = {each: _settings[each] for each in _settings if each in _fields}
            OWN[_agent, _name] = len(_bases)
            _bases.append((dataclasses.replace(_base, **_settings), _spec._replace(**_parts)))


def parameters() -> Iterator[Any]:
    """Each field of each agent; what several agents inherit is `deep` but for the first of them."""
    inherited = set()
    for agent in BASES:
        for field in dataclasses.fields(agent):
            of = next(
                each
                for each in reversed(agent.__mro__)
                if field.name in each.__dict__.get('__annotations__', {})
            )
            marks = pytest.mark.deep if (of, field.name) in inherited else ()
            inherited.add((of, field.name))
            yield pytest.param(agent, field.name, id=f'{agent.__name__}.{field.name}', marks=marks)


class Looks:
    """What there is to see of an agent's parts, each taken when it is first asked for."""

    def __init__(self, agent: Any, spec: Any) -> None:
        self.agent, self.spec = agent, spec
        self.parts = agent.build(spec)
        self.experience = re.sub(r' at 0x\w+', '', repr(self.parts.experience))

    @functools.cached_property
    def inputs(self) -> tuple[Any, ...]:
        """Of all that the parts do: a key, a context, the learner's state, samples, time steps."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        state = jax.eval_shape(self.parts.learner.init, key)
        row_spec = trace(self.parts, self.spec, LANES).row_spec
        samples = sample_spec(self.parts.experience, row_spec, LANES.total)
        spec = self.spec
        nest = (FIRST, spec.reward, spec.discount, spec.observation)
        timestep = TimeStep(
            *jax.tree_util.tree_map(
                lambda leaf: jax.ShapeDtypeStruct(
                    (LANES.total, *np.shape(leaf)), getattr(leaf, 'dtype', np.int32)
                ),
                nest,
            )
        )
        return key, jax.ShapeDtypeStruct((4,), np.int32), state, samples, timestep

    @functools.cached_property
    def shapes(self) -> str:
        """Of what is learned."""
        return str(jax.eval_shape(self.parts.learner.init, jax.random.key(0)))

    @functools.cached_property
    def acting(self) -> list[Any]:
        """The programs of who acts, and of who evaluates."""
        return program(functools.partial(act, self.parts), *self.inputs)

    @functools.cached_property
    def learning(self) -> list[Any]:
        """The programs of the first state, of an update, and of the priorities of new items."""
        return program(functools.partial(learn, self.parts), *self.inputs)

    def used(self, names: list[str]) -> set[str]:
        """Which of these numbers the results are made from, as JAX traces them."""

        def everything(values: Any, *inputs: Any) -> Any:
            parts = dataclasses.replace(self.agent, **values).build(self.spec)
            return act(parts, *inputs), learn(parts, *inputs)

        values = {name: jax.ShapeDtypeStruct((), np.float32) for name in names}
        jaxpr = jax.make_jaxpr(everything)(values, *self.inputs).jaxpr
        needed = set(filter(is_variable, jaxpr.outvars))
        for equation in reversed(jaxpr.eqns):
            if needed & set(equation.outvars):
                needed.update(filter(is_variable, equation.invars))
        return {name for name, given in zip(sorted(values), jaxpr.invars) if given in needed}


def act(parts: Any, key: Any, packed: Any, state: Any, samples: Any, timestep: Any) -> Any:
    params = parts.learner.variables(state)
    results = []
    for core in (parts.actor, parts.evaluator):
        carried = core.init(key, LANES)
        results.append(core.select_action(params, timestep, carried, unpack_context(packed)))
    return results


def learn(parts: Any, key: Any, packed: Any, state: Any, samples: Any, timestep: Any) -> Any:
    of_tables = samples if isinstance(parts.experience, dict) else {'': samples}
    priorities = [
        table.priority(of_tables[name].steps)
        for name, table in tables(parts.experience).items()
        if getattr(table, 'priority', None) is not None
    ]
    update = parts.learner.update(state, samples, unpack_context(packed))
    return parts.learner.init(key), update, priorities


def program(function: Any, *arguments: Any) -> list[Any]:
    """What is computed, with the numbers in it: what is equal does the same."""
    found: list[Any] = []

    def walk(jaxpr: Any, constants: Any) -> None:
        names = {variable: f'c{i}' for i, variable in enumerate(jaxpr.constvars)}
        names |= {variable: f'i{i}' for i, variable in enumerate(jaxpr.invars)}
        found.append([np.asarray(value).tobytes() for value in constants])
        for equation in jaxpr.eqns:
            given = [
                names.get(each) if is_variable(each) else np.asarray(each.val).tobytes()
                for each in equation.invars
            ]
            results = [(each.aval.shape, each.aval.dtype) for each in equation.outvars]
            found.append((equation.primitive.name, given, results))
            names |= {variable: len(names) + i for i, variable in enumerate(equation.outvars)}
            for name, param in sorted(equation.params.items()):
                for inner in param if isinstance(param, tuple | list) else (param,):
                    if hasattr(getattr(inner, 'jaxpr', inner), 'eqns'):
                        walk(getattr(inner, 'jaxpr', inner), getattr(inner, 'consts', ()))
                    elif isinstance(inner, int | float | str | tuple):
                        found.append((name, inner))
        found.append([names.get(each) if is_variable(each) else each.val for each in jaxpr.outvars])

    closed = jax.make_jaxpr(function)(*arguments)
    walk(closed.jaxpr, closed.consts)
    return found


def is_variable(each: Any) -> bool:
    return not hasattr(each, 'val')


@functools.cache
def looks_of_base(agent: type, i: int) -> Looks:
    return Looks(*BASES[agent][i])


@functools.cache
def looks_of_others(agent: type, i: int, name: str) -> list[Looks]:
    """Of the agents with another value of a field, as far as that is accepted."""
    base, spec = BASES[agent][i]
    found = []
    for other in other_agents(base, name):
        try:
            found.append(Looks(other, spec))
        except (ValueError, TypeError):
            continue
    return found


def other_agents(base: Any, name: str) -> Iterator[Any]:
    for value in other_values(type(base), name, getattr(base, name)):
        try:
            yield dataclasses.replace(base, **{name: value})
        except (ValueError, TypeError):
            continue


def other_values(agent: type, name: str, value: Any) -> Iterator[Any]:
    """Values that a field could have instead."""
    annotation = typing.get_type_hints(agent)[name]
    for each in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(each) is Literal:
            yield from (choice for choice in typing.get_args(each) if choice != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, 2 * value)
    elif isinstance(value, float):
        yield from (value / 2, value / 2 + 0.25)
    elif isinstance(value, tuple):
        yield (*value, 3)
        yield (*value, 'number')
        yield ()
        if all(isinstance(each, float) for each in value):
            yield tuple(each / 2 for each in value)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from other_agents(value, field.name)
    elif callable(value):
        yield from (recorded.discrete, recorded.legal, recorded.continuous)
    elif value is None:
        yield from (1, 0.25, 2)
    if value is not None and type(None) in typing.get_args(annotation):
        yield None


def differs(agent: type, i: int, name: str, look: str) -> bool:
    """Whether a look is another. A value that is refused on the way is none."""
    mine = getattr(looks_of_base(agent, i), look)
    for other in looks_of_others(agent, i, name):
        try:
            if getattr(other, look) != mine:
                return True
        except (ValueError, TypeError):
            continue
    return False


@functools.cache
def used_numbers(agent: type, i: int) -> set[str]:
    """The fields, of those that the experience does not show, whose numbers results are made from."""
    base, _ = BASES[agent][i]
    numbers = [
        field.name
        for field in dataclasses.fields(agent)
        if type(getattr(base, field.name)) is float
        and not differs(agent, i, field.name, 'experience')
    ]
    return looks_of_base(agent, i).used(numbers)


@pytest.mark.parametrize(('agent', 'name'), list(parameters()))
def test_another_value_of_a_field_gives_other_parts(agent, name):
    bases = sorted(range(len(BASES[agent])), key=lambda i: i != OWN.get((agent, name)))
    floats = [i for i in bases if type(getattr(BASES[agent][i][0], name)) is float]
    seen = (
        any(differs(agent, i, name, 'experience') for i in bases)
        or any(name in used_numbers(agent, i) for i in floats)
        or any(
            differs(agent, i, name, look)
            for i in bases
            for look in ('shapes', 'acting', 'learning')
        )
    )
    assert seen or (agent.__name__, name) in NOTHING, 'no other value of it changes anything'
