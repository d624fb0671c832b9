"""What an update is held to: metrics that a log takes, and a state that keeps its shapes and dtypes."""

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
    """The names of the metrics of an update, from tracing it once; 'loss' first.

    Args:
        core: an agent's.
        sample_spec: shapes and dtypes of what it learns from.
    Raises: ValueError that names a metric which is no scalar, or the leaf of the training state that
        the update does not keep.
    """

    def update(samples: Any) -> Any:
        state = core.init(jax.random.key(0))
        context = Context(jax.random.key(0), jnp.int32(0), jnp.int32(0))
        return state, *core.update(state, samples, context)

    old, new, metrics, _ = jax.eval_shape(update, sample_spec)
    check_metrics(metrics)
    check_like('training_state', old, new)
    return ('loss', *sorted(set(metrics) - {'loss'}))


def check_metrics(metrics: Any) -> None:
    """Holds the metrics of an update, arrays or their shapes and dtypes, to what a log takes.

    Raises: ValueError where 'loss' is missing; that names a metric which is no real scalar.
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
    """Holds what a core gave for `what` that it carries to the structure, shapes and dtypes of the old.

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
    """What a core gave for `what`, in the dtypes of the old. Raises: as `check_like`."""
    check_like(what, old, new)
    return jax.tree_util.tree_map(lambda a, b: jax.lax.convert_element_type(b, a.dtype), old, new)
