"""For tests of SAC's losses: two linear critics and a policy whose parameters are its distribution."""

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.networks import CriticParams
from culmen.components.networks import TanhGaussian
from culmen.components.replay.stream.windows import fold
from tests.agents import continuous
from tests.agents.continuous import TWO

POLICY = {'mean': jnp.float32(0.2), 'log_scale': jnp.float32(-1.0)}
CRITICS = CriticParams({}, jnp.array([1.0, 3.0]))
TARGETS = CriticParams({}, jnp.array([2.0, 1.0]))
KEY = jax.random.key(7)


def policy(params, observation):
    return TanhGaussian(
        jnp.broadcast_to(params['mean'], observation.shape),
        jnp.broadcast_to(params['log_scale'], observation.shape),
    )


NETWORKS = continuous.make_networks(policy, POLICY)


def drawn(key, batch=2):
    """Actions and log-densities of the policy, the density by a change of variables in double."""
    noise = np.asarray(jax.random.normal(key, (batch, 1)), np.float64)
    before = 0.2 + np.exp(-1.0) * noise
    density = np.exp(-0.5 * noise**2) / (np.sqrt(2 * np.pi) * np.exp(-1.0))
    density /= 1 - np.tanh(before) ** 2
    return np.tanh(before)[:, 0], np.log(density)[:, 0]


def transitions(discount):
    folded = fold(TWO.steps, discount)
    return folded._replace(a_tm1=continuous.BOX.to_canonical(folded.a_tm1))


PLAIN = {'learning_rate': 1e-4, 'target_rate': 0.25, 'discount': 0.9, 'initial_temperature': 0.5}
