"""What agents made of agents share: samples of every table, extras around the base's, running moments."""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.replay.stream.windows import moved_under
from culmen.core.experience import Experience
from culmen.core.experience import Replay
from culmen.core.experience import RuleExperience
from culmen.core.experience import mirror
from culmen.core.experience import tables
from culmen.core.experience import unmirror
from culmen.core.rules import Rule
from culmen.core.specs import leaf_paths
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Samples
from culmen.core.types import Steps
from culmen.core.types import Update

BASE = 'base'  # the field of the outer agent's extras that holds the base's extras


def map_steps(
    function: Callable[[Steps], Steps], experience: Experience, samples: Samples
) -> Samples:
    """Applies a function to the steps of every table's sample."""
    changed = {
        name: sample._replace(steps=function(sample.steps))
        for name, sample in unmirror(experience, samples).items()
    }
    return mirror(experience, changed)


def all_steps(experience: Experience, samples: Samples) -> list[Steps]:
    """The steps of every table."""
    return [sample.steps for sample in unmirror(experience, samples).values()]


def around_extras(experience: RuleExperience, own: str) -> RuleExperience:
    """The experience of a rule of an agent whose extras are {'base': those of the base, own: ...}."""
    around = {name: _around(table, own) for name, table in tables(experience).items()}
    moved: RuleExperience = mirror(experience, around)
    return moved


def base_extras(steps: Steps) -> Steps:
    """Steps with the base's own extras, as far as the window has them."""
    return steps._replace(extras=steps.extras.get(BASE, ()))


def _around(table: Any, own: str) -> Any:
    window = moved_under(table.window, BASE)
    if window.fields is not None:
        window = dataclasses.replace(window, fields=(*window.fields, f'extras/{own}'))
    changed = dataclasses.replace(table, window=window)
    if isinstance(table, Replay) and table.priority is not None:
        changed = dataclasses.replace(changed, priority=_OfBase(table.priority))
    return changed


@dataclasses.dataclass(frozen=True)
class _OfBase:
    """The base's priority, applied to the outer agent's steps. Two of them are equal if the base's are."""

    priority: Callable[[Steps], Array]

    def __call__(self, steps: Steps) -> Array:
        return self.priority(base_extras(steps))


def map_leaves(function: Callable[[str, Any], Any], nest: Nest) -> Nest:
    """Applies `function(path, leaf)` to the leaves of a nest, from which some may be left out."""
    leaves = [function(path, leaf) for path, leaf in leaf_paths(nest)]
    return jax.tree_util.tree_structure(nest).unflatten(leaves)


def is_real(steps: Steps, times: int) -> jax.Array:
    """Which time steps of an observation [B, times, ...] belong to a real transition: bool[B, times].

    Args: times: length + 1, or the shorter time axis of a leaf in `Window.ends` or `first`.
    """
    mask = jnp.asarray(steps.mask)
    if times == mask.shape[1] + 1:
        none = jnp.zeros_like(mask[:, :1])
        return jnp.concatenate([mask, none], axis=1) | jnp.concatenate([none, mask], axis=1)
    ends = jnp.stack([mask[:, 0], mask.any(axis=1)], axis=1)
    return ends[:, :times]


class Moments(NamedTuple):
    """Mean and variance so far of several quantities."""

    seen: tuple[Array, ...]  # float32[]: how often
    mean: tuple[Array, ...]
    variance: tuple[Array, ...]


def initial_moments(shapes: Sequence[tuple[int, ...]]) -> Moments:
    """Moments before any value: mean 0 and variance 1, which leave observations as they are."""
    return Moments(
        tuple(jnp.float32(0) for _ in shapes),
        tuple(jnp.zeros(shape, jnp.float32) for shape in shapes),
        tuple(jnp.ones(shape, jnp.float32) for shape in shapes),
    )


def update_moments(
    moments: Moments, values: Sequence[Array | None], real: Sequence[Array | None]
) -> Moments:
    """Adds a batch, by the pairwise combination of Chan, Golub and LeVeque 1979, equation 2.1.

    Args:
        moments: so far.
        values: of each quantity [..., *shape]; None: the batch does not have it.
        real: of each quantity bool[...]; where False a value doesn't count.
    """
    return Moments(*zip(*map(_combined, *moments, values, real), strict=True))


def update_with_moments(
    rule: Rule,
    change: Callable[[Steps, Moments], Steps],
    measure: Callable[[Steps], tuple[Sequence[Array | None], Sequence[Array | None]]],
    metric: str,
) -> Update:
    """The update of a rule whose samples are changed by running moments, which the same samples update.

    Samples are changed by the moments from before the update. The rule updates first, then the moments.

    Args:
        rule: of the base, whose training state is `base` in a named tuple beside `moments`.
        change: (steps, moments) -> the steps that the rule learns from.
        measure: steps -> (values, real), as for `update_moments`.
        metric: the name of the mean deviation after the update.
    """

    def update(state: Any, samples: Samples, context: Context) -> tuple[Any, Metrics, Any]:
        changed = map_steps(lambda steps: change(steps, state.moments), rule.experience, samples)
        trained, metrics, priorities = rule.update(state.base, changed, context)
        moments = state.moments
        for steps in all_steps(rule.experience, samples):
            moments = update_moments(moments, *measure(steps))
        metrics = {**metrics, metric: mean_deviation(moments)}
        return state._replace(base=trained, moments=moments), metrics, priorities

    return update


def mean_deviation(moments: Moments) -> jax.Array:
    """The mean of the standard deviations of all numbers: float32[]."""
    deviations = [jnp.ravel(jnp.sqrt(variance)) for variance in moments.variance]
    return jnp.mean(jnp.concatenate(deviations))


def _combined(
    seen: Array, mean: Array, variance: Array, value: Array | None, real: Array | None
) -> tuple[Array, Array, Array]:
    if value is None or real is None:
        return seen, mean, variance
    new = jnp.sum(real, dtype=jnp.float32)
    axes = tuple(range(real.ndim))
    shaped = jnp.reshape(real, real.shape + (1,) * mean.ndim)
    average = lambda x: jnp.sum(jnp.where(shaped, x, 0.0), axes) / jnp.maximum(new, 1.0)
    of_batch = average(value)
    spread = average(jnp.square(value - against(of_batch, value)))
    fraction = new / jnp.maximum(seen + new, 1.0)
    apart = of_batch - mean
    within = (1 - fraction) * variance + fraction * spread
    combined = within + fraction * (1 - fraction) * jnp.square(apart)
    return seen + new, mean + fraction * apart, combined


def against(quantity: Any, leaf: Any) -> jax.Array:
    """Adds leading axes to a quantity [*shape], so that it broadcasts against a leaf [..., *shape]."""
    quantity = jnp.asarray(quantity)
    return jnp.reshape(quantity, (1,) * (jnp.ndim(leaf) - quantity.ndim) + quantity.shape)


def select(condition: Array, new: Nest, old: Nest) -> Nest:
    """`new` where a condition [] holds, else `old`."""
    return jax.tree_util.tree_map(lambda a, b: jnp.where(condition, a, b), new, old)
