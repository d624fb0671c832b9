"""Sources of Datasets for the shared suites: streams in which the action follows from the observation."""

from collections.abc import Iterator

import jax
import numpy as np

from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import legal_actions
from culmen.core.specs import without_legal_actions
from culmen.core.types import Stream
from culmen.core.types import TimeStep

ROWS = 60


def discrete() -> Iterator[Stream]:
    """Of the discrete environment."""
    return _streams('discrete_spec')


def legal() -> Iterator[Stream]:
    """Of the environment with legal actions."""
    return _streams('legal_spec')


def continuous() -> Iterator[Stream]:
    """Of the environment with a box of actions."""
    return _streams('continuous_spec')


def multi_binary() -> Iterator[Stream]:
    """Of the environment with three choices of two values."""
    return _streams('multi_binary_spec')


def branches() -> Iterator[Stream]:
    """Of the environment with a choice of three values beside two of two values."""
    return _streams('branches_spec')


def _streams(name: str) -> Iterator[Stream]:
    # The registry names these sources.
    from tests.agents import registry
    from tests.agents import streams

    spec: EnvironmentSpec = getattr(registry, name)()
    for lane in range(4):
        ticks = streams.random_stream(spec, 1, seed=lane)
        timesteps = [next(ticks) for _ in range(ROWS)]
        timestep = TimeStep(
            *jax.tree_util.tree_map(lambda *leaves: np.concatenate(leaves), *timesteps)
        )
        vector = without_legal_actions(timestep.observation)
        if hasattr(spec.action, 'num_values'):
            values = vector[:, : spec.action.num_values]
            legal = legal_actions(timestep.observation)
            values = values if legal is None else np.where(legal, values, -np.inf)
            action = np.argmax(values, axis=1).astype(np.int32)
        elif isinstance(spec.action, tuple):
            switches = (vector[:, :2] > 0).astype(np.int8)
            action = np.argmax(vector[:, :3], axis=1).astype(np.int32), switches
        elif spec.action.dtype == np.int8:
            action = (vector[:, : spec.action.shape[0]] > 0).astype(np.int8)
        else:
            action = vector[:, : spec.action.shape[0]].astype(np.float32)
        yield Stream(timestep, action, (), np.zeros(ROWS, np.int32))
