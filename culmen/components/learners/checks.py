"""Checks of an update: its metrics fit a log, and its state keeps shapes and dtypes."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core.experience import within
from culmen.core.rules import by_rule
from culmen.core.rules import updates
from culmen.core.specs import is_real
from culmen.core.specs import leaf_paths
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Update

RULE_STEPS = 'rule_steps'  # beside the metrics of a rule: its updates so far


class NonFiniteLossError(RuntimeError):
    """The loss of an update was not finite."""

    checkpoint: str | None = None  # where the run's state was saved

    def __str__(self) -> str:
        kept = '' if self.checkpoint is None else f' The state was saved in {self.checkpoint}.'
        return super().__str__() + kept


def metric_names(core: LearnerCore, sample_spec: Any) -> tuple[str, ...]:
    """The names of an update's metrics, from one trace of it; 'loss' comes first.

    Those of a rule begin with its name: 'ppo/loss'. Before them is 'ppo/rule_steps', its updates so far.

    Args:
        core: of an agent.
        sample_spec: shapes and dtypes of the samples; mirrors `core.update`.
    Raises: ValueError that names a metric that is not a scalar, or a leaf of the training state that
        an update changes in structure, shape or dtype.
    """
    samples = by_rule(core, sample_spec)
    return tuple(
        within(rule, name)
        for rule, update in updates(core).items()
        for name in _names(core, rule, update, samples[rule])
    )


def _names(core: LearnerCore, rule: str, update: Update, sample_spec: Any) -> list[str]:
    def once(samples: Any) -> Any:
        state = core.init(jax.random.key(0))
        context = Context(jax.random.key(0), jnp.int32(0), jnp.int32(0), jnp.int32(0))
        return state, *update(state, samples, context)

    old, new, metrics, _ = jax.eval_shape(once, sample_spec)
    check_metrics(metrics)
    check_like('training_state', old, new)
    names = ['loss', *sorted(set(metrics) - {'loss'})]
    if not rule:
        return names
    if RULE_STEPS in names:
        raise ValueError(
            f"an update's metrics must not hold {RULE_STEPS!r}, the number of updates of its rule, got "
            f'{names}.'
        )
    return [RULE_STEPS, *names]


def named_metrics(rule: str, metrics: Mapping[str, float], rule_steps: int) -> dict[str, float]:
    """The metrics of a rule's last update, named as by `metric_names`; none before its first.

    Args: rule: '' for a lone one, whose metrics keep their names.
    """
    if not rule:
        return dict(metrics)
    if not rule_steps:
        return {}
    named = {within(rule, name): value for name, value in metrics.items()}
    return {within(rule, RULE_STEPS): rule_steps, **named}


def own_metrics(rule: str, named: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a rule's last update, from those of all rules: the inverse of `named_metrics`."""
    if not rule:
        return dict(named)
    begin = f'{rule}/'
    own = {name[len(begin) :]: value for name, value in named.items() if name.startswith(begin)}
    return {name: value for name, value in own.items() if name != RULE_STEPS}


def mark_non_finite(first: Any, loss: Any, step: Any, place: int) -> jax.Array:
    """Notes an update whose loss is not finite, unless one of its rule is noted already.

    Args:
        first: int32[], the first such update, 0 for none; of several rules int32[rules].
        loss: of this update.
        step: int32[], its number among the updates of all rules, from 1.
        place: of its rule.
    Returns: `first` with it.
    """
    before = first[place] if first.ndim else first
    bad = (before == 0) & ~jnp.all(jnp.isfinite(loss))
    after = jnp.where(bad, step, before)
    return first.at[place].set(after) if first.ndim else after


def first_non_finite(rules: Sequence[str], first: Any) -> tuple[int, str]:
    """The first update whose loss was not finite, and its rule in words; (0, '') if there is none.

    Args: first: as of `mark_non_finite`, on the host.
    """
    noted = [(int(step), rule) for rule, step in zip(rules, np.atleast_1d(first)) if step]
    step, rule = min(noted, default=(0, ''))
    return step, f' (of rule {rule!r})' if rule else ''


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
