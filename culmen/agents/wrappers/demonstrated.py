"""An agent that learns from demonstrations beside its own steps.

It has two tables: the base's Replay, and a Dataset of recorded streams with the same window. Every batch has
a fixed share of demonstrations, as in Paine et al. 2019, "Making Efficient Use of Demonstrations to Solve
Hard Exploration Problems" (1909.01387), section 3 (R2D3), and the base learns from it as from any batch.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated
from typing import Any

import jax
import jax.numpy as jnp

from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.experience import LONE
from culmen.core.experience import Dataset
from culmen.core.experience import Replay
from culmen.core.rules import updates
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Context
from culmen.core.types import Metrics
from culmen.core.types import Sample
from culmen.core.types import State

REPLAY, DEMONSTRATIONS = 'replay', 'demonstrations'


@dataclass(frozen=True)
class Demonstrated:
    """An agent that mixes demonstrations into the batches of another, which has a Replay."""

    base: Agent  # with one Replay
    source: str | Callable[[], Any]  # a folder that a run recorded, or () -> an iterator of Streams
    # Share of demonstrations in a batch, rounded to whole windows.
    ratio: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.25

    def __post_init__(self) -> None:
        check_fields(self)

    def build(self, spec: EnvironmentSpec) -> Parts:
        """Builds the agent for environments of this spec."""
        base = self.base.build(spec)
        replay = base.experience
        if not isinstance(replay, Replay) or replay.draw == 'all':
            raise ValueError(
                f'Demonstrated needs a base with one Replay that is sampled, got {replay!r}.'
            )
        learn = updates(base.learner)[LONE]
        size = replay.batch_size
        demonstrations = round(self.ratio * size)
        own = size - demonstrations
        if not (demonstrations and own):
            raise ValueError(
                f'ratio must leave demonstrations and own steps in a batch of {size}, '
                f'got {self.ratio}.'
            )

        def update(
            state: State, samples: dict[str, Sample], context: Context
        ) -> tuple[State, Metrics, Any]:
            batch = _joined(samples[REPLAY], samples[DEMONSTRATIONS])
            state, metrics, priorities = learn(state, batch, context)
            if priorities is None:
                return state, metrics, None
            return state, metrics, {REPLAY: priorities[:own], DEMONSTRATIONS: None}

        # Keeps the base's updates per insert, though each update draws fewer of its own windows.
        samples_per_insert = Fraction(replay.samples_per_insert) * Fraction(own, size)
        return base._replace(
            learner=base.learner._replace(update=update),
            experience={
                REPLAY: dataclasses.replace(
                    replay, batch_size=own, samples_per_insert=float(samples_per_insert)
                ),
                DEMONSTRATIONS: Dataset(replay.window, self.source, demonstrations),
            },
        )


def _joined(own: Sample, demonstrations: Sample) -> Sample:
    """Joins both samples; demonstrations get the probability of a uniform draw from the base's table."""
    as_if = jnp.full_like(demonstrations.probability, 1.0) / jnp.asarray(own.size, jnp.float32)
    demonstrations = demonstrations._replace(probability=as_if, size=own.size)
    join = lambda a, b: jnp.concatenate([jnp.asarray(a), jnp.asarray(b)])
    return Sample(
        steps=jax.tree_util.tree_map(join, own.steps, demonstrations.steps),
        probability=join(own.probability, demonstrations.probability),
        size=own.size,
        version=join(own.version, demonstrations.version),
        lane=join(own.lane, demonstrations.lane),
    )
