"""Maximum a posteriori policy optimisation: MPO from sampled actions, V-MPO from those taken.

The E-step weighs actions by how good they are, no further from the old policy than a temperature
allows; the M-step fits the policy to the weights, within bounds on its divergence from the old
one. Temperature and the multipliers of the bounds are learned by descending their dual losses.

Shapes: E* are the axes of examples, such as [T, B]; S is the axis of sampled actions; D that of
action dimensions.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check_floats
from culmen.components.losses._common import check_numbers
from culmen.components.losses._common import stop_gradient_if
from culmen.components.losses.base import AllSum

_SMALLEST = 1e-10  # Of a multiplier, and added to a sum of weights that may be 0.


class LagrangePenalty(NamedTuple):
    """A bound and its multiplier.

    Attributes:
        alpha: the multiplier or temperature, a scalar, or [D] for one a dimension.
        epsilon: the bound.
        per_dimension: whether the bounded quantity has an axis of dimensions, each bounded.
    """

    alpha: Array
    epsilon: Numeric
    per_dimension: bool = False


class MpoOutputs(NamedTuple):
    """The parts of a loss of MPO or V-MPO.

    Attributes:
        temperature_loss: dual loss of the temperature; E* in MPO, a scalar in V-MPO.
        policy_loss: E*, weighted cross-entropy.
        kl_loss: E*, divergences times multipliers that get no gradient.
        alpha_loss: E*, dual losses of the multipliers.
        normalized_weights: of the actions, summing to 1 over samples (MPO) or over all (V-MPO).
        num_samples: number of actions that were weighed.
    """

    temperature_loss: Array
    policy_loss: Array
    kl_loss: Array
    alpha_loss: Array
    normalized_weights: Array
    num_samples: Numeric


def at_least_smallest(alpha: Array) -> Array:
    """Keeps multipliers positive: max(alpha, 1e-10).

    Example:
        >>> print(at_least_smallest(jnp.array([-1., 2.])))
        [1.e-10 2.e+00]
    """
    return jnp.maximum(alpha, _SMALLEST)


def mpo_loss(
    sample_log_probs: Array,
    sample_q_values: Array,
    temperature_constraint: LagrangePenalty,
    kl_constraints: Sequence[tuple[Array, LagrangePenalty]],
    projection_operator: Callable[[Array], Array] = at_least_smallest,
    policy_loss_weight: Numeric = 1.0,
    temperature_loss_weight: Numeric = 1.0,
    kl_loss_weight: Numeric = 1.0,
    alpha_loss_weight: Numeric = 1.0,
    sample_axis: int = 0,
    use_stop_gradient: Array | bool = True,
) -> tuple[Array, MpoOutputs]:
    """MPO's loss of policy, temperature and multipliers.

        L = -Σₛ q(s) log π(aₛ) + η (ε_η + log 1/S Σₛ exp(Q(aₛ)/η))
            + Σ_C sg(α_C) KL_C + α_C (ε_C - sg(KL_C)),  q = softmax(Q/η) over samples

    Args:
        sample_log_probs: [S, E*] log-probabilities under the policy of sampled actions.
        sample_q_values: [S, E*] values of the actions.
        temperature_constraint: η and the bound ε_η of the E-step.
        kl_constraints: pairs of a divergence E* (or [E*, D]) of the policy from the old one, and
            its multiplier and bound.
        projection_operator: keeps η and α in their range.
        policy_loss_weight, temperature_loss_weight, kl_loss_weight, alpha_loss_weight: scalars.
        sample_axis: where the axis S is.
        use_stop_gradient: whether gradients stop where sg says, and at q (it may be traced).
    Returns: E* losses and `MpoOutputs`.
    Raises: ValueError naming the argument whose shape, dtype or value is wrong.
    Reference: Abdolmaleki et al., Maximum a Posteriori Policy Optimisation, 2018,
        arXiv 1806.06920, eq. 8 to 12; 2018, arXiv 1812.02256, section 4.
    Example:
        >>> loss, outputs = mpo_loss(
        ...     jnp.array([[0.], [-1.]]), jnp.array([[0.], [jnp.log(3.)]]),
        ...     LagrangePenalty(jnp.array(1.), .5), [(jnp.array([.5]), LagrangePenalty(2., .25))])
        >>> print(jnp.round(loss, 4))  # .75 + .5 + log 2 + .5
        [2.4431]
    """
    [sample_log_probs] = check_floats(sample_log_probs=sample_log_probs)
    sample_log_probs, sample_q_values = check_numbers(
        sample_log_probs=sample_log_probs, sample_q_values=sample_q_values
    )
    if sample_log_probs.shape != sample_q_values.shape:
        raise ValueError(
            f'sample_log_probs must have the shape of sample_q_values, '
            f'{sample_q_values.shape}, got shape {sample_log_probs.shape}'
        )
    temperature_loss, weights, num_samples = mpo_compute_weights_and_temperature_loss(
        sample_q_values, temperature_constraint, projection_operator, sample_axis
    )
    weights = stop_gradient_if(use_stop_gradient, weights)
    policy_loss = -jnp.sum(weights * sample_log_probs, axis=sample_axis)
    kl_loss, alpha_loss = compute_parametric_kl_penalty_and_dual_loss(
        kl_constraints, projection_operator, use_stop_gradient
    )
    loss = (
        policy_loss_weight * policy_loss
        + temperature_loss_weight * temperature_loss
        + kl_loss_weight * kl_loss
        + alpha_loss_weight * alpha_loss
    )
    return loss, MpoOutputs(
        temperature_loss, policy_loss, kl_loss, alpha_loss, weights, num_samples
    )


def mpo_compute_weights_and_temperature_loss(
    sample_q_values: Array,
    temperature_constraint: LagrangePenalty,
    projection_operator: Callable[[Array], Array],
    sample_axis: int = 0,
    *,
    log_prior: Array | None = None,
) -> tuple[Array, Array, int]:
    """MPO's E-step: weights of sampled actions, and the dual loss of the temperature.

        q(s) = softmaxₛ(Q(aₛ)/η + log p(s)),  L = η (ε + log Σₛ p(s) exp(Q(aₛ)/η))

    with p(s) = 1/S for actions drawn from the old policy.

    Args:
        sample_q_values: [S, E*] values of sampled actions.
        temperature_constraint: η, large for even weights, and its bound ε.
        projection_operator: keeps η in its range.
        sample_axis: where the axis S is.
        log_prior: [S, E*] log p(s), where the S actions are not drawn but all that there are: their
            log-probabilities under the old policy. None: they are drawn.
    Returns: E* temperature losses, [S, E*] weights, the number S.
    Raises: ValueError naming the argument whose shape, dtype or value is wrong.
    Reference: Abdolmaleki et al., 2018, arXiv 1806.06920, eq. 8 and 9.
    Example:
        >>> loss, weights, _ = mpo_compute_weights_and_temperature_loss(
        ...     jnp.array([0., jnp.log(3.)]), LagrangePenalty(jnp.array(1.), .5),
        ...     at_least_smallest)
        >>> print(jnp.round(loss, 4), jnp.round(weights, 4))  # .5 + log 2
        1.1931 [0.25 0.75]
    """
    [sample_q_values] = check_numbers(sample_q_values=sample_q_values)
    if not -sample_q_values.ndim <= sample_axis < sample_q_values.ndim:
        raise ValueError(
            f'sample_axis must be an axis of sample_q_values, of rank '
            f'{sample_q_values.ndim}, got {sample_axis}'
        )
    num_samples = sample_q_values.shape[sample_axis]
    temperature = projection_operator(temperature_constraint.alpha)
    scaled = sample_q_values / temperature
    if log_prior is None:
        log_mean = jax.scipy.special.logsumexp(scaled, axis=sample_axis) - jnp.log(num_samples)
    else:
        [log_prior] = check_floats(log_prior=log_prior)
        if log_prior.shape != sample_q_values.shape:
            raise ValueError(
                f'log_prior must have the shape of sample_q_values, {sample_q_values.shape}, '
                f'got shape {log_prior.shape}'
            )
        scaled = scaled + log_prior
        log_mean = jax.scipy.special.logsumexp(scaled, axis=sample_axis)
    loss = temperature * (temperature_constraint.epsilon + log_mean)
    return loss, jax.nn.softmax(scaled, axis=sample_axis), num_samples


def compute_parametric_kl_penalty_and_dual_loss(
    kl_constraints: Sequence[tuple[Array, LagrangePenalty]],
    projection_operator: Callable[[Array], Array],
    use_stop_gradient: Array | bool = True,
) -> tuple[Array, Array]:
    """The M-step's bounds: what they cost the policy, and the dual losses of their multipliers.

        kl_loss = Σ_C sg(α_C) KL_C,  alpha_loss = Σ_C α_C (ε_C - sg(KL_C))

    Args:
        kl_constraints: pairs of a divergence E* (or [E*, D], summed over D after it is weighed)
            and its multiplier and bound.
        projection_operator: keeps α in its range.
        use_stop_gradient: whether gradients stop where sg says (it may be traced).
    Returns: E* kl_loss and E* alpha_loss; 0 without constraints.
    Reference: Abdolmaleki et al., 2018, arXiv 1806.06920, eq. 12; 2018, arXiv 1812.02256, app. D.
    Example:
        >>> print(compute_parametric_kl_penalty_and_dual_loss(
        ...     [(jnp.array([.5]), LagrangePenalty(2., .25))], at_least_smallest))
        (Array([1.], dtype=float32), Array([-0.5], dtype=float32))
    """
    kl_loss, alpha_loss = jnp.asarray(0.0), jnp.asarray(0.0)  # Weakly typed.
    for kl, penalty in kl_constraints:
        kl_part, alpha_part, _ = kl_constraint_loss(
            kl, penalty, projection_operator, use_stop_gradient
        )
        kl_loss, alpha_loss = kl_loss + kl_part, alpha_loss + alpha_part
    return kl_loss, alpha_loss


def kl_constraint_loss(
    kl: Array,
    penalty: LagrangePenalty,
    projection_operator: Callable[[Array], Array],
    use_stop_gradient: Array | bool = True,
) -> tuple[Array, Array, Array]:
    """One bound of the M-step.

        kl_loss = sg(α) KL,  alpha_loss = α (ε - sg(KL))

    Args:
        kl: E* divergences, or [E*, D] where `penalty.per_dimension`.
        penalty: α, a scalar or [D], and its bound.
        projection_operator: keeps α in its range.
        use_stop_gradient: whether gradients stop where sg says (it may be traced).
    Returns: E* kl_loss, E* alpha_loss and the projected α.
    Raises: ValueError if kl is not of floats.
    Reference: Abdolmaleki et al., 2018, arXiv 1806.06920, eq. 12.
    Example:
        >>> kl_loss, alpha_loss, _ = kl_constraint_loss(
        ...     jnp.array([[.5, 1.]]), LagrangePenalty(jnp.array([2., 3.]), .25, True),
        ...     at_least_smallest)
        >>> print(kl_loss, alpha_loss)
        [4.] [-2.75]
    """
    [kl] = check_floats(kl=kl)
    alpha = jnp.asarray(projection_operator(penalty.alpha))
    if alpha.ndim:
        alpha = jnp.broadcast_to(alpha, kl.shape)
    kl_loss = stop_gradient_if(use_stop_gradient, alpha) * kl
    alpha_loss = alpha * (penalty.epsilon - stop_gradient_if(use_stop_gradient, kl))
    if penalty.per_dimension:
        kl_loss, alpha_loss = jnp.sum(kl_loss, axis=-1), jnp.sum(alpha_loss, axis=-1)
    return kl_loss, alpha_loss, alpha


def kl_alpha_loss(
    restarting_weights: Array,
    kl_constraints: Sequence[tuple[Array, LagrangePenalty]] = (),
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    """Bounds of the M-step as means over the examples that count.

        kl_loss = Σ_C mean(sg(α_C) KL_C),  alpha_loss = Σ_C mean(α_C (ε_C - sg(KL_C)))

    Args:
        restarting_weights: E*, 0 at examples that do not count.
        kl_constraints: pairs of a divergence and its multiplier and bound.
        axis_name: name of a mapped axis whose examples count as well.
    Returns: scalars kl_loss and alpha_loss; 0 without constraints.
    Reference: Song et al., V-MPO, 2019, arXiv 1909.12238, eq. 5.
    Example:
        >>> print(kl_alpha_loss(
        ...     jnp.array([1., 0.]), [(jnp.array([.5, 9.]), LagrangePenalty(2., .25))]))
        (Array(1., dtype=float32), Array(-0.5, dtype=float32))
    """
    total = AllSum(axis_name)
    count = total(restarting_weights) + _SMALLEST
    losses = compute_parametric_kl_penalty_and_dual_loss(kl_constraints, lambda alpha: alpha)
    kl_loss, alpha_loss = (
        total(jnp.where(restarting_weights > 0, restarting_weights * loss, 0)) / count
        for loss in losses
    )
    return kl_loss, alpha_loss


def vmpo_loss(
    sample_log_probs: Array,
    advantages: Array,
    temperature_constraint: LagrangePenalty,
    kl_constraints: Sequence[tuple[Array, LagrangePenalty]],
    projection_operator: Callable[[Array], Array] = at_least_smallest,
    restarting_weights: Array | None = None,
    importance_weights: Array | None = None,
    top_k_fraction: Numeric = 0.5,
    policy_loss_weight: Numeric = 1.0,
    temperature_loss_weight: Numeric = 1.0,
    kl_loss_weight: Numeric = 1.0,
    alpha_loss_weight: Numeric = 1.0,
    axis_name: str | None = None,
    use_stop_gradient: Array | bool = True,
) -> tuple[Array, MpoOutputs]:
    """V-MPO's loss of policy, temperature and multipliers, from the actions taken.

        L = -N ψ log π(a) + η (ε_η + log mean exp(A/η)) + Σ_C sg(α_C) KL_C + α_C (ε_C - sg(KL_C))
        ψ = exp(A/η) / Σ exp(A/η) over the best part of all N examples, 0 elsewhere

    Args:
        sample_log_probs: E* log-probabilities under the policy of the actions taken.
        advantages: E* of those actions.
        temperature_constraint: η and the bound ε_η of the E-step.
        kl_constraints: pairs of a divergence E* (or [E*, D]) and its multiplier and bound.
        projection_operator: keeps η and α in their range.
        restarting_weights: E*, 0 at examples that do not count, such as last steps. None for all.
        importance_weights: E* weights of the examples, or None.
        top_k_fraction: the part of examples, best first, that counts; in (0, 1].
        policy_loss_weight, temperature_loss_weight, kl_loss_weight, alpha_loss_weight: scalars.
        axis_name: name of a mapped axis over which the E-step is taken as a whole.
        use_stop_gradient: whether gradients stop where sg says, and at ψ (it may be traced).
    Returns: E* losses, whose mean is the loss of the paper, and `MpoOutputs`.
    Raises: ValueError naming the argument whose shape, dtype or value is wrong.
    Reference: Song et al., V-MPO, 2019, arXiv 1909.12238, eq. 2 to 5.
    Example:
        >>> loss, outputs = vmpo_loss(
        ...     jnp.array([-1., -1.]), jnp.array([0., jnp.log(3.)]),
        ...     LagrangePenalty(jnp.array(1.), .5), [], top_k_fraction=1.)
        >>> print(jnp.round(outputs.normalized_weights, 4), jnp.round(outputs.policy_loss, 4))
        [0.25 0.75] [0.5 1.5]
    """
    [sample_log_probs] = check_floats(sample_log_probs=sample_log_probs)
    sample_log_probs, advantages = check_numbers(
        sample_log_probs=sample_log_probs, advantages=advantages
    )
    ones = jnp.ones_like(sample_log_probs)
    restarting_weights = ones if restarting_weights is None else restarting_weights
    importance_weights = ones if importance_weights is None else importance_weights
    temperature_loss, weights, num_samples = vmpo_compute_weights_and_temperature_loss(
        advantages,
        restarting_weights,
        importance_weights,
        temperature_constraint,
        projection_operator,
        top_k_fraction,
        axis_name,
        use_stop_gradient,
    )
    num_examples = AllSum(axis_name)(ones)
    policy_loss = -num_examples * weights * sample_log_probs
    kl_loss, alpha_loss = compute_parametric_kl_penalty_and_dual_loss(
        kl_constraints, projection_operator, use_stop_gradient
    )
    loss = (
        policy_loss_weight * policy_loss
        + temperature_loss_weight * temperature_loss
        + kl_loss_weight * kl_loss
        + alpha_loss_weight * alpha_loss
    )
    return loss, MpoOutputs(
        temperature_loss, policy_loss, kl_loss, alpha_loss, weights, num_samples
    )


def vmpo_compute_weights_and_temperature_loss(
    advantages: Array,
    restarting_weights: Array,
    importance_weights: Array,
    temperature_constraint: LagrangePenalty,
    projection_operator: Callable[[Array], Array],
    top_k_fraction: Numeric,
    axis_name: str | None = None,
    use_stop_gradient: Array | bool = True,
) -> tuple[Array, Array, Array]:
    """V-MPO's E-step: weights of the best actions taken, and the dual loss of the temperature.

        ψ = w exp(A/η) / Σ w exp(A/η),  L = η (ε + log (Σ w exp(A/η) / Σ w'))

    with w the restarting weights times the importance weights of the best part of the examples, 0
    elsewhere, and w' the restarting weights alone.

    Args:
        advantages: E* advantages A.
        restarting_weights: E*, 0 at examples that do not count.
        importance_weights: E* weights.
        temperature_constraint: η and its bound ε.
        projection_operator: keeps η in its range.
        top_k_fraction: the part of examples, best first, that counts; in (0, 1]. Ties at its edge
            all count.
        axis_name: name of a mapped axis over which the step is taken as a whole.
        use_stop_gradient: whether gradients stop at the weights (it may be traced).
    Returns: scalar temperature loss, E* weights that sum to 1, scalar number of examples weighed.
    Raises: ValueError naming the argument whose shape, dtype or value is wrong.
    Reference: Song et al., V-MPO, 2019, arXiv 1909.12238, eq. 3 and 4.
    Example:
        >>> one = jnp.ones(4)
        >>> _, weights, count = vmpo_compute_weights_and_temperature_loss(
        ...     jnp.array([1., 2., 3., 3.]), one, one, LagrangePenalty(jnp.array(1.), .5),
        ...     at_least_smallest, .5)
        >>> print(weights, count)
        [0.  0.  0.5 0.5] 2.0
    """
    advantages, restarting_weights, importance_weights = check_numbers(
        advantages=advantages,
        restarting_weights=restarting_weights,
        importance_weights=importance_weights,
    )
    for name, weights in (
        ('restarting_weights', restarting_weights),
        ('importance_weights', importance_weights),
    ):
        if weights.shape != advantages.shape:
            raise ValueError(
                f'{name} must have the shape of advantages, {advantages.shape}, '
                f'got shape {weights.shape}'
            )
    importance_weights = stop_gradient_if(use_stop_gradient, importance_weights)
    temperature = projection_operator(temperature_constraint.alpha)
    scaled = restarting_weights * advantages / temperature
    largest = jnp.max(jax.lax.stop_gradient(scaled))  # It cancels, so it needs no gradient.
    if axis_name is not None:
        largest = jax.lax.pmax(largest, axis_name)
    chosen = get_top_k_weights(
        top_k_fraction, restarting_weights, scaled, axis_name, use_stop_gradient
    )
    total = AllSum(axis_name)
    weights = chosen * importance_weights * jnp.exp(scaled - largest)
    sum_weights = total(weights) + _SMALLEST
    num_samples = total(chosen) + _SMALLEST
    log_mean = jnp.log(sum_weights) + largest - jnp.log(num_samples)
    loss = temperature * (temperature_constraint.epsilon + log_mean)
    return loss, stop_gradient_if(use_stop_gradient, weights / sum_weights), num_samples


def get_top_k_weights(
    top_k_fraction: Numeric,
    restarting_weights: Array,
    scaled_advantages: Array,
    axis_name: str | None = None,
    use_stop_gradient: Array | bool = True,
) -> Array:
    """Restarting weights of the best part of the examples, 0 elsewhere.

    Args:
        top_k_fraction: the part, in (0, 1], of all examples; it is rounded down, and may be traced.
            Examples that do not count come last. Ties at its edge all count.
        restarting_weights: E*, 0 at examples that do not count.
        scaled_advantages: E* by which examples are ranked.
        axis_name: name of a mapped axis over which they are ranked as a whole.
        use_stop_gradient: whether gradients stop at the weights (it may be traced).
    Returns: E* weights.
    Raises: ValueError if the fraction is out of range or chooses nothing.
    Reference: Song et al., V-MPO, 2019, arXiv 1909.12238, section 4.1.
    Example:
        >>> print(get_top_k_weights(.5, jnp.array([1., 1., 1., 0.]), jnp.array([1., 3., 2., 9.])))
        [0. 1. 1. 0.]
    """
    is_traced = isinstance(top_k_fraction, jax.core.Tracer)
    if not is_traced and not 0 < top_k_fraction <= 1:
        raise ValueError(f'top_k_fraction must be in (0, 1], got {top_k_fraction}')
    if not is_traced and top_k_fraction == 1:
        return restarting_weights
    ranked = jnp.where(restarting_weights > 0, scaled_advantages, -jnp.inf)
    everyone = ranked if axis_name is None else jax.lax.all_gather(ranked, axis_name)
    if is_traced:
        top_k: Array | int = jnp.floor(top_k_fraction * everyone.size).astype(jnp.int32)
    else:
        top_k = int(top_k_fraction * everyone.size)
        if top_k == 0:
            raise ValueError(
                f'top_k_fraction must choose at least one of {everyone.size} examples, '
                f'got {top_k_fraction}'
            )
    threshold = jnp.sort(jnp.reshape(everyone, -1))[everyone.size - top_k]
    is_top = (ranked >= threshold).astype(restarting_weights.dtype)
    return restarting_weights * stop_gradient_if(use_stop_gradient, is_top)
