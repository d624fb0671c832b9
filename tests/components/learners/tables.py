"""A table of numbered draws, and batches that look like those of an agent: for the tests of learners."""

from typing import Any

import jax
import numpy as np

from culmen.components.replay import sample_spec
from culmen.core.agent import Parts
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import MID
from culmen.core.types import Lanes
from culmen.core.workers import Draw
from culmen.launchers.building import trace

BATCH = 4


class Table:
    """Numbers its draws; says what was written back, and when."""

    def __init__(self, total=1000):
        self.draws = 0
        self.total = total
        self.written = []

    def due(self, updates=1):
        return self.draws + updates <= self.total

    def draw(self):
        self.draws += 1
        return Draw(self.draws, np.full(BATCH, self.draws, np.float32))

    def update_priorities(self, keys, priorities):
        self.written.append((self.draws, keys, float(priorities[0])))


class Recorded(Table):
    """Gives these samples in turn."""

    def __init__(self, samples):
        super().__init__(len(samples))
        self.samples = samples

    def draw(self):
        self.draws += 1
        return Draw(self.draws, self.samples[self.draws - 1])


def random_samples(parts: Parts, spec: EnvironmentSpec, number: int) -> list[Any]:
    """Batches of the shapes that the agent's table would give, of steps within an episode."""
    row_spec = trace(parts, spec, Lanes(np.zeros(1, np.int32), 1)).row_spec
    shapes = sample_spec(parts.experience, row_spec, 1)
    generator = np.random.default_rng(0)

    def draw(leaf: Any) -> Any:
        if np.issubdtype(leaf.dtype, np.floating):
            return generator.uniform(-1, 1, leaf.shape).astype(leaf.dtype)
        return np.zeros(leaf.shape, leaf.dtype)

    def sample() -> Any:
        drawn = jax.tree_util.tree_map(draw, shapes)
        ones = lambda leaf: np.ones_like(leaf)
        return drawn._replace(
            steps=drawn.steps._replace(
                step_type=np.full_like(drawn.steps.step_type, MID),
                discount=jax.tree_util.tree_map(ones, drawn.steps.discount),
                mask=ones(drawn.steps.mask),
            ),
            probability=ones(drawn.probability) / len(drawn.probability),
            size=np.int32(len(drawn.probability)),
        )

    return [sample() for _ in range(number)]
