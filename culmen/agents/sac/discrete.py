"""The losses of SAC where an action is one choice: expectations over all actions in place of a drawn one.

Christodoulou 2019 (1910.07207), section 4. They take what those of `learning` take, whose update joins
them. Departures from it:
1. Forbidden actions have no part in the policy, its entropy and the expectations.
2. The target critics follow the critics by a moving average, as for continuous actions, in place of copies.
"""

import jax
import jax.numpy as jnp

from culmen.agents.sac.config import SACConfig
from culmen.agents.sac.learning import Kind
from culmen.components import losses
from culmen.components import updates
from culmen.components.networks import ChoiceNetworks
from culmen.components.networks import CriticParams
from culmen.components.networks import Seen
from culmen.components.replay.stream.windows import Transitions
from culmen.components.replay.stream.windows import fold
from culmen.core.types import Array
from culmen.core.types import Params
from culmen.core.types import Steps


def critic_loss(
    critic_params: CriticParams,
    target_critic_params: CriticParams,
    policy_params: Params,
    temperature: Array,
    transitions: Transitions,
    key: jax.Array,
    networks: ChoiceNetworks,
) -> tuple[jax.Array, tuple[Seen, Array]]:
    """The soft Bellman residual, summed over the critics. Nothing is drawn.

    Args:
        transitions: B of them, a_tm1 int32[B].
    Returns: (loss [], (o_tm1 as it is seen, values of the actions taken [num_critics, B])).
    """
    del key
    o_tm1, a_tm1, r_t, discount_t, o_t = transitions
    seen_tm1 = networks.encode(critic_params.encoder, o_tm1)
    q_tm1 = jax.vmap(losses.batched_index, in_axes=(0, None))(
        networks.critics(critic_params.ensemble, seen_tm1), a_tm1
    )
    policy_t = networks.policy(policy_params, networks.encode(critic_params.encoder, o_t))
    target_seen_t = networks.encode(target_critic_params.encoder, o_t)
    q_t = jnp.min(networks.critics(target_critic_params.ensemble, target_seen_t), axis=0)
    # Equation 10.
    mean_t = jnp.sum(jax.nn.softmax(policy_t.logits) * q_t, axis=-1)
    v_t = mean_t + temperature * policy_t.entropy()
    loss = updates.ensemble_td_loss(q_tm1, r_t, discount_t, v_t)
    return loss, (jax.lax.stop_gradient(seen_tm1), q_tm1)


def policy_loss(
    policy_params: Params,
    ensemble: Params,
    temperature: Array,
    seen: Seen,
    key: jax.Array,
    networks: ChoiceNetworks,
) -> tuple[jax.Array, Array]:
    """Equation 12. Nothing is drawn.

    Args:
        seen: B observations.
    Returns: (loss [], expected log-probabilities [B]: minus the policy's entropies).
    """
    del key
    policy = networks.policy(policy_params, seen)
    q = jnp.min(networks.critics(ensemble, seen), axis=0)
    entropy = policy.entropy()
    value = jnp.sum(jax.nn.softmax(policy.logits) * q, axis=-1)
    return jnp.mean(-temperature * entropy - value), -entropy


def target_entropy(networks: ChoiceNetworks, seen: Seen, config: SACConfig) -> jax.Array:
    """A share of the entropy of uniform allowed actions, in nats, [] or [B]: section 5."""
    num_allowed = jnp.asarray(networks.num_actions, jnp.float32)
    if seen.allowed is not None:
        num_allowed = jnp.sum(seen.allowed, axis=-1, dtype=jnp.float32)
    share = 0.98 if config.target_entropy_share is None else config.target_entropy_share
    return share * jnp.log(num_allowed)


def transitions(steps: Steps, discount: float | Array, networks: ChoiceNetworks) -> Transitions:
    """B windows, folded, whose actions are the environment's."""
    del networks
    return fold(steps, discount)


CHOICES = Kind(transitions, critic_loss, policy_loss, target_entropy)
