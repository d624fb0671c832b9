"""The loss of DQN.

Mnih et al. 2015, algorithm 1. Departures from it:
1. The error is clipped through a Huber loss, whose derivative is the clipped error.
2. The optimiser is Adam by default (RMSProp in the paper, `optimizer='rmsprop'`).
3. Windows reach `n_step` rewards ahead; 1 is the paper's.

An action of several choices has a branch of action values for each: Tavakoli et al. 2018. Departures from it:
4. Gradients that meet in the torso are not rescaled, which Adam would undo.
5. Exploration is DQN's: with probability epsilon all choices are random.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from culmen.agents.dqn.config import DQNConfig
from culmen.components import losses
from culmen.components import values
from culmen.components.networks import Branches
from culmen.components.networks import Network
from culmen.components.policies import mask_illegal
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
    context: Context,
    network: Network,
    config: DQNConfig,
    branches: Branches | None = None,
) -> tuple[jax.Array, tuple[Metrics, Array]]:
    """The loss of a batch of windows.

    Args:
        params, target_params: of the online and of the target network.
        sample: B windows of `n_step` transitions.
        context: of the update.
        branches: of an action of several choices; None: it is one choice.
    Returns: (loss [], (metrics, absolute errors float32[B], of branches their sums)).
    """
    o_tm1, a_tm1, r_t, discount_t, o_t = values.transitions(sample, context, config)
    online, target, selector = values.with_noise(context, config, params, target_params, params)

    mask: Function = mask_illegal
    mean: Function = jnp.mean
    q_learning: Function = losses.q_learning
    double_q_learning: Function = losses.double_q_learning
    if branches is not None:  # Values are [B, D, V] and errors [B, D] for D branches.
        mask, mean, a_tm1 = branches.mask_illegal, branches.mean, branches.to_values(a_tm1)
        q_learning = losses.branching_q_learning
        double_q_learning = losses.branching_double_q_learning

    q_tm1 = network.apply(online, o_tm1)
    q_t = mask(network.apply(target, o_t), o_t)
    if config.munchausen is not None:
        # Vieillard et al. 2020, equation 2: the target network's policy at both ends.
        target_q_tm1 = mask(network.apply(target, o_tm1), o_tm1)
        munchausen_q_learning = functools.partial(
            losses.munchausen_q_learning, temperature=config.temperature,
            log_policy_clip=config.log_policy_clip, alpha=config.munchausen,
        )  # fmt: skip
        errors = jax.vmap(munchausen_q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t, target_q_tm1)
    elif config.double:
        # van Hasselt et al. 2016, equation 4: the online network selects, the target network values.
        q_t_selector = mask(network.apply(selector, o_t), o_t)
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
    if config.value_cost is not None:
        # Co-Reyes et al. 2021 (2101.03958), equation 3.
        element_losses += config.value_cost * losses.batched_index(q_tm1, a_tm1)
    mean_loss = values.mean_loss(element_losses, sample, context, config)
    metrics = {'loss': mean_loss, 'q': mean(q_tm1), 'absolute_error': jnp.mean(jnp.abs(errors))}
    return mean_loss, (metrics, absolute_errors)


def make_learner(
    network: Network, config: DQNConfig, branches: Branches | None = None
) -> LearnerCore:
    """Builds the update of DQN."""
    of_sample = functools.partial(loss, network=network, config=config, branches=branches)
    return values.make_learner(network, of_sample, config)
