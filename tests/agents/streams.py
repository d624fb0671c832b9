"""Random streams of any spec, and what an agent's workers make of them: samples to update on."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from culmen.components.actors.actor import extras_spec
from culmen.components.dispatch import unpack_context
from culmen.components.dispatch import unpacked
from culmen.components.replay import DatasetReader
from culmen.components.replay import InProcessTable
from culmen.components.replay import RowSpec
from culmen.core.experience import Queue
from culmen.core.experience import live
from culmen.core.experience import recorded
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import zeros_like
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Lanes
from culmen.core.types import Sample
from culmen.core.types import TimeStep
from culmen.core.workers import Draw
from tests.agents.registry import Row


def first_timestep(spec: EnvironmentSpec, num_lanes: int) -> TimeStep:
    """Zeros at FIRST."""
    step_type = np.full(num_lanes, FIRST, np.int32)
    nests = (
        zeros_like(nest, (num_lanes,)) for nest in (spec.reward, spec.discount, spec.observation)
    )
    return TimeStep(step_type, *nests)


def lanes(num_lanes: int, total: int | None = None) -> Lanes:
    """The first lanes of a program."""
    return Lanes(np.arange(num_lanes, dtype=np.int32), total or num_lanes)


def packed(count: int, actor_steps: int = 0, learner_steps: int = 0) -> np.ndarray:
    """The context of a call, as workers hand it over."""
    return np.array([count, 7 * count + 1, actor_steps, learner_steps], np.int32)


def context(*args: int) -> Any:
    """The Context of a call."""
    return unpack_context(packed(*args))


def random_observation(spec: Any, batch: tuple[int, ...], generator: np.random.Generator) -> Any:
    """An observation of any spec, within its bounds; some action is legal."""

    def draw(leaf: Any) -> np.ndarray:
        shape = batch + tuple(leaf.shape)
        if leaf.dtype == bool:
            drawn = generator.random(shape) < 0.5
            drawn[..., generator.integers(leaf.shape[-1])] = True
            return drawn
        low, high = getattr(leaf, 'minimum', -1.0), getattr(leaf, 'maximum', 1.0)
        if np.issubdtype(leaf.dtype, np.integer):
            return generator.integers(low, high, shape, dtype=leaf.dtype, endpoint=True)
        return generator.uniform(low, high, shape).astype(leaf.dtype)

    return jax.tree_util.tree_map(draw, spec)


def random_stream(spec: EnvironmentSpec, num_lanes: int, seed: int = 0) -> Iterator[TimeStep]:
    """Episodes of 1 to 6 steps that terminate or are truncated, each lane by itself."""
    generator = np.random.default_rng(seed)
    left = np.zeros(num_lanes, int)  # steps to LAST; 0: the next is FIRST
    while True:
        first = left == 0
        last = left == 1
        left = np.where(first, generator.integers(1, 7, num_lanes), left - 1)
        step_type = np.where(first, FIRST, np.where(last, LAST, MID)).astype(np.int32)
        terminated = last & (generator.random(num_lanes) < 0.5)
        observation = random_observation(spec.observation, (num_lanes,), generator)
        if isinstance(observation, dict) and 'legal_actions' in observation:
            for mask in jax.tree_util.tree_leaves(observation['legal_actions']):
                mask[terminated] = False  # where an episode is over, nothing is legal

        def where(mask: np.ndarray, leaf: Any, values: Any, other: float) -> np.ndarray:
            shaped = np.reshape(mask, (num_lanes,) + (1,) * len(leaf.shape))
            return np.where(shaped, values, np.full((num_lanes, *leaf.shape), other, np.float32))

        reward = jax.tree_util.tree_map(
            lambda leaf, first=first: where(
                ~first, leaf, generator.normal(size=(num_lanes, *leaf.shape)), 0.0
            ).astype(np.float32),
            spec.reward,
        )
        discount = jax.tree_util.tree_map(
            lambda leaf, over=terminated: where(over, leaf, np.float32(0), 1.0), spec.discount
        )
        yield TimeStep(step_type, reward, discount, observation)


_DRAWING: dict[tuple[str, int], tuple[list[Sample], Iterator[Sample]]] = {}


def samples(row: Row, num: int = 3, num_lanes: int = 4) -> tuple[Sample, ...]:
    """The first samples of a row's own experience, its windows padded, terminal and truncated."""
    key = (row.name, num_lanes)
    if key not in _DRAWING:
        parts = row.agent.build(row.spec)
        params = parts.learner.variables(jax.jit(parts.learner.init)(jax.random.key(0)))
        act = jax.jit(
            lambda params, timestep, state, packed: parts.actor.select_action(
                params, timestep, state, unpack_context(packed)
            )
        )
        _DRAWING[key] = [], draw(row, parts, params, act, num_lanes)
    return first(num, *_DRAWING[key])


def first(num: int, drawn: list[Sample], rest: Iterator[Sample]) -> tuple[Sample, ...]:
    """The first samples: those drawn before, and as many more of the rest as it takes."""
    drawn.extend(itertools.islice(rest, max(num - len(drawn), 0)))
    return tuple(drawn[:num])


def forget() -> None:
    """Lets go of what was drawn."""
    _DRAWING.clear()


def draw(row: Row, parts: Any, params: Any, act: Any, num_lanes: int) -> Iterator[Sample]:
    """The samples of a row's own experience, acted by `act(params, timestep, state, packed)`."""
    state = parts.actor.init(jax.random.key(0), lanes(num_lanes))
    row_spec = RowSpec(
        row.spec,
        *extras_spec(parts.actor, params, first_timestep(row.spec, num_lanes), lanes(num_lanes)),
    )
    acted_on = without_waits(live(parts.experience))
    table: Any = InProcessTable(acted_on, row_spec, num_lanes, seed=0) if acted_on else None
    reader = table
    if recorded(parts.experience):
        reader = DatasetReader(parts.experience, row_spec, seed=0, table=table)
    while table is None:
        yield unpacked(reader.draw().samples)

    generator = np.random.default_rng(0)
    for tick, timestep in enumerate(random_stream(row.spec, num_lanes)):
        table.observe(timestep)
        while tick > 40 and reader.due():
            drawn = reader.draw()
            yield unpacked(drawn.samples)
            if getattr(parts.experience, 'prioritised', False):
                table.update_priorities(drawn.keys, generator.exponential(size=len(drawn.keys)))
        action, state, extras = act(params, timestep, state, packed(tick, tick))
        table.act(*jax.tree_util.tree_map(np.asarray, (action, extras)), version=0)


def without_waits(experience: Any) -> Any:
    """An experience for which no lane waits at FIRST, as those of `random_stream` never do."""
    if isinstance(experience, Queue) and not experience.window.cross_episodes:
        return dataclasses.replace(experience, max_staleness=None)
    return experience


def of_tables(sample: Any) -> list[Sample]:
    """The samples of all tables."""
    return [sample] if isinstance(sample, Sample) else list(sample.values())


def map_steps(function: Any, sample: Any) -> Any:
    """The sample, or those of all tables, with the steps changed."""
    if isinstance(sample, Sample):
        return sample._replace(steps=function(sample.steps))
    return {name: each._replace(steps=function(each.steps)) for name, each in sample.items()}


class Samples:
    """A table that gives recorded samples one after another, and keeps what is written back."""

    def __init__(self, recorded: tuple[Sample, ...]) -> None:
        self._recorded = recorded
        self.draws = 0
        self.priorities: list[Any] = []

    def due(self, updates: int = 1) -> bool:
        return self.draws + updates <= len(self._recorded)

    def draw(self) -> Draw:
        self.draws += 1
        return Draw(self.draws - 1, self._recorded[(self.draws - 1) % len(self._recorded)])

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        self.priorities.append((keys, priorities))


def assert_trees_equal(a: Any, b: Any) -> None:
    """Two pytrees are equal, bit for bit."""
    assert jax.tree_util.tree_structure(a) == jax.tree_util.tree_structure(b)
    leaves = jax.tree_util.tree_leaves(a)
    assert leaves
    for x, y in zip(leaves, jax.tree_util.tree_leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
        assert np.asarray(x).dtype == np.asarray(y).dtype


def assert_trees_close(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Two pytrees are equal but for rounding, which is coarser for half floats."""
    assert jax.tree_util.tree_structure(a) == jax.tree_util.tree_structure(b)
    leaves = jax.tree_util.tree_leaves(a)
    assert leaves
    for x, y in zip(leaves, jax.tree_util.tree_leaves(b), strict=True):
        dtype = np.asarray(x).dtype
        assert dtype == np.asarray(y).dtype
        one_ulp = np.finfo(dtype).eps if np.issubdtype(dtype, np.floating) else 0.0
        np.testing.assert_allclose(x, y, rtol=max(rtol, one_ulp), atol=atol)
