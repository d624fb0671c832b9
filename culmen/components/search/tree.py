"""Monte-Carlo tree search over a batch of lanes, by mctx. Policies call it in acting, learners on windows.

Each lane searches alone, with a key of its own, so what it finds does not depend on how lanes are batched.
The model may be learned, or the environment itself where that is written in JAX (`EnvironmentSpec.model`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp

from culmen.core.checks import check_range
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import Params


class Root(NamedTuple):
    """Where B lanes search from."""

    state: Nest  # [B, ...]: of the model
    logits: Array  # float32[B, num_actions]: of the policy
    value: Array  # float32[B]


class Prediction(NamedTuple):
    """What a model says of one step of one lane, and of where it leads to."""

    reward: Array  # float32[]
    discount: (
        Array  # float32[]: of what comes after; 0 where the episode ends, the agent's discount else
    )
    logits: Array  # float32[num_actions]: of the policy in the next state
    value: Array  # float32[]: of the next state


class Found(NamedTuple):
    """What B lanes found."""

    action: jax.Array  # int32[B]
    weights: (
        jax.Array
    )  # float32[B, num_actions]: shares of the visits, or with `Gumbel` the improved policy
    value: jax.Array  # float32[B]: of the root, after the search


# (params, key, state [...], action int32[]) -> (next state [...], Prediction), of one lane.
Model: TypeAlias = Callable[[Params, jax.Array, Nest, jax.Array], tuple[Nest, Prediction]]


@dataclass(frozen=True)
class Puct:
    """MuZero's search: Schrittwieser et al. 2020 (1911.08265), appendix B."""

    noise_fraction: float | Array = (
        0.25  # share of Dirichlet noise in the root's policy; 0 in evaluations
    )
    noise_alpha: float | Array = 0.3  # concentration of the noise
    temperature: float | Array = (
        1.0  # actions are drawn by visits ** (1 / temperature); 0: the most visited
    )


@dataclass(frozen=True)
class Gumbel:
    """Search by sequential halving: Danihelka et al. 2022, "Policy improvement by planning with Gumbel"."""

    considered: int = 16  # actions of the root that are looked at, at most
    noise_scale: float | Array = 1.0  # of the Gumbel noise that chooses them; 0 in evaluations


def require(who: str) -> Any:
    """Imports mctx; an agent that searches calls it in `build`, so that a run is refused where it is missing.

    Args: who: the agent's name, for the error.
    Returns: the package.
    Raises: ImportError that says what to install.
    """
    try:
        import mctx
    except ImportError as error:
        raise ImportError(
            f"{who} needs the package mctx, which can't be imported here ({error}): "
            "pip install 'culmen[search]'"
        ) from error
    return mctx


def tree_search(
    params: Params,
    root: Root,
    model: Model,
    keys: jax.Array,
    num_simulations: int,
    rule: Puct | Gumbel | None = None,
    *,
    legal: Array | None = None,
    max_depth: int | None = None,
) -> Found:
    """Searches in every lane, and chooses an action.

    Args:
        params: handed to the model.
        root: of B lanes.
        model: of one lane.
        keys: one a lane [B] (`culmen.components.policies.lane_keys`).
        num_simulations: expansions a lane, 1 or more.
        rule: how actions are chosen; None: `Gumbel()`.
        legal: bool[B, num_actions] at the root, with one True a lane at least; None: all.
        max_depth: of the tree; None: no limit.
    Raises: ValueError that names num_simulations; ImportError that says what to install.
    """
    check_range('num_simulations', num_simulations, 1)
    mctx = require('tree_search')

    def step(params: Params, key: jax.Array, action: jax.Array, state: Nest) -> tuple[Any, Nest]:
        after, prediction = jax.vmap(model, in_axes=(None, None, 0, 0))(params, key, state, action)
        output = mctx.RecurrentFnOutput(
            reward=prediction.reward,
            discount=prediction.discount,
            prior_logits=prediction.logits,
            value=prediction.value,
        )
        return output, after

    def of_lane(key: jax.Array, root: Root, legal: Array | None) -> Found:
        state, logits, value = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf)[None], root)
        invalid = None if legal is None else ~jnp.asarray(legal)[None]
        search, options = _rule(mctx, Gumbel() if rule is None else rule)
        output = search(
            params,
            key,
            mctx.RootFnOutput(prior_logits=logits, value=value, embedding=state),
            step,
            num_simulations,
            invalid_actions=invalid,
            max_depth=max_depth,
            **options,
        )
        summary = output.search_tree.summary()
        return Found(output.action[0].astype(jnp.int32), output.action_weights[0], summary.value[0])

    with jax.numpy_rank_promotion('allow'):  # mctx adds arrays of different rank
        return jax.vmap(of_lane)(keys, root, legal)


def _rule(mctx: Any, rule: Puct | Gumbel) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function of mctx for a rule, and its options."""
    if isinstance(rule, Puct):
        return mctx.muzero_policy, {
            'dirichlet_fraction': rule.noise_fraction,
            'dirichlet_alpha': rule.noise_alpha,
            'temperature': rule.temperature,
        }
    return mctx.gumbel_muzero_policy, {
        'max_num_considered_actions': rule.considered,
        'gumbel_scale': rule.noise_scale,
    }
