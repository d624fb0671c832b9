"""The losses and the update of V-MPO.

Song et al. 2019, section 4 and algorithm 1. Departures from it:
1. Returns mix bootstraps of all lengths by `lambda_`; 1 is the paper's, to the end of the unroll.
2. The parameters of the target network acted, so the old policy is kept from acting time.
3. Temperature and multipliers have an Adam of their own. They are softplus of what is learned, so that they
   stay positive.
4. A truncated episode bootstraps from the value of its own last observation.
5. The network is not given the last action and the last reward.
"""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.vmpo.config import VMPOConfig
from culmen.components import losses
from culmen.components import policies
from culmen.components import updates
from culmen.components.losses import LagrangePenalty
from culmen.components.networks import ActorCriticNetwork
from culmen.components.updates import DualParams
from culmen.components.updates import PopArt
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample


class TrainingState(NamedTuple):
    """What an update reads and writes."""

    params: Params
    target_params: Params  # of the network that acts
    dual_params: DualParams
    optimizer_state: optax.OptState
    dual_optimizer_state: optax.OptState
    pop_art: PopArt  # (): values are returns


def loss(
    params: Params,
    duals: DualParams,
    sample: Sample,
    network: ActorCriticNetwork,
    config: VMPOConfig,
    pop_art: PopArt = (),
) -> tuple[jax.Array, Metrics]:
    """The loss of a batch of unrolls: equation 2's, with all of its parts.

    Args:
        params: of the network.
        duals: temperature and multipliers.
        sample: B windows of `unroll_length` transitions, which cross episodes.
        pop_art: statistics of the values; errors and advantages are divided by their scale.
    Returns: (loss [], metrics).
    """
    steps = sample.steps
    output = policies.unrolled(network, params, sample)
    policy = jax.tree_util.tree_map(lambda leaf: leaf[:, :-1], output.policy)
    task = policies.tasks_of(network, sample)
    value = updates.unnormalised(pop_art, output.value, task)
    mean = functools.partial(updates.masked_mean, mask=steps.mask)  # over real steps

    # Section 4.1: the value's loss, and the advantages of the actions taken.
    returns = updates.lambda_returns(steps, value, config.discount, config.lambda_)
    advantage = (returns - value[:, :-1]) / updates.scales_of(pop_art, task[:, :-1])
    value_loss = mean(losses.l2_loss(advantage))

    # Equations 3 and 4: weights of the best half of the actions, and the temperature's loss.
    real = jnp.asarray(steps.mask, jnp.float32)
    temperature_loss, weights, _ = losses.vmpo_compute_weights_and_temperature_loss(
        jax.lax.stop_gradient(advantage), real, jnp.ones_like(real),
        LagrangePenalty(duals['temperature'], config.epsilon_temperature),
        updates.positive, config.top_fraction,
    )  # fmt: skip
    log_pi = policy.log_prob(policies.drawn_actions(steps))
    policy_loss = -jnp.sum(jnp.where(steps.mask, weights * log_pi, 0))

    # Equation 5, in appendix C's parts for boxes: how far the policy may move.
    moved = updates.divergences(steps.extras['policy'], policy)
    epsilons = {
        'policy': config.epsilon_policy,
        'mean': config.epsilon_mean,
        'scale': config.epsilon_scale,
    }
    kl_loss, alpha_loss = losses.compute_parametric_kl_penalty_and_dual_loss(
        updates.kl_constraints(moved, duals, epsilons), updates.positive
    )
    total = policy_loss + temperature_loss + mean(kl_loss + alpha_loss)
    total += config.value_cost * value_loss
    metrics = {
        'loss': total,
        'policy_loss': policy_loss,
        'value_loss': value_loss,
        'temperature_loss': temperature_loss,
        'entropy': mean(policy.entropy()),
        'value': mean(value[:, :-1]),
        **{f'kl_{name}': mean(total_of(kl)) for name, kl in moved.items()},
        **{name_of(name): jnp.mean(updates.positive(raw)) for name, raw in duals.items()},
    }
    return total, metrics


def total_of(divergence: jax.Array) -> jax.Array:
    """Divergences [B, T], or [B, T, D] of dimensions, whose sum is taken -> [B, T]."""
    return divergence if divergence.ndim == 2 else jnp.sum(divergence, axis=-1)


def name_of(dual: str) -> str:
    """What a dual variable is called among the metrics."""
    return dual if dual == 'temperature' else f'alpha_{dual}'


def rescale(
    state: TrainingState, sample: Sample, network: ActorCriticNetwork, config: VMPOConfig
) -> TrainingState:
    """The state with statistics that have seen the returns of a sample: Hessel et al. 2018, equation 3."""
    value = policies.unrolled(network, state.params, sample).value
    task = policies.tasks_of(network, sample)
    value = updates.unnormalised(state.pop_art, value, task)
    returns = updates.lambda_returns(sample.steps, value, config.discount, config.lambda_)
    params, pop_art = updates.rescaled(
        state.params, state.pop_art, returns, task[:, :-1], sample.steps.mask, config.pop_art_rate
    )
    return state._replace(params=params, pop_art=pop_art)


def make_learner(network: ActorCriticNetwork, config: VMPOConfig, action_spec: Any) -> LearnerCore:
    """Builds the update of V-MPO."""
    rule = optax.scale_by_adam(eps=config.optimizer_epsilon)
    optimizer = updates.make_optimizer(rule, config.max_gradient_norm)
    dual_optimizer = updates.make_optimizer(optax.adam(config.dual_learning_rate))
    learning_rate = updates.learning_rate_schedule(
        config.learning_rate, config.learning_rate_decay_steps
    )

    def init(key: jax.Array) -> TrainingState:
        params = network.init(key)
        duals = updates.initial_duals(
            action_spec,
            {'temperature': config.initial_temperature},
            {
                'policy': config.initial_alpha_policy,
                'mean': config.initial_alpha_mean,
                'scale': config.initial_alpha_scale,
            },
            config.per_dimension,
        )
        pop_art = updates.initial_pop_art(network.num_tasks, config.pop_art_rate)
        return TrainingState(
            params, params, duals, optimizer.init(params), dual_optimizer.init(duals), pop_art
        )

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        if config.pop_art_rate is not None:
            state = rescale(state, sample, network, config)
        state, (_, metrics) = updates.train_with_duals(
            state, loss, optimizer, dual_optimizer, sample, network, config, state.pop_art,
            learning_rate=learning_rate(context),
        )  # fmt: skip
        # Algorithm 1: the target network is the old policy of the next updates.
        steps = context.rule_steps + 1
        state = updates.copy_every(state, steps, config.target_update_period)
        return state, metrics, None

    return LearnerCore(init, update, variables=lambda state: state.target_params)
