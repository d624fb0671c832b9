"""Returns over many steps: targets made of a sequence of rewards and the values along it.

Position t of a sequence of T steps holds what one step gave: the reward `r_t[t]`, the discount
`discount_t[t]` (0 at a termination) and the value `v_t[t]` of the observation that the step led
to, before any reset. A truncation keeps its discount; `lambda_[t] = 0` there makes the step
bootstrap from its own `v_t[t]`, and nothing of the next episode reaches it. Steps that a mask
leaves out, or that lie beyond `sequence_lengths`, have return 0; a step whose next one is left
out bootstraps from its own value.

All are linear recurrences, solved in one backward pass. Returns are plain numbers, not targets:
gradients flow through them unless `stop_target_gradients` is true (it may be traced).
"""

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import as_mask
from culmen.components.losses._common import check
from culmen.components.losses._common import cut_before_masked
from culmen.components.losses._common import stop_gradient_if
from culmen.components.losses._common import stop_target_if
from culmen.components.losses._common import zero_masked
from culmen.components.losses._recurrence import solve
from culmen.components.losses._recurrence import solve_backwards
from culmen.components.losses.base import batched_index


def lambda_returns(
    r_t: Array,
    discount_t: Array,
    v_t: Array,
    lambda_: Numeric = 1.0,
    stop_target_gradients: Array | bool = False,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Returns that mix bootstraps of every length, weighted by powers of lambda.

    Backwards over a sequence of T steps, from G[T] = v_t[T-1]:

        G[t] = r_t[t] + discount_t[t] ((1 - λ[t]) v_t[t] + λ[t] G[t+1])

    Args:
        r_t, discount_t: [T] rewards; discounts in [0, 1], 0 at a termination.
        v_t: [T] values of the observation each step led to, before any reset.
        lambda_: [T] or scalar in [0, 1]; 1 yields discounted returns, 0 one-step targets. 0 at a
            truncation makes that step bootstrap from its own v_t.
        stop_target_gradients: whether gradients stop at the returns.
        mask: [T], 0 at steps that do not count: their return is 0, whatever stands there, and a
            step before one bootstraps from its own v_t.
        sequence_lengths: scalar number of steps that count, from the first; the rest is padding.
    Returns: [T] lambda-returns; G[t] is the target of the observation before step t.
    Raises: ValueError naming the argument, what was wanted and what came (rank, length, dtype).
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., eq. 12.2 and section 12.1.
    Example:
        >>> print(lambda_returns(jnp.array([1., 2., 3.]), jnp.full(3, .5), jnp.array([0., 0., 4.])))
        [3.25 4.5  5.  ]
    """
    r_t, discount_t, v_t, lambda_ = check(
        'r_t[T]:real discount_t[T]:real v_t[T] lambda_[T?]:real', r_t, discount_t, v_t, lambda_
    )
    valid = as_mask(mask, sequence_lengths, len(r_t))
    r_t, discount_t, v_t = zero_masked(valid, r_t, discount_t, v_t)
    lambda_ = cut_before_masked(valid, lambda_)
    dtype = jnp.result_type(r_t, discount_t, v_t, lambda_)
    sequences = [x.astype(dtype) for x in (r_t, discount_t, v_t, lambda_)]
    if lambda_.ndim == 0:
        sequences.pop()  # One lambda for all steps need not be copied for each.

    def step(later: Array, terms: list[Array]) -> tuple[Array, Array]:
        r, discount, v, weight = terms if lambda_.ndim else [*terms, lambda_.astype(dtype)]
        mixed = (1 - weight) * v + weight * later
        returned = r + discount * mixed
        return returned, returned

    _, returns = jax.lax.scan(step, v_t[-1].astype(dtype), sequences, reverse=True)
    return stop_gradient_if(stop_target_gradients, returns)


def n_step_bootstrapped_returns(
    r_t: Array,
    discount_t: Array,
    v_t: Array,
    n: int,
    lambda_t: Numeric = 1.0,
    stop_target_gradients: Array | bool = False,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Returns that take n rewards and bootstrap from the value n steps on.

        G[t] = g(t, n),  g(t, 0) = v_t[t-1]
        g(t, k) = r_t[t] + discount_t[t] ((1 - λ[t]) v_t[t] + λ[t] g(t+1, k-1))

    Within n steps of the end the return takes what rewards are left and the last value. All g(., k)
    are made of all g(., k-1) at once, in one compiled loop of n passes over the sequence, so that
    neither the program nor the time to compile it grows with n or T.

    Args:
        r_t, discount_t: [T] rewards and discounts, discount 0 at a termination.
        v_t: [T] values of the observation each step led to, before any reset.
        n: number of steps, an int; 1 yields one-step targets, T or more lambda-returns.
        lambda_t: [T] or scalar; below 1 it mixes in the values on the way. 0 at a truncation
            makes that step bootstrap from its own v_t.
        stop_target_gradients: whether gradients stop at the returns.
        mask, sequence_lengths: which steps count; see `lambda_returns`.
    Returns: [T] n-step returns.
    Raises: ValueError naming the argument whose shape, dtype or value is wrong.
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., eq. 7.1.
    Example:
        >>> print(n_step_bootstrapped_returns(
        ...     jnp.ones(4), jnp.full(4, .5), jnp.array([0., 8., 0., 4.]), n=2))
        [3.5 1.5 2.5 3. ]
    """
    r_t, discount_t, v_t, lambda_t = check(
        'r_t[T]:real discount_t[T]:real v_t[T] lambda_t[T?]:real', r_t, discount_t, v_t, lambda_t
    )
    if n < 1:
        raise ValueError(f'n must be at least 1, got {n}')
    valid = as_mask(mask, sequence_lengths, len(r_t))
    r_t, discount_t, v_t = zero_masked(valid, r_t, discount_t, v_t)
    lambda_t = cut_before_masked(valid, lambda_t)
    if n >= len(r_t):  # One pass, from the last step to the first, instead of n.
        return lambda_returns(r_t, discount_t, v_t, lambda_t, stop_target_gradients)
    offset, slope = r_t + discount_t * (1 - lambda_t) * v_t, discount_t * lambda_t
    first, last = v_t[:1], v_t[-1:].astype(offset.dtype)  # The first is never read.

    def one_more_step(_: Array, returns: Array) -> Array:
        return jnp.concatenate([offset + slope * returns[1:], last])

    returns = jnp.concatenate([first, v_t]).astype(offset.dtype)
    returns = jax.lax.fori_loop(0, n, one_more_step, returns)[:-1]
    return stop_gradient_if(stop_target_gradients, returns)


def discounted_returns(
    r_t: Array,
    discount_t: Array,
    v_t: Numeric,
    stop_target_gradients: Array | bool = False,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Sums of discounted rewards, with a bootstrap at the end of the sequence.

    Backwards over a sequence of T steps, from G[T] = v_t[T-1]:

        G[t] = r_t[t] + discount_t[t] G[t+1]

    Args:
        r_t, discount_t: [T] rewards and discounts, discount 0 at a termination.
        v_t: scalar value of the last observation, or [T] values, where only the last one counts.
        stop_target_gradients: whether gradients stop at the returns.
        mask, sequence_lengths: which steps count; see `lambda_returns`. The last that counts
            bootstraps from its own v_t.
    Returns: [T] returns.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., eq. 3.9.
    Example:
        >>> print(discounted_returns(jnp.array([1., 2.]), jnp.array([.5, .5]), 4.))
        [3. 4.]
    """
    r_t, discount_t, v_t = check('r_t[T]:real discount_t[T]:real v_t[T?]', r_t, discount_t, v_t)
    return lambda_returns(
        r_t,
        discount_t,
        jnp.broadcast_to(v_t, discount_t.shape),
        1.0,
        stop_target_gradients,
        mask=mask,
        sequence_lengths=sequence_lengths,
    )


def importance_corrected_td_errors(
    r_t: Array,
    discount_t: Array,
    rho_tm1: Array,
    lambda_: Numeric,
    values: Array | None = None,
    stop_target_gradients: Array | bool = False,
    *,
    v_tm1: Array | None = None,
    v_t: Array | None = None,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Multistep errors with an importance ratio for every decision.

        E[t] = ρ[t] D[t]
        D[t] = δ[t] + discount_t[t] λ[t] ρ[t+1] D[t+1],  D[T] = 0
        δ[t] = r_t[t] + discount_t[t] v_t[t] - v_tm1[t]

    Args:
        r_t, discount_t: [T] rewards and discounts at t.
        rho_tm1: [T] ratios π(a_tm1) / μ(a_tm1) of the actions taken at t-1; ones yield the errors
            of `td_lambda`.
        lambda_: [T] or scalar; 0 yields ρ[t] δ[t]. 0 at a truncation cuts the sequence there.
        values: [T+1] values under π of all observations: v_tm1 = values[:-1], v_t = values[1:].
        stop_target_gradients: whether gradients flow to v_tm1[t] as the prediction alone.
        v_tm1, v_t: [T] values before and after each step, given instead of `values` where the
            sequence holds a cut: after one, v_tm1[t+1] is not v_t[t].
        mask, sequence_lengths: which steps count; see `lambda_returns`.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Sutton et al., A New Q(λ) with Interim Forward View and Monte Carlo Equivalence,
        2014, section 3.
    Example:
        >>> print(importance_corrected_td_errors(
        ...     jnp.ones(2), jnp.ones(2), jnp.array([1., 2.]), 1., jnp.zeros(3)))
        [3. 2.]
    """
    r_t, discount_t, rho_tm1, lambda_ = check(
        'r_t[T]:real discount_t[T]:real rho_tm1[T]:real lambda_[T?]:real',
        r_t,
        discount_t,
        rho_tm1,
        lambda_,
    )
    v_tm1, v_t = _before_and_after(values, v_tm1, v_t, len(r_t))
    valid = as_mask(mask, sequence_lengths, len(r_t))
    r_t, discount_t, rho_tm1, v_tm1, v_t = zero_masked(valid, r_t, discount_t, rho_tm1, v_tm1, v_t)
    lambda_ = cut_before_masked(valid, lambda_)
    rho_t = jnp.concatenate([rho_tm1[1:], jnp.ones_like(rho_tm1[:1])])
    deltas = r_t + discount_t * v_t - v_tm1
    errors = rho_tm1 * solve_backwards(deltas, discount_t * rho_t, lambda_)
    return stop_target_if(stop_target_gradients, errors, v_tm1)


def truncated_generalized_advantage_estimation(
    r_t: Array,
    discount_t: Array,
    lambda_: Numeric,
    values: Array | None = None,
    stop_target_gradients: Array | bool = False,
    *,
    v_tm1: Array | None = None,
    v_t: Array | None = None,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Advantages as discounted sums of one-step errors: GAE(λ), cut at the end of the sequence.

        A[t] = δ[t] + discount_t[t] λ[t] A[t+1],  A[T] = 0
        δ[t] = r_t[t] + discount_t[t] v_t[t] - v_tm1[t]

    Args:
        r_t, discount_t: [T] rewards and discounts at t.
        lambda_: [T] or scalar; 0 yields one-step errors, 1 returns minus values. 0 at a
            truncation cuts the sequence there. Mind the order: lambda comes third.
        values: [T+1] values of all observations: v_tm1 = values[:-1], v_t = values[1:].
        stop_target_gradients: whether gradients stop at the advantages.
        v_tm1, v_t: [T] values before and after each step, given instead of `values` where the
            sequence holds a cut: after one, v_tm1[t+1] is the first of a new episode and is not
            v_t[t], the last of the old.
        mask, sequence_lengths: which steps count; see `lambda_returns`.
    Returns: [T] advantages of the actions taken at t-1.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Schulman et al., 2016, arXiv 1506.02438, eq. 16; 2017, arXiv 1707.06347, eq. 11.
    Example:
        >>> print(truncated_generalized_advantage_estimation(
        ...     jnp.ones(2), jnp.ones(2), .5, jnp.array([0., 2., 4.])))
        [4.5 3. ]
    """
    r_t, discount_t, lambda_ = check(
        'r_t[T]:real discount_t[T]:real lambda_[T?]:real', r_t, discount_t, lambda_
    )
    v_tm1, v_t = _before_and_after(values, v_tm1, v_t, len(r_t))
    valid = as_mask(mask, sequence_lengths, len(r_t))
    r_t, discount_t, v_tm1, v_t = zero_masked(valid, r_t, discount_t, v_tm1, v_t)
    lambda_ = cut_before_masked(valid, lambda_)
    deltas = r_t + discount_t * v_t - v_tm1
    advantages = solve_backwards(deltas, discount_t, lambda_)
    return stop_gradient_if(stop_target_gradients, advantages)


def general_off_policy_returns_from_action_values(
    q_t: Array,
    a_t: Array,
    r_t: Array,
    discount_t: Array,
    c_t: Array,
    pi_t: Array,
    stop_target_gradients: Array | bool = False,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Off-policy returns from action values and trace coefficients.

    Backwards over K steps, with v_t[t] = Σₐ pi_t[t, a] q_t[t, a]:

        G[t] = r_t[t] + discount_t[t] (v_t[t] + c_t[t] (G[t+1] - q_t[t, a_t[t]]))
        G[K-1] = r_t[K-1] + discount_t[K-1] v_t[K-1]

    With π and μ the probabilities of a_t[t], the choice of c_t yields: π/μ importance sampling,
    λ Harutyunyan's Q(λ), π Precup's tree backup, λ min(1, π/μ) Retrace, 0 expected Sarsa.

    Args:
        q_t: [K, A] action values at the observation each step led to; -inf marks an illegal
            action, which must have probability 0.
        a_t: [K] actions taken there; the last does not count.
        r_t, discount_t: [K] rewards and discounts at t.
        c_t: [K] trace coefficients of those actions; the last does not count. 0 at a truncation.
        pi_t: [K, A] target policy at t.
        stop_target_gradients: whether gradients stop at the returns.
        mask, sequence_lengths: which steps count; see `lambda_returns`.
    Returns: [K] returns, targets of the action values at t-1.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Munos et al., 2016, arXiv 1606.02647, eq. 4 and table 1.
    Example:
        >>> q = jnp.array([[2., 4.], [6., 8.]])
        >>> print(general_off_policy_returns_from_action_values(
        ...     q, jnp.array([0, 0]), jnp.ones(2), jnp.full(2, .5), jnp.ones(2),
        ...     jnp.full((2, 2), .5)))
        [3.75 4.5 ]
    """
    q_t, a_t, r_t, discount_t, c_t, pi_t = check(
        'q_t[K,A] a_t[K]:int r_t[K]:real discount_t[K]:real c_t[K]:real pi_t[K,A]:real',
        q_t,
        a_t,
        r_t,
        discount_t,
        c_t,
        pi_t,
    )
    q_t = jnp.where(jnp.isneginf(q_t), 0, q_t)
    return general_off_policy_returns_from_q_and_v(
        batched_index(q_t, a_t)[:-1],
        jnp.sum(pi_t * q_t, axis=-1),
        r_t,
        discount_t,
        c_t[:-1],
        stop_target_gradients,
        mask=mask,
        sequence_lengths=sequence_lengths,
    )


def general_off_policy_returns_from_q_and_v(
    q_t: Array,
    v_t: Array,
    r_t: Array,
    discount_t: Array,
    c_t: Array,
    stop_target_gradients: Array | bool = False,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Off-policy returns from state values, values of the actions taken and trace coefficients.

    Backwards over K steps:

        G[t] = r_t[t] + discount_t[t] (v_t[t] + c_t[t] (G[t+1] - q_t[t]))
        G[K-1] = r_t[K-1] + discount_t[K-1] v_t[K-1]

    The choices of c_t are those of `general_off_policy_returns_from_action_values`; this form
    needs no sum over actions, so it serves continuous ones.

    Args:
        q_t: [K-1] values of the actions taken at the observations between the steps.
        v_t: [K] values, under the target policy, of the observation each step led to.
        r_t, discount_t: [K] rewards and discounts at t.
        c_t: [K-1] trace coefficients of the actions of q_t. 0 at a truncation.
        stop_target_gradients: whether gradients stop at the returns.
        mask, sequence_lengths: which of the K steps count; see `lambda_returns`.
    Returns: [K] returns, targets of the action values at t-1.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Munos et al., 2016, arXiv 1606.02647, eq. 4.
    Example:
        >>> print(general_off_policy_returns_from_q_and_v(
        ...     jnp.array([2.]), jnp.array([3., 7.]), jnp.ones(2), jnp.full(2, .5), jnp.ones(1)))
        [3.75 4.5 ]
    """
    v_t, r_t, discount_t, q_t, c_t = check(
        'v_t[K] r_t[K]:real discount_t[K]:real q_t[K-1] c_t[K-1]:real',
        v_t,
        r_t,
        discount_t,
        q_t,
        c_t,
    )
    nothing = jnp.zeros_like(v_t[:1])  # The last step has no next action to trace.
    q_t, c_t = jnp.concatenate([q_t, nothing]), jnp.concatenate([c_t, nothing])
    valid = as_mask(mask, sequence_lengths, len(r_t))
    q_t, v_t, r_t, discount_t, c_t = zero_masked(valid, q_t, v_t, r_t, discount_t, c_t)
    c_t = cut_before_masked(valid, c_t)
    returns = solve_backwards(r_t + discount_t * (v_t - c_t * q_t), discount_t, c_t)
    return stop_gradient_if(stop_target_gradients, returns)


def scan_discounted_sum(
    sequence: Array,
    decay: Array,
    initial_value: Array,
    reverse: bool = False,
    sequence_lengths: Array | None = None,
    back_prop: Array | bool = True,
) -> Array:
    """Running sum that decays: the recurrence beneath every return.

        S[t] = sequence[t] + decay[t] S[t-1],  S[-1] = initial_value
        S[t] = sequence[t] + decay[t] S[t+1],  S[T] = initial_value   (reverse)

    Args:
        sequence, decay: [T, ...] what is added and what remains, time first.
        initial_value: [...] the sum before the first step, or after the last if reversed.
        reverse: whether to run from the last step to the first.
        sequence_lengths: [B] or scalar numbers of steps that count, of sequences [T, B, ...] or
            [T]; the sum of steps beyond is 0, and a reversed sum starts at the last that counts.
        back_prop: whether gradients flow (it may be traced).
    Returns: [T, ...] sums.
    Raises: ValueError naming the argument whose shape is wrong.
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., eq. 3.9.
    Example:
        >>> print(scan_discounted_sum(jnp.array([1., 1., 1.]), jnp.full(3, .5), jnp.array(4.)))
        [3.   2.5  2.25]
    """
    sequence, decay, initial_value = map(jnp.asarray, (sequence, decay, initial_value))
    for name, array, shape in (
        ('decay', decay, sequence.shape),
        ('initial_value', initial_value, sequence.shape[1:]),
    ):
        if array.shape != shape:
            raise ValueError(f'{name} must have shape {shape}, got shape {array.shape}')
    if sequence_lengths is not None:
        lengths = jnp.asarray(sequence_lengths)
        if lengths.shape != sequence.shape[1 : 1 + lengths.ndim]:
            raise ValueError(
                f'sequence_lengths must have shape [B] = {sequence.shape[1:2]}, '
                f'got shape {lengths.shape}'
            )
        steps = jax.lax.broadcasted_iota(jnp.int32, sequence.shape, dimension=0)
        trailing = (1,) * (sequence.ndim - lengths.ndim - 1)
        valid = steps < jnp.reshape(lengths, (1, *lengths.shape, *trailing))
        sequence = jnp.where(valid, sequence, 0)
        # Padding does not change a reversed sum, so that it begins at the last step that counts.
        decay = jnp.where(valid, decay, 1 if reverse else 0)
    sums = solve(sequence, decay, initial_value, reverse)
    if sequence_lengths is not None:
        sums = jnp.where(valid, sums, 0)
    return stop_gradient_if(
        jnp.logical_not(back_prop) if isinstance(back_prop, jax.Array) else not back_prop, sums
    )


def _before_and_after(
    values: Array | None, v_tm1: Array | None, v_t: Array | None, length: int
) -> tuple[Array, Array]:
    """The values before and after each step, from [T+1] values or from the two themselves."""
    if values is not None:
        if v_tm1 is not None or v_t is not None:
            raise ValueError('values must be None where v_tm1 and v_t are given')
        [values] = check('values[T+1]', values)
        if values.shape != (length + 1,):
            raise ValueError(
                f'values must have shape [T+1] with T = {length}, got shape {values.shape}'
            )
        return values[:-1], values[1:]
    if v_tm1 is None or v_t is None:
        raise ValueError('values, or v_tm1 and v_t, must be given')
    v_tm1, v_t = check('v_tm1[T] v_t[T]', v_tm1, v_t)
    if v_tm1.shape != (length,):
        raise ValueError(f'v_tm1 must have shape [T] with T = {length}, got shape {v_tm1.shape}')
    return v_tm1, v_t
