"""Policies as functions of their parameters: sample, probability, entropy, divergence.

A distribution here is a tuple of functions, not an object: `softmax().entropy(logits)`. Discrete
ones take logits or action values [..., A] and give [...]; continuous ones take parameters
[..., D] and give [...]. A logit or an action value of -inf marks an illegal action: it has
probability 0, counts nothing in an entropy, and no gradient turns to NaN.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check_floats
from culmen.components.losses._common import check_numbers
from culmen.components.losses.base import batched_index


class DiscreteDistribution(NamedTuple):
    """Functions of logits or preferences [..., A].

    Attributes:
        sample: (key, logits) -> [...] actions.
        probs: (logits) -> [..., A] probabilities.
        logprob: (sample, logits) -> [...] log-probabilities of actions.
        entropy: (logits) -> [...].
        kl: (p_logits, q_logits) -> [...] Kullback-Leibler divergence of q from p, or None.
    """

    sample: Callable[..., Array]
    probs: Callable[..., Array]
    logprob: Callable[..., Array]
    entropy: Callable[..., Array]
    kl: Callable[..., Array] | None


class ContinuousDistribution(NamedTuple):
    """Functions of means and scales [..., D].

    Attributes:
        sample: (key, mu, sigma) -> [..., D] actions.
        prob: (sample, mu, sigma) -> [...] densities.
        logprob: (sample, mu, sigma) -> [...] log-densities.
        entropy: (mu, sigma) -> [...].
        kl_to_standard_normal: (mu, sigma) -> [...].
        kl: (mu_0, sigma_0, mu_1, sigma_1) -> [...].
    """

    sample: Callable[..., Array]
    prob: Callable[..., Array]
    logprob: Callable[..., Array]
    entropy: Callable[..., Array]
    kl_to_standard_normal: Callable[..., Array]
    kl: Callable[..., Array]


def softmax(temperature: Numeric = 1.0) -> DiscreteDistribution:
    """The categorical distribution of logits.

        π(a) = exp(logits[a] / temperature) / Σᵦ exp(logits[b] / temperature)

    Args:
        temperature: scalar > 0; large yields the uniform policy, towards 0 the greedy one.
    Returns: functions of logits.
    Example:
        >>> print(jnp.round(softmax().probs(jnp.array([0., jnp.log(3.)])), 4))
        [0.25 0.75]
    """

    def sample(key: Array, logits: Array) -> Array:
        return jax.random.categorical(key, logits / temperature)

    def probs(logits: Array) -> Array:
        return jax.nn.softmax(logits / temperature)

    def logprob(sample: Array, logits: Array) -> Array:
        return batched_index(jax.nn.log_softmax(logits / temperature), sample)

    def entropy(logits: Array) -> Array:
        return categorical_entropy(logits / temperature)

    def kl(p_logits: Array, q_logits: Array) -> Array:
        return categorical_kl_divergence(p_logits, q_logits, temperature)

    return DiscreteDistribution(sample, probs, logprob, entropy, kl)


def clipped_entropy_softmax(
    temperature: Numeric = 1.0, entropy_clip: Numeric = 1.0
) -> DiscreteDistribution:
    """The categorical distribution of logits, whose entropy has a ceiling.

        H = min(H(π), entropy_clip log A)

    An entropy bonus then pushes the policy no further than the ceiling.

    Args:
        temperature: scalar > 0.
        entropy_clip: scalar in [0, 1], the ceiling as a part of the largest entropy; 1 yields
            `softmax`.
    Returns: functions of logits. Each also takes and ignores `action_spec`.
    Example:
        >>> print(clipped_entropy_softmax(entropy_clip=.5).entropy(jnp.zeros(4)))  # log(4) / 2
        0.6931472
    """
    plain = softmax(temperature)

    def sample(key: Array, logits: Array, action_spec: Any = None) -> Array:
        return plain.sample(key, logits)

    def probs(logits: Array, action_spec: Any = None) -> Array:
        return plain.probs(logits)

    def logprob(sample: Array, logits: Array, action_spec: Any = None) -> Array:
        return plain.logprob(sample, logits)

    def entropy(logits: Array) -> Array:
        return jnp.minimum(plain.entropy(logits), entropy_clip * jnp.log(logits.shape[-1]))

    return DiscreteDistribution(sample, probs, logprob, entropy, plain.kl)


def greedy() -> DiscreteDistribution:
    """The distribution over the best actions, which splits ties evenly.

    Returns: functions of preferences [..., A], such as action values. It has no divergence.
    Example:
        >>> print(greedy().probs(jnp.array([1., 3., 3.])))
        [0.  0.5 0.5]
    """
    return epsilon_greedy(0.0)


def epsilon_greedy(epsilon: Numeric | None = None) -> DiscreteDistribution:
    """The distribution that takes a best action, and with probability epsilon any legal one.

        π(a) = (1 - ε) 1[a is best] / #best + ε 1[a is legal] / #legal

    Args:
        epsilon: scalar in [0, 1], or None if every call gives its own.
    Returns: functions of preferences [..., A], each with keywords `epsilon` and
        `legal_actions_mask` ([..., A], 0 or false at illegal actions; preferences of -inf mark
        them too). It has no divergence.
    Example:
        >>> policy = epsilon_greedy(.5)
        >>> print(policy.probs(jnp.array([3., 2., 1., 0.])))
        [0.625 0.125 0.125 0.125]
        >>> print(policy.probs(jnp.array([3., 2., 1.]), legal_actions_mask=jnp.array([0, 1, 1])))
        [0.   0.75 0.25]
    """

    def probs(
        preferences: Array,
        epsilon: Numeric | None = epsilon,
        legal_actions_mask: Array | None = None,
    ) -> Array:
        if epsilon is None:
            raise ValueError('epsilon must be given, here or when the distribution is made')
        [preferences] = check_numbers(preferences=preferences)
        legal = ~jnp.isneginf(preferences)
        if legal_actions_mask is not None:
            if jnp.shape(legal_actions_mask) != preferences.shape:
                raise ValueError(
                    f'legal_actions_mask must have the shape of preferences, '
                    f'{preferences.shape}, got {jnp.shape(legal_actions_mask)}'
                )
            legal &= jnp.asarray(legal_actions_mask) != 0
        masked = jnp.where(legal, preferences, -jnp.inf)
        best = legal & (masked == jnp.max(masked, axis=-1, keepdims=True))
        dtype = preferences.dtype
        return (1 - epsilon) * _evenly(best, dtype) + epsilon * _evenly(legal, dtype)

    def sample(
        key: Array,
        preferences: Array,
        epsilon: Numeric | None = epsilon,
        legal_actions_mask: Array | None = None,
    ) -> Array:
        return categorical_sample(key, probs(preferences, epsilon, legal_actions_mask))

    def logprob(
        sample: Array,
        preferences: Array,
        epsilon: Numeric | None = epsilon,
        legal_actions_mask: Array | None = None,
    ) -> Array:
        return jnp.log(batched_index(probs(preferences, epsilon, legal_actions_mask), sample))

    def entropy(
        preferences: Array,
        epsilon: Numeric | None = epsilon,
        legal_actions_mask: Array | None = None,
    ) -> Array:
        return -jnp.sum(_x_log_x(probs(preferences, epsilon, legal_actions_mask)), axis=-1)

    return DiscreteDistribution(sample, probs, logprob, entropy, None)


def gaussian_diagonal(sigma: Numeric | None = None) -> ContinuousDistribution:
    """The normal distribution with independent dimensions.

        log π(x) = -½ Σ_d (((x - μ)/σ)² + log 2πσ²)

    Args:
        sigma: scalar or [..., D] scale, or None if every call gives its own.
    Returns: functions of mu and sigma, [..., D] each.
    Example:
        >>> print(gaussian_diagonal(1.).entropy(jnp.zeros(2)))  # log(2πe)
        2.837877
    """

    def sample(key: Array, mu: Array, sigma: Numeric | None = sigma) -> Array:
        return mu + _scale(mu, sigma) * jax.random.normal(key, mu.shape, mu.dtype)

    def logprob(sample: Array, mu: Array, sigma: Numeric | None = sigma) -> Array:
        return _normal_log_prob(sample, mu, _scale(mu, sigma))

    def prob(sample: Array, mu: Array, sigma: Numeric | None = sigma) -> Array:
        return jnp.exp(logprob(sample, mu, sigma))

    def entropy(mu: Array, sigma: Numeric | None = sigma) -> Array:
        return _normal_entropy(_scale(mu, sigma))

    def kl_to_standard_normal(mu: Array, sigma: Numeric | None = sigma) -> Array:
        return multivariate_normal_kl_divergence(
            mu, _scale(mu, sigma), jnp.zeros_like(mu), jnp.ones_like(mu)
        )

    def kl(mu_0: Array, sigma_0: Numeric, mu_1: Array, sigma_1: Numeric) -> Array:
        return multivariate_normal_kl_divergence(
            mu_0, _scale(mu_0, sigma_0), mu_1, _scale(mu_1, sigma_1)
        )

    return ContinuousDistribution(sample, prob, logprob, entropy, kl_to_standard_normal, kl)


def squashed_gaussian(sigma_min: Numeric = -4, sigma_max: Numeric = 0.0) -> ContinuousDistribution:
    """A normal distribution squashed into the box of an action spec by a hyperbolic tangent.

        m = tanh(μ),  s = exp(sigma_min + ½ (sigma_max - sigma_min) (tanh(σ) + 1))
        action = minimum + ½ (maximum - minimum) (tanh(m + s ε) + 1),  ε ~ N(0, 1)

    Args:
        sigma_min, sigma_max: scalars, the bounds of log s.
    Returns: functions of mu and sigma [..., D], outputs of a network without activation. `sample`,
        `prob` and `logprob` take an action spec after them: anything with `minimum` and
        `maximum`, or None for (-1, 1). Entropy and divergences are those before the tangent.
    Reference: Haarnoja et al., Soft Actor-Critic, 2018, arXiv 1801.01290, appendix C.
    Example:
        >>> policy = squashed_gaussian()
        >>> print(policy.logprob(jnp.zeros(1), jnp.zeros(1), jnp.full(1, 99.), None))
        -0.9189385
    """

    def activate(mu: Array, sigma: Array) -> tuple[Array, Array]:
        half_range = 0.5 * (sigma_max - sigma_min)
        return jnp.tanh(mu), jnp.exp(sigma_min + half_range * (jnp.tanh(sigma) + 1))

    def box(action_spec: Any, like: Array) -> tuple[Array, Array]:
        if action_spec is None:
            return -jnp.ones_like(like), jnp.ones_like(like)
        low = jnp.broadcast_to(jnp.asarray(action_spec.minimum, like.dtype), like.shape)
        high = jnp.broadcast_to(jnp.asarray(action_spec.maximum, like.dtype), like.shape)
        return low, 0.5 * (high - low)

    def sample(key: Array, mu: Array, sigma: Array, action_spec: Any = None) -> Array:
        mean, scale = activate(mu, sigma)
        x = jnp.tanh(mean + scale * jax.random.normal(key, mu.shape, mu.dtype))
        low, half = box(action_spec, mu)
        return low + half * (x + 1)

    def logprob(sample: Array, mu: Array, sigma: Array, action_spec: Any = None) -> Array:
        mean, scale = activate(mu, sigma)
        low, half = box(action_spec, mu)
        # An action rounded onto the edge of the box would lie infinitely far out.
        edge = 1 - float(jnp.finfo(mu.dtype).eps)
        x = jnp.arctanh(jnp.clip((sample - low) / half - 1, -edge, edge))
        log_slope = 2 * (jnp.log(2) - x - jax.nn.softplus(-2 * x)) + jnp.log(half)
        return _normal_log_prob(x, mean, scale) - jnp.sum(log_slope, axis=-1)

    def prob(sample: Array, mu: Array, sigma: Array, action_spec: Any = None) -> Array:
        return jnp.exp(logprob(sample, mu, sigma, action_spec))

    def entropy(mu: Array, sigma: Array) -> Array:
        return _normal_entropy(activate(mu, sigma)[1])

    def kl_to_standard_normal(mu: Array, sigma: Array) -> Array:
        mean, scale = activate(mu, sigma)
        return multivariate_normal_kl_divergence(
            mean, scale, jnp.zeros_like(mean), jnp.ones_like(mean)
        )

    def kl(mu_0: Array, sigma_0: Array, mu_1: Array, sigma_1: Array) -> Array:
        return multivariate_normal_kl_divergence(*activate(mu_0, sigma_0), *activate(mu_1, sigma_1))

    return ContinuousDistribution(sample, prob, logprob, entropy, kl_to_standard_normal, kl)


def categorical_sample(key: Array, probs: Array) -> Array:
    """Samples from probabilities; -1 where they are not a distribution.

    Args:
        key: a random key.
        probs: [..., A] probabilities; they are normalised.
    Returns: [...] integers; -1 where an entry is negative or not finite, or where all are 0.
    Example:
        >>> key = jax.random.PRNGKey(0)
        >>> print(categorical_sample(key, jnp.array([[0., 1.], [jnp.nan, 1.]])))
        [ 1 -1]
    """
    [probs] = check_floats(probs=probs)
    valid = jnp.all(jnp.isfinite(probs) & (probs >= 0), axis=-1) & jnp.any(probs > 0, axis=-1)
    safe = jnp.where(jnp.expand_dims(valid, -1), probs, 1)
    return jnp.where(valid, jax.random.categorical(key, jnp.log(safe)), -1)


def categorical_entropy(logits: Array) -> Array:
    """Entropy of the categorical distribution of logits.

        H = -Σₐ π(a) log π(a),  π = softmax(logits)

    Args:
        logits: [..., A]; -inf marks an illegal action.
    Returns: [...] entropies, with no NaN in them or in their gradients.
    Raises: ValueError if logits are not of floats.
    Example:
        >>> print(categorical_entropy(jnp.array([0., 0., -jnp.inf])))  # log(2)
        0.6931472
    """
    [logits] = check_floats(logits=logits)
    log_pi = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_pi) * jnp.where(jnp.isneginf(logits), 0, log_pi), axis=-1)


def categorical_importance_sampling_ratios(
    pi_logits_t: Array, mu_logits_t: Array, a_t: Array
) -> Array:
    """Ratios of the probabilities that two policies give to the actions taken.

        ρ = π(a_t) / μ(a_t),  π = softmax(pi_logits_t),  μ = softmax(mu_logits_t)

    Args:
        pi_logits_t, mu_logits_t: [..., A] logits of the target and the behaviour policy.
        a_t: [...] actions taken by the behaviour policy.
    Returns: [...] ratios.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Example:
        >>> print(categorical_importance_sampling_ratios(
        ...     jnp.log(jnp.array([.75, .25])), jnp.zeros(2), jnp.array(0)))
        1.5
    """
    pi_logits_t, mu_logits_t = check_floats(pi_logits_t=pi_logits_t, mu_logits_t=mu_logits_t)
    return jnp.exp(
        batched_index(jax.nn.log_softmax(pi_logits_t), a_t)
        - batched_index(jax.nn.log_softmax(mu_logits_t), a_t)
    )


def categorical_cross_entropy(labels: Array, logits: Array) -> Array:
    """Cross-entropy of a categorical distribution, given by logits, to labels.

        L = -Σₖ labels[k] log softmax(logits)[k]

    Args:
        labels: [..., K] probabilities; a label of 0 counts nothing, whatever its logit.
        logits: [..., K].
    Returns: [...] losses.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Example:
        >>> print(categorical_cross_entropy(jnp.array([0., 1.]), jnp.zeros(2)))
        0.6931472
    """
    labels, logits = _same_shape(labels=labels, logits=logits)
    log_pi = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.where(labels == 0, 0, labels * log_pi), axis=-1)


def categorical_kl_divergence(
    p_logits: Array, q_logits: Array, temperature: Numeric = 1.0
) -> Array:
    """Kullback-Leibler divergence of one categorical distribution from another.

        KL(p ‖ q) = Σₐ p(a) (log p(a) - log q(a)),  p = softmax(p_logits / temperature), q alike

    Args:
        p_logits, q_logits: [..., A] logits; an action that p can not take counts nothing.
        temperature: scalar > 0, of both.
    Returns: [...] divergences, 0 for equal distributions.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Example:
        >>> print(categorical_kl_divergence(jnp.array([0., -jnp.inf]), jnp.zeros(2)))  # log(2)
        0.6931472
    """
    p_logits, q_logits = _same_shape(p_logits=p_logits, q_logits=q_logits)
    impossible = jnp.isneginf(p_logits)
    log_p, log_q = (jax.nn.log_softmax(x / temperature) for x in (p_logits, q_logits))
    difference = jnp.where(impossible, 0, log_p) - jnp.where(impossible, 0, log_q)
    return jnp.sum(jnp.exp(log_p) * difference, axis=-1)


def multivariate_normal_kl_divergence(
    mu_0: Array, sigma_0: Array, mu_1: Array, sigma_1: Array
) -> Array:
    """Kullback-Leibler divergence of one diagonal normal distribution from another.

        KL = Σ_d log(σ₁/σ₀) + (σ₀² + (μ₀ - μ₁)²) / (2 σ₁²) - ½

    Args:
        mu_0, sigma_0: [..., D] means and scales of the first, under which the mean is taken.
        mu_1, sigma_1: [..., D] means and scales of the second.
    Returns: [...] divergences.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Example:
        >>> one = jnp.ones(2)
        >>> print(multivariate_normal_kl_divergence(0 * one, one, one, one))
        1.0
    """
    kl_mean, kl_scale = factorised_kl_gaussian(mu_0, sigma_0, mu_1, sigma_1, both_diagonal=True)
    return kl_mean + kl_scale


def factorised_kl_gaussian(
    dist1_mean: Array,
    dist1_covariance_or_scale: Array,
    dist2_mean: Array,
    dist2_covariance_or_scale: Array,
    both_diagonal: bool = False,
) -> tuple[Array, Array]:
    """Divergence of one normal distribution from another, in a part for means and one for spreads.

        kl_mean = ½ (μ₂ - μ₁)ᵀ Σ₂⁻¹ (μ₂ - μ₁)
        kl_covariance = ½ (tr(Σ₂⁻¹ Σ₁) - D + log(det Σ₂ / det Σ₁))

    Their sum is KL(1 ‖ 2), so that the two can be held by separate bounds.

    Args:
        dist1_mean, dist2_mean: [..., D] means.
        dist1_covariance_or_scale, dist2_covariance_or_scale: [..., D, D] covariances, or [..., D]
            scales (standard deviations) if both are diagonal.
        both_diagonal: whether scales are given.
    Returns: [...] kl_mean and [...] kl_covariance.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Abdolmaleki et al., 2018, arXiv 1812.02256, section 4.2 and appendix D.
    Example:
        >>> one = jnp.ones(2)
        >>> kl_mean, kl_scale = factorised_kl_gaussian(0 * one, one, one, one, both_diagonal=True)
        >>> print(kl_mean, kl_scale)
        1.0 0.0
    """
    mean_1, mean_2 = _same_shape(dist1_mean=dist1_mean, dist2_mean=dist2_mean)
    spread_1, spread_2 = _same_shape(
        dist1_covariance_or_scale=dist1_covariance_or_scale,
        dist2_covariance_or_scale=dist2_covariance_or_scale,
    )
    wanted = mean_1.shape if both_diagonal else (*mean_1.shape, mean_1.shape[-1])
    if spread_1.shape != wanted:
        raise ValueError(
            f'dist1_covariance_or_scale must have shape {wanted}, got shape {spread_1.shape}'
        )
    difference = mean_2 - mean_1
    if both_diagonal:
        kl_mean = 0.5 * jnp.square(difference / spread_2)
        ratio = jnp.square(spread_1 / spread_2)
        return jnp.sum(kl_mean, axis=-1), 0.5 * jnp.sum(ratio - 1 - jnp.log(ratio), axis=-1)
    solved = jnp.linalg.solve(spread_2, jnp.expand_dims(difference, -1))
    kl_mean = 0.5 * jnp.sum(difference * jnp.squeeze(solved, -1), axis=-1)
    trace = jnp.trace(jnp.linalg.solve(spread_2, spread_1), axis1=-2, axis2=-1)
    log_det_1, log_det_2 = (jnp.linalg.slogdet(spread)[1] for spread in (spread_1, spread_2))
    return kl_mean, 0.5 * (trace - mean_1.shape[-1] + log_det_2 - log_det_1)


def decoupled_multivariate_normal_kl_divergence(
    mu_0: Array, sigma_0: Array, mu_1: Array, sigma_1: Array, per_dimension: bool = False
) -> tuple[Array, Array]:
    """The two divergences that MPO bounds apart: one moves the mean alone, one the scale alone.

        kl_mean = KL(N(μ₀, σ₀) ‖ N(μ₁, σ₀)),  kl_scale = KL(N(μ₀, σ₀) ‖ N(μ₀, σ₁))

    The bound on the mean is measured in the old scale, so that the new one can not buy room for
    the mean to move by growing.

    Args:
        mu_0, sigma_0: [..., D] means and scales of the old (target) policy.
        mu_1, sigma_1: [..., D] means and scales of the new (online) policy.
        per_dimension: whether to keep the axis of dimensions; then each one is bounded.
    Returns: [...] or [..., D] kl_mean and kl_scale.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Abdolmaleki et al., 2018, arXiv 1812.02256, section 4.2 and appendix D.
    Example:
        >>> one = jnp.ones(2)
        >>> kl_mean, kl_scale = decoupled_multivariate_normal_kl_divergence(
        ...     0 * one, one, one, 2 * one)
        >>> print(kl_mean, kl_scale)
        1.0 0.63629436
    """
    mu_0, sigma_0, mu_1, sigma_1 = _same_shape(
        mu_0=mu_0, sigma_0=sigma_0, mu_1=mu_1, sigma_1=sigma_1
    )
    kl_mean = 0.5 * jnp.square((mu_1 - mu_0) / sigma_0)
    ratio = jnp.square(sigma_0 / sigma_1)
    kl_scale = 0.5 * (ratio - 1 - jnp.log(ratio))
    if per_dimension:
        return kl_mean, kl_scale
    return jnp.sum(kl_mean, axis=-1), jnp.sum(kl_scale, axis=-1)


def _evenly(chosen: Array, dtype: Any) -> Array:
    """A probability shared evenly by the chosen along the last axis; 0 if there are none."""
    share = chosen.astype(dtype)
    return share / jnp.maximum(jnp.sum(share, axis=-1, keepdims=True), 1)


def _x_log_x(x: Array) -> Array:
    return jnp.where(x > 0, x * jnp.log(jnp.where(x > 0, x, 1)), 0)


def _scale(mu: Array, sigma: Numeric | None) -> Array:
    if sigma is None:
        raise ValueError('sigma must be given, here or when the distribution is made')
    return jnp.broadcast_to(jnp.asarray(sigma, mu.dtype), mu.shape)


def _normal_log_prob(x: Array, mu: Array, sigma: Array) -> Array:
    return -jnp.sum(
        0.5 * jnp.square((x - mu) / sigma) + jnp.log(sigma) + 0.5 * jnp.log(2 * jnp.pi), axis=-1
    )


def _normal_entropy(sigma: Array) -> Array:
    return jnp.sum(jnp.log(sigma) + 0.5 * (1 + jnp.log(2 * jnp.pi)), axis=-1)


def _same_shape(**arguments: Any) -> list[Array]:
    arrays = check_floats(**arguments)
    first, *others = arguments
    for name, array in zip(others, arrays[1:]):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f'{name} must have the shape of {first}, {arrays[0].shape}, got shape {array.shape}'
            )
    return arrays
