"""What the updates of agents with bounded actions and critics share.

Samples have the environment's actions; here they become canonical actions, in [-1, 1], which the networks
take (`ActionBox`).
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.components import losses
from culmen.components.networks import ActionBox
from culmen.components.networks import ContinuousNetworks
from culmen.components.networks import CriticParams
from culmen.components.networks import random_shift
from culmen.components.replay.stream.windows import Transitions
from culmen.components.replay.stream.windows import fold
from culmen.core.types import Array
from culmen.core.types import Params
from culmen.core.types import Steps


class PolicyAndCriticState(NamedTuple):
    """The training state of a policy and its critics, each with a target network."""

    policy_params: Params
    critic_params: CriticParams
    target_policy_params: Params
    target_critic_params: CriticParams
    policy_optimizer_state: optax.OptState
    critic_optimizer_state: optax.OptState


def initial_state(
    key: jax.Array,
    networks: ContinuousNetworks,
    policy_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
) -> PolicyAndCriticState:
    """New networks; the targets begin as copies."""
    policy_params, critic_params = networks.init(key)
    return PolicyAndCriticState(
        policy_params,
        critic_params,
        policy_params,
        critic_params,
        policy_optimizer.init(policy_params),
        critic_optimizer.init(critic_params),
    )


def acting_params(state: Any) -> tuple[Params, Params]:
    """The parameters that actors read, of a state with a policy and critics, for `ContinuousNetworks.act`."""
    return state.critic_params.encoder, state.policy_params


def canonical_transitions(steps: Steps, discount: float | Array, box: ActionBox) -> Transitions:
    """Folds B windows into n-step transitions with canonical actions a_tm1 float32[B, D]."""
    transitions = fold(steps, discount)
    return transitions._replace(a_tm1=box.to_canonical(transitions.a_tm1))


def shift_images(transitions: Transitions, keys: Sequence[jax.Array], pad: int) -> Transitions:
    """Shifts images at random (`random_shift`), independently before and after each transition.

    Args:
        keys: two keys.
        pad: the largest shift, in pixels; 0: transitions stay as they are.
    """
    if not pad:
        return transitions
    return transitions._replace(
        o_tm1=random_shift(keys[0], transitions.o_tm1, pad),
        o_t=random_shift(keys[1], transitions.o_t, pad),
    )


def critic_outputs(
    networks: ContinuousNetworks,
    critic_params: CriticParams,
    target_critic_params: CriticParams,
    target_policy_params: Params,
    transitions: Transitions,
    smooth: Callable[[jax.Array], jax.Array] = lambda a_t: a_t,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The critics' outputs before each transition, and their targets' outputs after it.

    Args:
        transitions: B of them, a_tm1 canonical [B, D].
        smooth: changes the target policy's actions [B, D] before the target critics get them.
    Returns: (features of o_tm1 [B, F], outputs for (o_tm1, a_tm1) [num_critics, B, ...], outputs of the
        targets for (o_t, the target policy's action) [num_critics, B, ...]).
    """
    features_tm1 = networks.encode(critic_params.encoder, transitions.o_tm1)
    outputs_tm1 = networks.critics(critic_params.ensemble, features_tm1, transitions.a_tm1)
    features_t = networks.encode(target_critic_params.encoder, transitions.o_t)
    a_t = smooth(networks.policy(target_policy_params, features_t))
    outputs_t = networks.critics(target_critic_params.ensemble, features_t, a_t)
    return features_tm1, outputs_tm1, outputs_t


def ensemble_td_loss(
    q_tm1: jax.Array, r_t: jax.Array, discount_t: jax.Array, v_t: jax.Array
) -> jax.Array:
    """The mean squared temporal-difference error of each critic to one target, summed over the critics.

    Args:
        q_tm1: float32[num_critics, B].
        r_t, discount_t, v_t: float32[B].
    Returns: float32[].
    """
    of_batch = jax.vmap(losses.td_learning)
    errors = jax.vmap(of_batch, in_axes=(0, None, None, None))(q_tm1, r_t, discount_t, v_t)
    return jnp.sum(jnp.mean(losses.l2_loss(errors), axis=1))
