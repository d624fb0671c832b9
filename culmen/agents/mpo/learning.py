"""The losses and the update of MPO.

Abdolmaleki et al. 2018 (1806.06920), algorithm 1 with the parametric policy's bounds of Abdolmaleki et al.
2018 (1812.02256); several objectives as in Abdolmaleki et al. 2020 (2005.07513), algorithm 2.
`evaluation.py` has the critic. Departures from them:
1. Targets of the critic are n-step returns without a correction, unless `targets` is retrace.
2. A choice has no samples: every action counts, weighted by its probability under the target policy.
3. Draws beyond the box are one more objective (`action_penalty`), as in Acme; the critic sees draws clipped
   to it.
4. Memory and convolutions are an encoder, which only the critic's loss trains and which the policy shares
   (Yarats et al. 2019, 1910.01741).
5. Bounds hold for each dimension of a box by itself (`per_dimension`), as in Acme.
6. Every gradient is that at the parameters before the update.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from culmen.agents.mpo import evaluation
from culmen.agents.mpo.config import MPOConfig
from culmen.agents.mpo.critics import CriticHead
from culmen.agents.mpo.evaluation import Candidates
from culmen.agents.mpo.settings import ImprovementSettings
from culmen.components import losses
from culmen.components import updates
from culmen.components.networks import EncodedCriticParams
from culmen.components.networks import PolicyAndCritic
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Samples


class TrainingState(NamedTuple):
    """What an update reads and writes."""

    policy_params: Params
    critic_params: EncodedCriticParams
    target_policy_params: Params
    target_critic_params: EncodedCriticParams
    dual_params: updates.DualParams
    policy_optimizer_state: optax.OptState
    critic_optimizer_state: optax.OptState
    dual_optimizer_state: optax.OptState


class Improvement(NamedTuple):
    """What a policy is improved on: T steps of B windows."""

    features: jax.Array  # float32[B, T, F], without gradient
    observation: Nest  # [B, T, ...]
    mask: Array  # bool[B, T]
    candidates: Candidates  # of the same steps
    critic_params: EncodedCriticParams  # before the critic's step
    key: jax.Array


# (policy, duals, improvement) -> (a loss [], metrics)
PolicyLoss: TypeAlias = Callable[
    [Params, updates.DualParams, Improvement], tuple[jax.Array, Metrics]
]


def objectives(
    candidates: Candidates, networks: PolicyAndCritic, config: MPOConfig
) -> tuple[jax.Array, list[Any]]:
    """What the E-step seeks: the candidates' values float32[S, B, T, K], and the bound of each objective."""
    q, epsilons = candidates.q, list(config.epsilon_objectives or (config.epsilon_temperature,))
    if config.action_penalty and networks.num_choices is None:
        # Acme's costs of draws beyond the box: their distance to it.
        beyond = candidates.draws - networks.to_input(candidates.draws)
        cost = -jnp.sqrt(jnp.sum(jnp.square(beyond), axis=-1))
        q, epsilons = (
            jnp.concatenate([q, cost[..., None]], axis=-1),
            [*epsilons, config.epsilon_penalty],
        )
    return q, epsilons


def policy_loss(
    policy_params: Params,
    dual_params: updates.DualParams,
    improvement: Improvement,
    networks: PolicyAndCritic,
    config: MPOConfig,
) -> tuple[jax.Array, Metrics]:
    """The losses of the policy, of the temperatures and of the multipliers, as a mean over the real steps.

    Returns: (loss [], metrics).
    """
    given = improvement.candidates
    policy = networks.policy(policy_params, improvement.features, improvement.observation)

    # The E-step, 1806.06920, equations 8 and 9: of each objective, 2005.07513, equations 4 and 5.
    values, epsilons = objectives(given, networks, config)
    log_prior = given.log_prior if networks.num_choices is not None else None
    weights, temperature_loss = (
        jnp.zeros_like(given.log_prior),
        jnp.zeros(given.log_prior.shape[1:]),
    )
    for k, epsilon in enumerate(epsilons):
        temperature = losses.LagrangePenalty(dual_params['temperature'][k], epsilon)
        loss_k, weights_k, _ = losses.mpo_compute_weights_and_temperature_loss(
            values[..., k], temperature, updates.positive, log_prior=log_prior
        )
        weights += jax.lax.stop_gradient(weights_k)
        temperature_loss += loss_k

    # The M-step, 1806.06920, equation 11, with means and deviations apart: 1812.02256, equations 10 and 11.
    of_means, of_scales = updates.decoupled(given.policy, policy)
    log_prob = jax.vmap(of_means.log_prob)(given.draws)
    if networks.num_choices is None:
        log_prob += jax.vmap(of_scales.log_prob)(given.draws)
    fit_loss = -jnp.sum(weights * log_prob, axis=0)
    of_policy = updates.divergences(given.policy, policy)
    bounds = updates.kl_constraints(of_policy, dual_params, config.epsilons)
    kl_loss, alpha_loss = losses.compute_parametric_kl_penalty_and_dual_loss(
        bounds, updates.positive
    )

    total = fit_loss + temperature_loss + kl_loss + alpha_loss
    mean = updates.masked_mean(total, improvement.mask)
    temperatures, num_rewards = updates.positive(dual_params['temperature']), given.q.shape[-1]
    metrics = {
        'policy_loss': updates.masked_mean(fit_loss, improvement.mask),
        'temperature': jnp.mean(temperatures[:num_rewards]),
        **dict(zip(['temperature_penalty'], temperatures[num_rewards:])),
        **policy_metrics(policy, of_policy, dual_params, improvement.mask),
    }
    return mean, metrics


def policy_metrics(
    policy: Any, of_policy: dict[str, jax.Array], dual_params: updates.DualParams, mask: Array
) -> Metrics:
    """The policy's entropy, and for each bound the mean divergence and the mean multiplier."""
    found = {'entropy': updates.masked_mean(policy.entropy(), mask)}
    for name, divergence in of_policy.items():
        over_dimensions = divergence if name == 'policy' else jnp.mean(divergence, axis=-1)
        found[f'kl_{name}'] = updates.masked_mean(over_dimensions, mask)
        found[f'alpha_{name}'] = jnp.mean(updates.positive(dual_params[name]))
    return found


def make_learner(
    networks: PolicyAndCritic,
    head: CriticHead,
    policy_loss: PolicyLoss,
    initial_duals: Callable[[], updates.DualParams],
    settings: ImprovementSettings,
    dual_learning_rate: float | Array,
) -> LearnerCore:
    """Builds the update of MPO, or that of an agent with another loss of the policy."""
    policy_optimizer, critic_optimizer = (
        updates.make_optimizer(optax.adam(rate), settings.max_gradient_norm)
        for rate in (settings.policy_learning_rate, settings.critic_learning_rate)
    )
    dual_optimizer = updates.make_optimizer(optax.adam(dual_learning_rate))

    def init(key: jax.Array) -> TrainingState:
        policy_params, critic_params = networks.init(key)
        duals = initial_duals()
        return TrainingState(
            policy_params,
            critic_params,
            policy_params,
            critic_params,
            duals,
            policy_optimizer.init(policy_params),
            critic_optimizer.init(critic_params),
            dual_optimizer.init(duals),
        )

    def update(
        state: TrainingState, samples: Samples, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        steps = evaluation.joined(samples) if settings.online else samples.steps
        sequences = evaluation.read(steps, networks, settings)
        keys = jax.random.split(context.key, 3)
        evaluated, target_features = evaluation.candidates(
            state.target_policy_params, state.target_critic_params, sequences, keys[0], networks,
            head, settings,
        )  # fmt: skip

        critic_params = state.critic_params
        state, (value, (features, q)) = updates.train(
            state, evaluation.critic_loss, critic_optimizer,
            state.target_critic_params, sequences, evaluated, target_features, keys[1], networks,
            head, settings, name='critic', has_aux=True,
        )  # fmt: skip
        before = lambda axis: lambda leaf: jax.lax.slice_in_dim(leaf, 0, -1, axis=axis)
        policy, *others = evaluated
        improvement = Improvement(
            features,
            jax.tree_util.tree_map(before(1), sequences.observation),
            sequences.mask,
            Candidates(jax.tree_util.tree_map(before(1), policy), *map(before(2), others)),
            critic_params,
            keys[2],
        )
        state, (_, metrics) = updates.train_with_duals(
            state, policy_loss, policy_optimizer, dual_optimizer, improvement, name='policy'
        )
        count = context.rule_steps + 1
        state = updates.copy_every(state, count, settings.target_policy_update_period, 'policy')
        state = updates.copy_every(state, count, settings.target_critic_update_period, 'critic')
        mean_q = updates.masked_mean(jnp.mean(q, axis=-1), sequences.mask)
        return state, {'loss': value, 'q': mean_q, **metrics}, None

    return LearnerCore(
        init, update, lambda state: (state.critic_params.encoder, state.policy_params)
    )
