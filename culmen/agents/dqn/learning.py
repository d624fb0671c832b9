"""The loss and the update of DQN.

Mnih et al. 2015, algorithm 1. Departures from it:
1. The error is clipped through a Huber loss, whose derivative is the clipped error.
2. The optimiser is Adam by default (RMSProp in the paper, `optimizer='rmsprop'`).
3. Windows reach `n_step` rewards ahead; 1 is the paper's.

An action of several choices has a branch of action values for each: Tavakoli et al. 2018. Departures from it:
4. Gradients that meet in the torso are not rescaled, which Adam would undo.
5. Exploration is DQN's: with probability epsilon all choices are random.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from culmen.agents.dqn.config import DQNConfig
from culmen.components import losses
from culmen.components import updates
from culmen.components.networks import Branches
from culmen.components.networks import Network
from culmen.components.policies import mask_illegal
from culmen.components.replay.stream.importance import importance_weights
from culmen.components.replay.stream.windows import fold
from culmen.components.updates import TargetTrainingState as TrainingState
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample

Function = Callable[..., jax.Array]


def loss(
    params: Params,
    target_params: Params,
    sample: Sample,
    network: Network,
    config: DQNConfig,
    branches: Branches | None = None,
) -> tuple[jax.Array, tuple[Metrics, Array]]:
    """The loss of a batch of windows.

    Args:
        params, target_params: of the online and of the target network.
        sample: B windows of `n_step` transitions.
        branches: of an action of several choices; None: it is one choice.
    Returns: (loss [], (metrics, absolute errors float32[B], of branches their sums)).
    """
    steps = sample.steps
    if config.reward_clip is not None:
        steps = steps._replace(
            reward=jnp.clip(steps.reward, -config.reward_clip, config.reward_clip)
        )
    o_tm1, a_tm1, r_t, discount_t, o_t = fold(steps, config.discount)

    mask: Function = mask_illegal
    mean: Function = jnp.mean
    q_learning: Function = losses.q_learning
    double_q_learning: Function = losses.double_q_learning
    if branches is not None:  # Values are [B, D, V] and errors [B, D] for D branches.
        mask, mean, a_tm1 = branches.mask_illegal, branches.mean, branches.to_values(a_tm1)
        q_learning = losses.branching_q_learning
        double_q_learning = losses.branching_double_q_learning

    q_tm1 = network.apply(params, o_tm1)
    q_t = mask(network.apply(target_params, o_t), o_t)
    if config.double:
        # van Hasselt et al. 2016, equation 4: the online network selects, the target network values.
        q_t_selector = mask(network.apply(params, o_t), o_t)
        errors = jax.vmap(double_q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t, q_t_selector)
    else:
        errors = jax.vmap(q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t)

    if config.huber_delta is None:
        element_losses = losses.l2_loss(errors)
    else:
        element_losses = losses.huber_loss(errors, config.huber_delta)
    absolute_errors = jnp.abs(errors)
    if (
        branches is not None
    ):  # Tavakoli et al. 2018: the mean loss of the branches, the sum of their errors.
        element_losses = jnp.mean(element_losses, axis=1)
        absolute_errors = jnp.sum(absolute_errors, axis=1)
    if config.priority_exponent:
        # Schaul et al. 2016, section 3.4.
        element_losses *= importance_weights(
            sample.probability, sample.size, config.importance_exponent
        )
    mean_loss = jnp.mean(element_losses)
    metrics = {'loss': mean_loss, 'q': mean(q_tm1), 'absolute_error': jnp.mean(jnp.abs(errors))}
    return mean_loss, (metrics, absolute_errors)


def make_learner(
    network: Network, config: DQNConfig, branches: Branches | None = None
) -> LearnerCore:
    """Builds the update of DQN."""
    if config.optimizer == 'adam':
        rule = optax.adam(config.learning_rate, eps=config.optimizer_epsilon)
    else:
        rule = optax.rmsprop(
            config.learning_rate, decay=0.95, eps=config.optimizer_epsilon, centered=True
        )
    optimizer = updates.make_optimizer(rule, config.max_gradient_norm)

    def init(key: jax.Array) -> TrainingState:
        params = network.init(key)
        return TrainingState(params, params, optimizer.init(params))

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, Array | None]:
        state, (_, (metrics, errors)) = updates.train(
            state, loss, optimizer,
            state.target_params, sample, network, config, branches, has_aux=True,
        )  # fmt: skip
        # Every C updates reset the target network.
        state = updates.copy_every(state, context.rule_steps + 1, config.target_update_period)
        return state, metrics, errors if config.priority_exponent else None

    return LearnerCore(init, update, variables=lambda state: state.params)
