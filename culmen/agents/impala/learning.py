"""The loss and the update of IMPALA and of A2C.

Espeholt et al. 2018, sections 4.1 and 4.2; Mnih et al. 2016, section 4 and algorithm S3. Departures:
1. Losses are means over the real steps of a batch; IMPALA sums them. With Adam or RMSProp this only
   changes the scale of `optimizer_epsilon` and `max_gradient_norm`.
2. Adam is the default optimiser, with other costs and rates, for small tasks; `presets` has IMPALA's.
3. A truncated episode bootstraps from the value of its own last observation.
4. The network is not given the last action and the last reward.
5. With PopArt (Hessel et al. 2018, 1809.04474) the statistics of a task move to the mean over its targets in
   a batch.
"""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.impala.config import A2CConfig
from culmen.agents.impala.config import IMPALAConfig
from culmen.components import losses
from culmen.components import policies
from culmen.components import updates
from culmen.components.losses import VTraceOutput
from culmen.components.networks import ActorCriticNetwork
from culmen.components.networks import PolicyAndValue
from culmen.components.updates import PopArt
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample


class TrainingState(NamedTuple):
    """The training state of a network, and the statistics of its values' targets."""

    params: Params
    optimizer_state: optax.OptState
    pop_art: PopArt = ()  # (): values are returns


def v_trace(
    output: PolicyAndValue, value: Array, sample: Sample, config: A2CConfig
) -> tuple[VTraceOutput, jax.Array]:
    """Errors of the values and advantages of the actions taken, V-trace's or the policy's own returns.

    Args:
        output: of the network, leaves [B, T + 1, ...].
        value: float32[B, T + 1], as returns.
    Returns: (float32[B, T] each, the ratios of learner and actor float32[B, T]).
    """
    steps = sample.steps
    reward = steps.reward[:, 1:]
    if config.reward_clip is not None:
        reward = jnp.clip(reward, -config.reward_clip, config.reward_clip)
    if isinstance(config, IMPALAConfig):
        actions = policies.drawn_actions(steps)
        log_ratio = before_end(output.policy).log_prob(actions)
        log_ratio -= steps.extras['policy'].log_prob(actions)
        rho_tm1 = jax.lax.stop_gradient(jnp.exp(log_ratio))
        clips = config.clip_rho_threshold, config.clip_pg_rho_threshold
    else:  # On-policy: the policy that learns is the one that acted.
        rho_tm1, clips = jnp.ones_like(reward), (None, None)

    # Equation 1 and section 4.2. A step is cut where the next begins an episode.
    vtrace = functools.partial(
        losses.vtrace_td_error_and_advantage,
        lambda_=config.lambda_,
        clip_rho_threshold=clips[0],
        clip_pg_rho_threshold=clips[1],
    )
    targets = jax.vmap(lambda *sequences: vtrace(*sequences[:-1], sample_mask=sequences[-1]))(
        value[:, :-1],
        value[:, 1:],
        reward,
        config.discount * steps.discount[:, 1:],
        rho_tm1,
        steps.mask,
    )
    return targets, rho_tm1


def loss(
    params: Params,
    sample: Sample,
    network: ActorCriticNetwork,
    config: A2CConfig,
    pop_art: PopArt = (),
) -> tuple[jax.Array, Metrics]:
    """The loss of a batch of unrolls: IMPALA's for an IMPALAConfig, else A2C's.

    Args:
        params: of the network.
        sample: B windows of `unroll_length` transitions, which cross episodes.
        pop_art: statistics of the values; errors and advantages are divided by their scale.
    Returns: (loss [], metrics).
    """
    output = policies.unrolled(network, params, sample)
    policy = before_end(output.policy)
    task = policies.tasks_of(network, sample)
    value = updates.unnormalised(pop_art, output.value, task)
    targets, rho_tm1 = v_trace(output, value, sample, config)
    scale = updates.scales_of(pop_art, task[:, :-1])

    log_pi = policy.log_prob(policies.drawn_actions(sample.steps))
    mean = functools.partial(updates.masked_mean, mask=sample.steps.mask)  # over real steps
    policy_loss = mean(-log_pi * jax.lax.stop_gradient(targets.pg_advantage / scale))
    value_loss = mean(losses.l2_loss(targets.errors / scale))
    entropy = mean(policy.entropy())
    total = policy_loss + config.value_cost * value_loss - config.entropy_cost * entropy
    metrics = {
        'loss': total,
        'policy_loss': policy_loss,
        'value_loss': value_loss,
        'entropy': entropy,
        'value': mean(value[:, :-1]),
        'ratio': mean(rho_tm1),
    }
    return total, metrics


def before_end(leaves: Any) -> Any:
    """The time steps of windows in which an action was taken: leaves [B, T + 1, ...] -> [B, T, ...]."""
    return jax.tree_util.tree_map(lambda leaf: leaf[:, :-1], leaves)


def rescale(
    state: TrainingState, sample: Sample, network: ActorCriticNetwork, config: A2CConfig
) -> TrainingState:
    """The state with statistics that have seen the targets of a sample: Hessel et al. 2018, equation 3."""
    output = policies.unrolled(network, state.params, sample)
    task = policies.tasks_of(network, sample)
    value = updates.unnormalised(state.pop_art, output.value, task)
    targets, _ = v_trace(output, value, sample, config)
    params, pop_art = updates.rescaled(
        state.params, state.pop_art, targets.errors + value[:, :-1], task[:, :-1],
        sample.steps.mask, config.pop_art_rate,
    )  # fmt: skip
    return state._replace(params=params, pop_art=pop_art)


def make_learner(network: ActorCriticNetwork, config: A2CConfig) -> LearnerCore:
    """Builds the update of IMPALA or A2C."""
    if config.optimizer == 'adam':
        rule = optax.scale_by_adam(eps=config.optimizer_epsilon)
    else:
        rule = optax.scale_by_rms(config.rmsprop_decay, config.optimizer_epsilon)
    optimizer = updates.make_optimizer(rule, config.max_gradient_norm)
    learning_rate = updates.learning_rate_schedule(
        config.learning_rate, config.learning_rate_decay_steps
    )

    def init(key: jax.Array) -> TrainingState:
        params = network.init(key)
        pop_art = updates.initial_pop_art(network.num_tasks, config.pop_art_rate)
        return TrainingState(params, optimizer.init(params), pop_art)

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        if config.pop_art_rate is not None:
            state = rescale(state, sample, network, config)
        state, (_, metrics) = updates.train(
            state, loss, optimizer, sample, network, config, state.pop_art,
            has_aux=True, learning_rate=learning_rate(context),
        )  # fmt: skip
        # The policy lag: how many updates old the parameters were at the start of each unroll.
        staleness = jnp.mean((context.rule_steps - sample.version).astype(jnp.float32))
        return state, {**metrics, 'staleness': staleness}, None

    return LearnerCore(init, update, variables=lambda state: state.params)
