"""Checks of an update: its metrics fit a log, and its state keeps shapes and dtypes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core.specs import is_real
from culmen.core.specs import leaf_paths
from culmen.core.types import Context
from culmen.core.types import LearnerCore


def metric_names(core: LearnerCore, sample_spec: Any) -> tuple[str, ...]:
    """The names of an update's metrics, from one trace of it; 'loss' comes first.

    Args:
        core: of an agent.
        sample_spec: shapes and dtypes of the samples.
    Raises: ValueError that names a metric that is not a scalar, or a leaf of the training state that
        the update changes in structure, shape or dtype.
    """

    def update(samples: Any) -> Any:
        state = core.init(jax.random.key(0))
        context = Context(jax.random.key(0), jnp.int32(0), jnp.int32(0), jnp.int32(0))
        return state, *core.update(state, samples, context)

    old, new, metrics, _ = jax.eval_shape(update, sample_spec)
    check_metrics(metrics)
    check_like('training_state', old, new)
    return ('loss', *sorted(set(metrics) - {'loss'}))


def check_metrics(metrics: Any) -> None:
    """Checks that the metrics of an update (arrays, or shapes and dtypes) fit a log.

    Raises: ValueError if 'loss' is missing, or that names a metric that is not a real scalar.
    """
    if not isinstance(metrics, Mapping) or 'loss' not in metrics:
        got = sorted(metrics) if isinstance(metrics, Mapping) else repr(metrics)
        raise ValueError(f"an update's metrics must hold 'loss', got {got}.")
    for name, metric in metrics.items():
        for path, leaf in leaf_paths(metric, f'metrics[{name!r}]') or [(name, metric)]:
            shape, dtype = np.shape(leaf), jnp.result_type(leaf)
            if leaf is not metric or shape or not is_real(dtype):
                raise ValueError(
                    f"an update's metrics must be real scalars, got {path} of {dtype}{list(shape)}."
                )


def check_like(what: str, old: Any, new: Any) -> None:
    """Checks that a core's new value of `what` keeps the structure, shapes and dtypes of the old one.

    Raises: ValueError that names the leaf that differs.
    """
    if jax.tree_util.tree_structure(old) != jax.tree_util.tree_structure(new):
        raise ValueError(
            f'an update must keep the structure of the {what.replace("_", " ")} '
            f'{jax.tree_util.tree_structure(old)}, got {jax.tree_util.tree_structure(new)}.'
        )
    for (path, a), (_, b) in zip(leaf_paths(old, what), leaf_paths(new), strict=True):
        if a.shape != np.shape(b) or a.dtype != jnp.result_type(b):
            raise ValueError(
                f'an update must keep {path} as {a.dtype}{list(a.shape)}, '
                f'got {jnp.result_type(b)}{list(np.shape(b))}.'
            )


def keep_like(what: str, old: Any, new: Any) -> Any:
    """A core's new value of `what`, cast to the dtypes of the old one. Raises: as `check_like`."""
    check_like(what, old, new)
    return jax.tree_util.tree_map(lambda a, b: jax.lax.convert_element_type(b, a.dtype), old, new)
