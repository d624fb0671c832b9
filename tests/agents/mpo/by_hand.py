"""Linear networks of MPO, and its losses as loops over plain numbers in double."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.networks import Categorical
from culmen.components.networks import DiagonalGaussian
from culmen.components.networks import EncodedCriticParams
from culmen.components.networks import PolicyAndCritic
from culmen.components.networks import make_policy_and_critic
from tests.agents import registry

SIZE = 2  # dimensions of a box
CHOICES = 3
POLICY = {'mean': jnp.array([0.3, -0.6]), 'log_scale': jnp.array([-0.5, 0.2])}
OLD_POLICY = {'mean': jnp.array([0.4, -0.2]), 'log_scale': jnp.array([-0.7, 0.1])}
CHOOSE = {'logits': jnp.array([0.5, -0.5, 1.0])}
OLD_CHOOSE = {'logits': jnp.array([0.2, -0.1, 0.6])}


def critic(seed, num_outputs, size=SIZE):
    rng = np.random.default_rng(seed)
    head = {
        'of_features': jnp.asarray(rng.normal(size=num_outputs), jnp.float32),
        'of_action': jnp.asarray(rng.normal(size=(size, num_outputs)), jnp.float32),
    }
    return EncodedCriticParams({}, head)


def networks(spec=None, params=None):
    """Features are the observation [..., 1]; means and outputs are linear in them."""
    spec = registry.continuous_spec(SIZE) if spec is None else spec
    made = make_policy_and_critic('tests', spec)

    def policy(params, features, observation):
        if made.num_choices is not None:
            return Categorical(features @ params['logits'][None])
        mean = features @ params['mean'][None]
        return DiagonalGaussian(mean, jnp.broadcast_to(params['log_scale'], mean.shape))

    def outputs(params, features, action):
        return features @ params['of_features'][None] + action @ params['of_action']

    return PolicyAndCritic(
        init=lambda key: params,
        initial_state=lambda batch_size: (),
        step=lambda params, observation, state: (jnp.asarray(observation), state),
        unroll=lambda params, observation, step_type, state: jnp.asarray(observation),
        policy=policy,
        critic=outputs,
        actions=made.actions,
    )


def value(critic_params, feature, drawn, output=0):
    """One output of the critic, of a number and a draw."""
    head = jax.tree_util.tree_map(lambda leaf: np.asarray(leaf, np.float64), critic_params.head)
    action = one_hot(drawn) if np.ndim(drawn) == 0 else np.clip(np.asarray(drawn, float), -1, 1)
    total = feature * head['of_features'][output]
    for d in range(len(action)):
        total += action[d] * head['of_action'][d, output]
    return total


def one_hot(choice):
    return np.array([float(i == choice) for i in range(CHOICES)])


def probabilities(params, feature):
    logits = [feature * float(x) for x in params['logits']]
    total = sum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def log_density(x, mean, scale):
    return -0.5 * ((x - mean) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)


def kl_normal(mean_0, scale_0, mean_1, scale_1):
    """KL of N(0) from N(1)."""
    return (
        math.log(scale_1 / scale_0) + (scale_0**2 + (mean_0 - mean_1) ** 2) / (2 * scale_1**2) - 0.5
    )


def e_step(values, eta, epsilon, prior):
    """Weights of the candidates, and the dual loss of the temperature."""
    total = sum(p * math.exp(v / eta) for v, p in zip(values, prior))
    weights = [p * math.exp(v / eta) / total for v, p in zip(values, prior)]
    return weights, eta * (epsilon + math.log(total))
