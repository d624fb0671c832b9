"""The definitions that the losses are held to: NumPy, float64, one loop for every sum.

Returns are sums over what lies ahead of each step (O(T²)), not recurrences, so that they share
nothing with what they test. A mask cuts a sequence into runs of steps that count; each run is a
sequence of its own.
"""

import numpy as np


def runs(mask):
    """Slices of consecutive steps that count."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, int), [0]])))
    return [slice(start, stop) for start, stop in zip(edges[::2], edges[1::2])]


def by_runs(definition, mask, *sequences, **keywords):
    """A definition [T] -> [T] on each run alone, zeros between."""
    if mask is None:
        return definition(*sequences, **keywords)
    out = np.zeros(len(mask))
    for run in runs(mask):
        out[run] = definition(*(x[run] for x in sequences), **keywords)
    return out


def per_step(x, like):
    return np.ones_like(like) * x


def forward_view(r, discount, v, lambda_, n):
    """Σ over at most n steps of rewards and mixed-in values, then the last value."""
    length = len(r)
    out = np.zeros(length)
    for t in range(length):
        stop = min(t + n, length)
        weight = 1.0
        for k in range(t, stop):
            out[t] += weight * (r[k] + discount[k] * (1 - lambda_[k]) * v[k])
            weight *= discount[k] * lambda_[k]
        out[t] += weight * v[stop - 1]
    return out


def lambda_returns(r_t, discount_t, v_t, lambda_=1.0, mask=None):
    return by_runs(forward_view, mask, r_t, discount_t, v_t, per_step(lambda_, r_t), n=len(r_t))


def n_step(r_t, discount_t, v_t, n, lambda_t=1.0, mask=None):
    return by_runs(forward_view, mask, r_t, discount_t, v_t, per_step(lambda_t, r_t), n=n)


def discounted_returns(r_t, discount_t, v_t):
    return lambda_returns(r_t, discount_t, per_step(v_t, r_t))


def decayed_sums(terms, decay):
    """Σ over k ≥ t of terms[k] Π over t ≤ i < k of decay[i]."""
    return np.array(
        [
            sum(terms[k] * np.prod(decay[t:k]) for k in range(t, len(terms)))
            for t in range(len(terms))
        ]
    )


def gae(r_t, discount_t, lambda_, values=None, v_tm1=None, v_t=None, mask=None):
    v_tm1, v_t = (values[:-1], values[1:]) if values is not None else (v_tm1, v_t)

    def one_run(r, discount, lam, before, after):
        return decayed_sums(r + discount * after - before, discount * lam)

    return by_runs(one_run, mask, r_t, discount_t, per_step(lambda_, r_t), v_tm1, v_t)


def importance_corrected(
    r_t, discount_t, rho_tm1, lambda_, values=None, v_tm1=None, v_t=None, mask=None
):
    v_tm1, v_t = (values[:-1], values[1:]) if values is not None else (v_tm1, v_t)

    def one_run(r, discount, rho, lam, before, after):
        rho_next = np.append(rho[1:], 1.0)
        return rho * decayed_sums(r + discount * after - before, discount * lam * rho_next)

    return by_runs(one_run, mask, r_t, discount_t, rho_tm1, per_step(lambda_, r_t), v_tm1, v_t)


def off_policy(q_t, v_t, r_t, discount_t, c_t, mask=None):
    """E[G[t]] as the one-step target and the traced errors of the steps after it."""

    def one_run(q, v, r, discount, c):
        # G[t] = target[t] + discount[t] c[t] (G[t+1] - q[t]), summed out.
        target = r + discount * v
        out = np.zeros(len(r))
        for t in range(len(r)):
            weight = 1.0
            for k in range(t, len(r)):
                traced = discount[k] * c[k] * q[k] if k + 1 < len(r) else 0.0
                out[t] += weight * (target[k] - traced)
                weight *= discount[k] * c[k]
        return out

    q_t, c_t = (np.append(x, 0.0) for x in (q_t, c_t))
    return by_runs(one_run, mask, q_t, v_t, r_t, discount_t, c_t)


def off_policy_from_action_values(q_t, a_t, r_t, discount_t, c_t, pi_t, mask=None):
    expected = np.array([sum(p * q for p, q in zip(ps, qs)) for ps, qs in zip(pi_t, q_t)])
    return off_policy(pick(q_t, a_t)[:-1], expected, r_t, discount_t, c_t[:-1], mask)


def pick(q, a):
    return q[a] if q.ndim == 1 else np.array([row[i] for row, i in zip(q, a)])


def vtrace(
    v_tm1,
    v_t,
    r_t,
    discount_t,
    rho_tm1,
    lambda_=1.0,
    clip_rho_threshold=1.0,
    sample_mask=None,
    alpha=1.0,
):
    """Remark 1 of the paper, written out: traced and weighed one-step errors."""

    def clip(rho, threshold):
        clipped = rho if threshold is None else np.minimum(rho, threshold)
        return alpha * clipped + (1 - alpha) * rho

    def one_run(before, after, r, discount, rho, lam):
        deltas = clip(rho, clip_rho_threshold) * (r + discount * after - before)
        return decayed_sums(deltas, discount * lam * clip(rho, 1.0))

    return by_runs(
        one_run, sample_mask, v_tm1, v_t, r_t, discount_t, rho_tm1, per_step(lambda_, r_t)
    )


def vtrace_and_advantage(
    v_tm1,
    v_t,
    r_t,
    discount_t,
    rho_tm1,
    lambda_=1.0,
    clip_rho_threshold=1.0,
    clip_pg_rho_threshold=1.0,
    sample_mask=None,
    alpha=1.0,
):
    """The next step's target where lambda reaches it, the step's own bootstrap elsewhere."""
    length = len(r_t)
    lambda_ = per_step(lambda_, r_t)
    mask = np.ones(length, bool) if sample_mask is None else np.asarray(sample_mask, bool)
    errors = vtrace(
        v_tm1, v_t, r_t, discount_t, rho_tm1, lambda_, clip_rho_threshold, sample_mask, alpha
    )
    q, advantage = np.zeros(length), np.zeros(length)
    for t in np.flatnonzero(mask):
        bootstrap = v_t[t]
        if t + 1 < length and mask[t + 1]:
            bootstrap = lambda_[t] * (v_tm1[t + 1] + errors[t + 1]) + (1 - lambda_[t]) * v_t[t]
        q[t] = r_t[t] + discount_t[t] * bootstrap
        rho = rho_tm1[t]
        clipped = rho if clip_pg_rho_threshold is None else min(rho, clip_pg_rho_threshold)
        advantage[t] = (alpha * clipped + (1 - alpha) * rho) * (q[t] - v_tm1[t])
    return errors, advantage, q


def huber(x, delta):
    return np.where(np.abs(x) <= delta, 0.5 * x**2, delta * np.abs(x) - 0.5 * delta**2)


def log_softmax(x):
    return (
        x
        - np.log(np.sum(np.exp(x - x.max(-1, keepdims=True)), -1, keepdims=True))
        - x.max(-1, keepdims=True)
    )


def project(z_p, probs, z_q):
    """Every atom's mass is shared between the two places around it."""
    out = np.zeros(len(z_q))
    for place, mass in zip(z_p, probs):
        if place <= z_q[0]:
            out[0] += mass
        elif place >= z_q[-1]:
            out[-1] += mass
        else:
            upper = int(np.searchsorted(z_q, place, side='right'))
            part = (place - z_q[upper - 1]) / (z_q[upper] - z_q[upper - 1])
            out[upper - 1] += (1 - part) * mass
            out[upper] += part * mass
    return out


def quantile_loss(dist_src, tau_src, dist_target, huber_param=0.0, normalise_by_kappa=False):
    total = 0.0
    for value, tau in zip(dist_src, tau_src):
        for target in dist_target:
            error = target - value
            loss = huber(error, huber_param) if huber_param else abs(error)
            if huber_param and normalise_by_kappa:
                loss /= huber_param
            total += abs(tau - (error < 0)) * loss / len(dist_target)
    return np.asarray(total)
