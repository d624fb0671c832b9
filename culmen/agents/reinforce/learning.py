"""The loss and the update of REINFORCE.

Williams 1992, section 5; Sutton and Barto 2018, sections 13.3 and 13.4, whose page numbers these are.
Departures:
1. An update takes the mean over all steps of a batch of episodes, and a step of Adam with clipped gradients;
   the book takes a step of its own for each step of one episode.
2. An episode that is truncated, or longer than `episode_length`, goes on in its baseline: the value of the
   last observation is added to the returns. Without a baseline nothing is.
3. The entropy of the policy may be added to the objective (Williams and Peng 1991).
4. A batch's returns may be normalised.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from culmen.agents.reinforce.config import REINFORCEConfig
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
    params: Params, sample: Sample, network: ActorCriticNetwork, config: REINFORCEConfig
) -> tuple[jax.Array, Metrics]:
    """The loss of a batch of episodes, whose gradient is minus the policy gradient.

    Args:
        params: of the network.
        sample: B windows of `episode_length` transitions, padded.
    Returns: (loss [], metrics).
    """
    steps = sample.steps
    output = policies.unrolled(network, params, sample)
    policy = jax.tree_util.tree_map(lambda leaf: leaf[:, :-1], output.policy)
    mean = functools.partial(updates.masked_mean, mask=steps.mask)  # over real steps

    # G of page 328, and of page 330 less the baseline.
    returns = updates.returns_to_go(
        steps, config.discount, output.value if config.baseline else None
    )
    advantage = returns - output.value[:, :-1] if config.baseline else returns
    value_loss = mean(losses.l2_loss(advantage))
    if config.normalise_advantages:
        advantage = updates.masked_standardised(advantage, steps.mask)
    if config.discounted_steps:  # gamma^t of both pages
        advantage *= config.discount ** jnp.arange(advantage.shape[1], dtype=jnp.float32)[None]

    # Equation 13.8, or 13.11 with a baseline.
    log_pi = policy.log_prob(policies.drawn_actions(steps))
    policy_loss = mean(-log_pi * jax.lax.stop_gradient(advantage))
    entropy = mean(policy.entropy())
    total = policy_loss - config.entropy_cost * entropy
    metrics = {
        'policy_loss': policy_loss,
        'entropy': entropy,
        'return_to_go': mean(returns),
        'steps': jnp.sum(steps.mask).astype(jnp.float32),
    }
    if config.baseline:
        total += config.value_cost * value_loss
        metrics |= {'value_loss': value_loss, 'value': mean(output.value[:, :-1])}
    return total, {'loss': total, **metrics}


def make_learner(network: ActorCriticNetwork, config: REINFORCEConfig) -> LearnerCore:
    """Builds the update of REINFORCE."""
    rule = optax.scale_by_adam(eps=config.optimizer_epsilon)
    optimizer = updates.make_optimizer(rule, config.max_gradient_norm)
    learning_rate = updates.learning_rate_schedule(
        config.learning_rate, config.learning_rate_decay_steps
    )

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        state, (_, metrics) = updates.train(
            state, loss, optimizer, sample, network, config,
            has_aux=True, learning_rate=learning_rate(context),
        )  # fmt: skip
        return state, metrics, None

    return LearnerCore(
        updates.begin(network, optimizer), update, variables=lambda state: state.params
    )
