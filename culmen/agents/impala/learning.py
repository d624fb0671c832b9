"""The loss and the update of IMPALA and of A2C.

Espeholt et al. 2018, sections 4.1 and 4.2; Mnih et al. 2016, section 4 and algorithm S3. Departures:
1. Losses are means over the real steps of a batch; IMPALA sums them. With Adam or RMSProp this only
   changes the scale of `optimizer_epsilon` and `max_gradient_norm`.
2. Adam is the default optimiser, with other costs and rates, for small tasks; `presets` has IMPALA's.
3. A truncated episode bootstraps from the value of its own last observation.
4. The network is not given the last action and the last reward.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from culmen.agents.impala.config import A2CConfig
from culmen.agents.impala.config import IMPALAConfig
from culmen.components import losses
from culmen.components import policies
from culmen.components import updates
from culmen.components.networks import ActorCriticNetwork
from culmen.components.updates import TrainingState
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample


def loss(
    params: Params, sample: Sample, network: ActorCriticNetwork, config: A2CConfig
) -> tuple[jax.Array, Metrics]:
    """The loss of a batch of unrolls: IMPALA's for an IMPALAConfig, else A2C's.

    Args:
        params: of the network.
        sample: B windows of `unroll_length` transitions, which cross episodes.
    Returns: (loss [], metrics).
    """
    steps = sample.steps
    output = network.unroll(
        params, steps.observation, steps.step_type, policies.entering_state(steps)
    )
    policy = jax.tree_util.tree_map(lambda leaf: leaf[:, :-1], output.policy)
    actions = policies.drawn_actions(steps)
    reward = steps.reward[:, 1:]
    if config.reward_clip is not None:
        reward = jnp.clip(reward, -config.reward_clip, config.reward_clip)

    log_pi = policy.log_prob(actions)
    if isinstance(config, IMPALAConfig):
        log_ratio = log_pi - steps.extras['policy'].log_prob(actions)
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
        output.value[:, :-1],
        output.value[:, 1:],
        reward,
        config.discount * steps.discount[:, 1:],
        rho_tm1,
        steps.mask,
    )

    mean = functools.partial(updates.masked_mean, mask=steps.mask)  # over real steps
    policy_loss = mean(-log_pi * jax.lax.stop_gradient(targets.pg_advantage))
    value_loss = mean(losses.l2_loss(targets.errors))
    entropy = mean(policy.entropy())
    total = policy_loss + config.value_cost * value_loss - config.entropy_cost * entropy
    metrics = {
        'loss': total,
        'policy_loss': policy_loss,
        'value_loss': value_loss,
        'entropy': entropy,
        'value': mean(output.value[:, :-1]),
        'ratio': mean(rho_tm1),
    }
    return total, metrics


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
        return TrainingState(params, optimizer.init(params))

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        state, (_, metrics) = updates.train(
            state, loss, optimizer, sample, network, config,
            has_aux=True, learning_rate=learning_rate(context),
        )  # fmt: skip
        # The policy lag: how many updates old the parameters were at the start of each unroll.
        staleness = jnp.mean((context.rule_steps - sample.version).astype(jnp.float32))
        return state, {**metrics, 'staleness': staleness}, None

    return LearnerCore(init, update, variables=lambda state: state.params)
