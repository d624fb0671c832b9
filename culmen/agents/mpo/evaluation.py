"""Policy evaluation: what a critic learns from windows, with several actions of the target policy.

A batch of transitions or of sequences is read as B sequences of T steps, and of T + 1 observations;
transitions have T = 1. Rewards have K objectives; K is 1 where the environment gives one.
"""

import functools
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.agents.mpo.critics import CriticHead
from culmen.agents.mpo.settings import ImprovementSettings
from culmen.components import losses
from culmen.components import policies
from culmen.components import updates
from culmen.components.networks import EncodedCriticParams
from culmen.components.networks import PolicyAndCritic
from culmen.components.replay.stream.windows import fold
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Sample
from culmen.core.types import State
from culmen.core.types import Steps


class Sequences(NamedTuple):
    """A batch, as the losses read it."""

    observation: Nest  # [B, T + 1, ...]
    step_type: Array  # int32[B, T + 1]
    draw: Array  # int32[B, T] or float32[B, T, D]: what the policy drew, or the draws that the actions are
    r_t: jax.Array  # float32[B, T, K]: the rewards up to the bootstrap
    discount_t: jax.Array  # float32[B, T]: of the bootstrap
    bootstrap: jax.Array  # int32[B, T]: the observation where it is, from 1
    mask: Array  # bool[B, T]
    state: State  # of the encoder's memory, that entered
    acting_log_prob: Array | None  # float32[B, T]; None where no target needs it


class Candidates(NamedTuple):
    """Several actions of the target policy for each observation, and the target critic's values of them."""

    policy: Any  # the target policy, leaves [B, T + 1, ...]
    draws: jax.Array  # int32[S, B, T + 1] or float32[S, B, T + 1, D]
    log_prior: jax.Array  # float32[S, B, T + 1]: how likely each is; log 1/S where they were drawn
    outputs: jax.Array  # float32[S, B, T + 1, K, num_outputs], of the target critic
    q: jax.Array  # float32[S, B, T + 1, K]: the mean returns


def read(steps: Steps, networks: PolicyAndCritic, settings: ImprovementSettings) -> Sequences:
    """A batch of n-step transitions or of sequences."""
    if settings.sequence_length is None:
        folded = fold(steps, settings.discount)
        steps = steps._replace(
            observation=jax.tree_util.tree_map(
                lambda *ends: jnp.stack(ends, axis=1), folded.o_tm1, folded.o_t
            ),
            step_type=jnp.asarray(steps.step_type)[:, :2],
            action=jax.tree_util.tree_map(lambda leaf: leaf[:, None], folded.a_tm1),
            mask=jnp.asarray(steps.mask)[:, :1],
        )
        r_t = jnp.stack(jax.tree_util.tree_leaves(folded.r_t), axis=-1)[:, None]
        discount_t, bootstrap = folded.discount_t[:, None], jnp.ones(steps.mask.shape, jnp.int32)
    else:
        num_rewards = 1 if settings.targets == 'retrace' else settings.n_step
        r_t, discount_t, bootstrap = updates.n_step_parts(steps, settings.discount, num_rewards)
    batch = jax.tree_util.tree_map(
        lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[2:])), steps.action
    )
    draw = networks.actions.to_draw(batch)
    draw = jnp.reshape(draw, (*steps.mask.shape, *draw.shape[1:]))
    log_prob = None
    if settings.targets == 'retrace':
        draw, log_prob = policies.drawn_actions(steps), steps.extras['log_prob']
    # Padding may hold numbers that are no draws.
    mask = jnp.asarray(steps.mask)
    draw = jnp.where(jnp.reshape(mask, (*mask.shape, *[1] * (draw.ndim - 2))), draw, 0)
    return Sequences(
        steps.observation, steps.step_type, draw, r_t, discount_t, bootstrap, steps.mask,
        policies.entering_state(steps), log_prob,
    )  # fmt: skip


def candidates(
    target_policy_params: Params,
    target_critic_params: EncodedCriticParams,
    sequences: Sequences,
    key: jax.Array,
    networks: PolicyAndCritic,
    head: CriticHead,
    settings: ImprovementSettings,
) -> tuple[Candidates, jax.Array]:
    """Candidates, of a choice all there are, and the target encoder's features [B, T + 1, F]."""
    features = encode(target_critic_params, sequences, networks)
    policy: Any = networks.policy(target_policy_params, features, sequences.observation)
    if networks.num_choices is not None:
        every = jnp.arange(networks.num_choices, dtype=jnp.int32)
        shape = (networks.num_choices, *features.shape[:2])
        draws = jnp.broadcast_to(every[:, None, None], shape)
        log_prior = jnp.moveaxis(jax.nn.log_softmax(policy.logits), -1, 0)
    else:
        draws = jax.vmap(policy.sample)(jax.random.split(key, settings.num_samples))
        log_prior = jnp.full(draws.shape[:-1], -jnp.log(settings.num_samples))
    outputs = jax.vmap(
        lambda drawn: outputs_of(target_critic_params, features, drawn, networks, head)
    )(draws)
    return Candidates(policy, draws, log_prior, outputs, head.mean(outputs)), features


def encode(
    params: EncodedCriticParams, sequences: Sequences, networks: PolicyAndCritic
) -> jax.Array:
    """The features of every observation, [B, T + 1, F]."""
    return networks.unroll(
        params.encoder, sequences.observation, sequences.step_type, sequences.state
    )


def outputs_of(
    params: EncodedCriticParams,
    features: jax.Array,
    draws: Array,
    networks: PolicyAndCritic,
    head: CriticHead,
) -> jax.Array:
    """The critic's outputs [..., K, num_outputs] for features [..., F] and draws."""
    flat = networks.critic(params.head, features, networks.to_input(draws))
    return flat.reshape((*flat.shape[:-1], -1, head.num_outputs))


def critic_loss(
    critic_params: EncodedCriticParams,
    target_critic_params: EncodedCriticParams,
    sequences: Sequences,
    evaluated: Candidates,
    target_features: jax.Array,
    key: jax.Array,
    networks: PolicyAndCritic,
    head: CriticHead,
    settings: ImprovementSettings,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The loss of the critic, summed over the objectives, as a mean over the real steps.

    Returns: (loss [], (features [B, T, F] of the observations before each step, mean returns [B, T, K])).
    """
    features = encode(critic_params, sequences, networks)[:, :-1]
    outputs = outputs_of(critic_params, features, sequences.draw, networks, head)
    if settings.targets == 'retrace':
        q_of_taken = head.mean(
            outputs_of(
                target_critic_params, target_features[:, :-1], sequences.draw, networks, head
            )
        )
        errors = retrace_errors(head.mean(outputs), q_of_taken, sequences, evaluated, settings)
        of_steps = losses.l2_loss(errors)
    else:
        of_steps = n_step_losses(outputs, sequences, evaluated, key, head)
    loss = updates.masked_mean(jnp.sum(of_steps, axis=-1), sequences.mask)
    return loss, jax.lax.stop_gradient((features, head.mean(outputs)))


def n_step_losses(
    outputs: jax.Array,
    sequences: Sequences,
    evaluated: Candidates,
    key: jax.Array,
    head: CriticHead,
) -> jax.Array:
    """The losses of outputs [B, T, K, num_outputs] to the returns after n rewards: float32[B, T, K]."""
    there = sequences.bootstrap[None]
    outputs_t = jnp.take_along_axis(evaluated.outputs, there[..., None, None], axis=2)
    log_prior = jnp.take_along_axis(evaluated.log_prior, there, axis=2)
    of_objectives = jax.vmap(head.loss, in_axes=(0, 0, None, 1, None, 0))
    of_steps = jax.vmap(of_objectives, in_axes=(0, 0, 0, 1, 1, 0))
    of_batch = jax.vmap(of_steps, in_axes=(0, 0, 0, 1, 1, 0))
    keys = jax.random.split(key, sequences.r_t.shape)
    inputs = sequences.r_t, sequences.discount_t, outputs_t, log_prior, keys
    return of_batch(outputs, *inputs)


def retrace_errors(
    q: jax.Array,
    q_of_taken: jax.Array,
    sequences: Sequences,
    evaluated: Candidates,
    settings: ImprovementSettings,
) -> jax.Array:
    """Errors of q [B, T, K] to Retrace's returns, Munos et al. 2016 (1606.02647), equation 4.

    Args: q_of_taken: float32[B, T, K], the target critic's values of the actions that were taken.
    """
    target_policy = jax.tree_util.tree_map(lambda leaf: leaf[:, :-1], evaluated.policy)
    log_rho = target_policy.log_prob(sequences.draw) - sequences.acting_log_prob
    values = jnp.sum(jnp.exp(evaluated.log_prior)[..., None] * evaluated.q, axis=0)
    # A return is cut where the next step is not real.
    lambda_ = settings.retrace_lambda * jnp.asarray(sequences.mask[:, 1:], jnp.float32)
    retrace = functools.partial(losses.retrace_continuous, stop_target_gradients=True)
    of_objective = jax.vmap(retrace, in_axes=(1, 1, 1, 1, None, None, None), out_axes=1)
    return jax.vmap(of_objective)(
        q, q_of_taken[:, 1:], values[:, 1:], sequences.r_t, sequences.discount_t, log_rho[:, 1:],
        lambda_,
    )  # fmt: skip


def joined(samples: Mapping[str, Sample]) -> Steps:
    """The windows of several tables as one batch."""
    return jax.tree_util.tree_map(
        lambda *leaves: jnp.concatenate([jnp.asarray(leaf) for leaf in leaves]),
        *(sample.steps for sample in samples.values()),
    )
