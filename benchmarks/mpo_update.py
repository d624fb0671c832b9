"""Updates per second of MPO's learner beside one update written by hand in JAX, in turns.

    python benchmarks/mpo_update.py [--repeats 7] [--write]

Both have the same networks, batch and settings and make the same update, which is checked first:
a critic of 5-step transitions, 20 draws of an observation, temperature, penalty and bounds by dimension,
three Adams. Each is one compiled function that is called in a loop, on one core. Medians of
the repeats are compared. `--write` writes docs/results/mpo_update.md.
"""

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from dm_env import specs
from dqn_speed import processor
from dqn_speed import write_page

from culmen.agents import mpo
from culmen.core.specs import DISCOUNT
from culmen.core.specs import REWARD
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import MID
from culmen.core.types import Context
from culmen.core.types import Sample
from culmen.core.types import Steps

OBSERVED, ACTED = 5, 1  # numbers, as in cartpole/swingup
AGENT = mpo.MPO()
SPEC = EnvironmentSpec(
    specs.Array((OBSERVED,), np.float32, 'observation'),
    specs.BoundedArray((ACTED,), np.float32, -1, 1, 'action'),
    REWARD,
    DISCOUNT,
)


def batch(seed: int) -> Sample:
    """Random windows of whole steps."""
    rng = np.random.default_rng(seed)
    size, length = AGENT.batch_size, AGENT.n_step
    steps = Steps(
        step_type=np.full((size, length + 1), MID, np.int32),
        reward=rng.uniform(size=(size, length + 1)).astype(np.float32),
        discount=np.ones((size, length + 1), np.float32),
        observation=rng.normal(size=(size, 2, OBSERVED)).astype(np.float32),
        action=rng.uniform(-1, 1, (size, length, ACTED)).astype(np.float32),
        extras={},
        mask=np.ones((size, length), bool),
    )
    return Sample(steps, np.ones(size, np.float32), np.int32(1000), *np.zeros((2, size), np.int32))


def make_adams() -> dict[str, optax.GradientTransformation]:
    """The optimisers."""

    def clipped(rate: float) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(AGENT.max_gradient_norm), optax.adam(rate))

    return {
        'policy': clipped(AGENT.policy_learning_rate),
        'critic': clipped(AGENT.critic_learning_rate),
        'duals': optax.adam(AGENT.dual_learning_rate),
    }


def dense(layer: Any, features: jax.Array) -> jax.Array:
    """A linear layer."""
    return features @ layer['w'] + layer['b']


def mlp(params: Any, features: jax.Array) -> jax.Array:
    """A normalised layer with a tanh, and one with a ReLU."""
    norm = params['layer_norm_mlp_torso/layer_norm']
    features = dense(params['layer_norm_mlp_torso/linear'], features)
    deviation = features - jnp.mean(features, -1, keepdims=True)
    variance = jnp.mean(deviation**2, -1, keepdims=True)
    features = jnp.tanh(norm['scale'] * deviation / jnp.sqrt(variance + 1e-5) + norm['offset'])
    return jax.nn.relu(dense(params['layer_norm_mlp_torso/mlp_torso_1/linear'], features))


def pi(params: Any, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Means and deviations."""
    hidden = mlp(params, observation)
    mean, raw = (
        dense(params[f'softplus_gaussian_head/{name}'], hidden) for name in ('mean', 'scale')
    )
    return mean, jax.nn.softplus(raw) * (AGENT.initial_scale / jnp.log(2.0)) + 1e-6


def q(params: Any, observation: jax.Array, action: jax.Array) -> jax.Array:
    """Action values."""
    inputs = jnp.concatenate([jnp.clip(action, -1, 1), observation], -1)
    return dense(params['linear'], mlp(params, inputs))[..., 0]


def positive(raw: jax.Array) -> jax.Array:
    """What a dual variable stands for."""
    return jax.nn.softplus(raw) + 1e-8


def log_density(x: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    """Of a normal distribution."""
    return -jnp.sum(
        0.5 * ((x - mean) / scale) ** 2 + jnp.log(scale) + 0.5 * jnp.log(2 * jnp.pi), -1
    )


def policy_loss(
    params: Any, duals: Any, observation: jax.Array, old: Any, draws: jax.Array, values: jax.Array
) -> jax.Array:
    """The losses of the policy and of the dual variables."""
    (mean, scale), (mean_0, scale_0) = pi(params, observation), old
    weights, total = 0.0, 0.0
    cost = -jnp.sqrt(jnp.sum((draws - jnp.clip(draws, -1, 1)) ** 2, -1))
    bounds = (AGENT.epsilon_temperature, AGENT.epsilon_penalty)
    for value, raw, epsilon in zip((values, cost), duals['temperature'], bounds):
        scaled = value / positive(raw)
        weights += jax.lax.stop_gradient(jax.nn.softmax(scaled, axis=0))
        log_mean = jax.nn.logsumexp(scaled, axis=0) - jnp.log(AGENT.num_samples)
        total += positive(raw) * (epsilon + jnp.mean(log_mean))
    log_prob = log_density(draws, mean[None], scale_0[None])
    log_prob += log_density(draws, mean_0[None], scale[None])
    total -= jnp.mean(jnp.sum(weights * log_prob, axis=0))
    ratio = (scale_0 / scale) ** 2
    for kl, raw, epsilon in (
        (0.5 * ((mean - mean_0) / scale_0) ** 2, duals['mean'], AGENT.epsilon_mean),
        (0.5 * (ratio - 1 - jnp.log(ratio)), duals['scale'], AGENT.epsilon_scale),
    ):
        alpha, kl = positive(raw), jnp.mean(kl, axis=0)
        total += jnp.sum(jax.lax.stop_gradient(alpha) * kl)
        total += jnp.sum(alpha * (epsilon - jax.lax.stop_gradient(kl)))
    return total


def make_by_hand() -> Callable[[Any, Sample, jax.Array], Any]:
    """One update as a researcher would write it for this task alone."""
    adams = make_adams()

    def update(state: Any, sample: Sample, key: jax.Array) -> Any:
        params, targets, optimizers, count = state
        steps, observation = sample.steps, sample.steps.observation
        powers = AGENT.discount ** jnp.arange(AGENT.n_step)
        r_t = jnp.sum(steps.reward[:, 1:] * powers[None], axis=1)
        mean_0, scale_0 = pi(targets['policy'], observation)
        noise = jax.vmap(lambda key: jax.random.normal(key, mean_0.shape))(
            jax.random.split(jax.random.split(key, 3)[0], AGENT.num_samples)
        )
        draws = mean_0[None] + scale_0[None] * noise
        seen = jnp.broadcast_to(observation[None], (AGENT.num_samples, *observation.shape))
        values = q(targets['critic'], seen, draws)
        y = r_t + AGENT.discount**AGENT.n_step * jnp.mean(values[:, :, 1], axis=0)

        def critic_loss(params: Any) -> jax.Array:
            predicted = q(params, observation[:, 0], steps.action[:, 0])
            return jnp.mean(0.5 * (y - predicted) ** 2)

        grads = {'critic': jax.grad(critic_loss)(params['critic'])}
        old = mean_0[:, 0], scale_0[:, 0]
        grads['policy'], grads['duals'] = jax.grad(policy_loss, argnums=(0, 1))(
            params['policy'], params['duals'], observation[:, 0], old, draws[:, :, 0],
            values[:, :, 0],
        )  # fmt: skip
        moved, after = {}, {}
        for name, adam in adams.items():
            change, after[name] = adam.update(grads[name], optimizers[name])
            moved[name] = optax.apply_updates(params[name], change)
        moved['duals'] = jax.tree_util.tree_map(lambda raw: jnp.maximum(raw, -18.0), moved['duals'])
        count += 1
        periods = {
            'policy': AGENT.target_policy_update_period,
            'critic': AGENT.target_critic_update_period,
        }
        targets = {
            name: optax.periodic_update(moved[name], targets[name], count, period)
            for name, period in periods.items()
        }
        return moved, targets, after, count

    return update


def in_turns(told: argparse.Namespace) -> dict[str, list[float]]:
    """Updates per second of both, a figure a repeat, after a check that they make the same update."""
    learner = AGENT.build(SPEC).learner
    samples = [jax.device_put(batch(seed)) for seed in range(8)]
    keys = list(jax.random.split(jax.random.key(1), 8))
    by_hand = make_by_hand()
    begun = learner.init(jax.random.key(0))

    def culmen(state: Any, sample: Sample, key: jax.Array) -> Any:
        inner, count = state
        context = Context(key, count, count, count)
        return learner.update(inner, sample, context)[0], count + 1

    copy = lambda tree: jax.tree_util.tree_map(jnp.array, tree)
    sides = {
        'culmen': (jax.jit(culmen, donate_argnums=0), copy((begun, jnp.int32(0)))),
        'by hand': (jax.jit(by_hand, donate_argnums=0), first_state(begun)),
    }
    states = {}
    for name, (update, state) in sides.items():
        for sample, key in zip(samples, keys):
            state = update(state, sample, key)
        states[name] = jax.block_until_ready(state)
    ours, theirs = states['culmen'][0], states['by hand'][0]
    for mine, other in (
        (ours.policy_params, theirs['policy']),
        (ours.critic_params.head, theirs['critic']),
        (ours.dual_params, theirs['duals']),
    ):
        jax.tree_util.tree_map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), mine, other
        )

    found: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(told.repeats):
        for name in sorted(sides, reverse=bool(repeat % 2)):
            update, state = sides[name][0], states[name]
            start = time.perf_counter()
            for i in range(told.updates):
                state = update(state, samples[i % 8], keys[i % 8])
            states[name] = jax.block_until_ready(state)
            found[name].append(told.updates / (time.perf_counter() - start))
        print({name: round(rates[-1], 1) for name, rates in found.items()}, flush=True)
    return found


def first_state(begun: Any) -> Any:
    """The state of the update by hand, from Culmen's."""
    params = {
        'policy': begun.policy_params, 'critic': begun.critic_params.head, 'duals': begun.dual_params,
    }  # fmt: skip
    optimizers = {name: adam.init(params[name]) for name, adam in make_adams().items()}
    targets = {name: params[name] for name in ('policy', 'critic')}
    state = params, targets, optimizers, jnp.int32(0)
    return jax.tree_util.tree_map(jnp.array, state)


def page(found: dict[str, list[float]], told: argparse.Namespace) -> str:
    """What is written."""
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    ratio = medians['culmen'] / medians['by hand']
    sizes = '-'.join(map(str, AGENT.hidden_sizes))
    return f"""# Updates of MPO beside an update by hand

    taskset -c 1 python benchmarks/mpo_update.py --repeats {told.repeats} --write

One update of MPO's defaults ({AGENT.batch_size} windows of {AGENT.n_step} steps, {AGENT.num_samples} draws,
MLP {sizes}), compiled and called in a loop on one core, beside the same update written by hand in JAX
for this task alone. They take turns; {told.repeats} repeats of {told.updates} updates, medians. Before, eight
updates of both are compared: they agree to rounding.

| | updates per second |
| --- | --- |
| Culmen | {medians['culmen']:,.0f} |
| by hand | {medians['by hand']:,.0f} |
| ratio (at least 0.95 is asked for) | {ratio:.2f} |

{processor()}; JAX {jax.__version__}; {datetime.date.today()}.
"""


def main() -> int:
    """Measures, prints, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--updates', type=int, default=400, help='of a repeat')
    parser.add_argument('--write', action='store_true')
    told = parser.parse_args()
    text = page(in_turns(told), told)
    print(text)
    if told.write:
        write_page('mpo_update.md', text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
