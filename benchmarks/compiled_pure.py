"""The peer of compiled.py in one function: environments, acting and learning as one `lax.scan`.

The style is PureJaxRL's (Lu et al. 2022): everything of an agent in one closure, nothing reusable, nothing
told to the host before the end. Environments begin anew within the step that ends them.
"""

from typing import Any
from typing import NamedTuple

import gymnax
import haiku as hk
import jax
import jax.numpy as jnp
import optax


class Transition(NamedTuple):
    observation: Any
    action: Any
    reward: Any
    done: Any
    next_observation: Any = ()
    log_prob: Any = ()
    value: Any = ()


def mlp(outputs: int, sizes: Any, activation: Any) -> Any:
    forward = lambda x: hk.nets.MLP([*sizes, outputs], activation=activation)(x)
    return hk.without_apply_rng(hk.transform(forward))


def make_dqn(task: dict[str, Any], steps: int) -> Any:
    """Trains DQN: key -> (parameters, updates)."""
    environment, env_params = gymnax.make(task['environment'])
    num, batch = task['num_environments'], task['batch_size']
    actions = environment.num_actions
    network = mlp(actions, task['hidden_sizes'], jax.nn.relu)
    optimizer = optax.adam(task['learning_rate'])
    reset = jax.vmap(environment.reset, (0, None))
    step = jax.vmap(environment.step, (0, 0, 0, None))
    capacity = task['replay_capacity'] // num  # ticks

    def train(key: Any) -> Any:
        key, of_init, of_reset = jax.random.split(key, 3)
        observation, state = reset(jax.random.split(of_reset, num), env_params)
        params = network.init(of_init, observation)
        one = Transition(
            observation,
            jnp.zeros(num, jnp.int32),
            jnp.zeros(num),
            jnp.zeros(num, bool),
            observation,
        )
        ring = jax.tree_util.tree_map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), one)

        def update(carry: Any) -> Any:
            params, target, optimizer_state, ring, size, key, updates = carry
            tick, lane = jax.random.split(key)
            tick = jax.random.randint(tick, (batch,), 0, size)
            lane = jax.random.randint(lane, (batch,), 0, num)
            drawn = jax.tree_util.tree_map(lambda x: x[tick, lane], ring)

            def loss(params: Any) -> Any:
                q = network.apply(params, drawn.observation)
                chosen = jnp.argmax(network.apply(params, drawn.next_observation), axis=1)
                bootstrap = jnp.take_along_axis(
                    network.apply(target, drawn.next_observation), chosen[:, None], axis=1
                )[:, 0]
                wanted = drawn.reward + task['discount'] * (1 - drawn.done) * bootstrap
                error = (
                    jax.lax.stop_gradient(wanted)
                    - jnp.take_along_axis(q, drawn.action[:, None], axis=1)[:, 0]
                )
                return 0.5 * jnp.mean(error**2)

            updates_, optimizer_state = optimizer.update(jax.grad(loss)(params), optimizer_state)
            params = optax.apply_updates(params, updates_)
            updates = updates + 1
            copy = updates % task['target_update_period'] == 0
            target = jax.tree_util.tree_map(lambda a, b: jnp.where(copy, a, b), params, target)
            return params, target, optimizer_state, updates

        def tick(carry: Any, i: Any) -> Any:
            params, target, optimizer_state, ring, state, observation, key, updates = carry
            key, of_action, of_random, of_step, of_update = jax.random.split(key, 5)
            fraction = jnp.minimum(i * num / task['epsilon_decay_steps'], 1.0)
            epsilon = 1.0 + fraction * (task['epsilon'] - 1.0)
            greedy = jnp.argmax(network.apply(params, observation), axis=1)
            random = jax.random.randint(of_action, (num,), 0, actions)
            action = jnp.where(jax.random.uniform(of_random, (num,)) < epsilon, random, greedy)
            after, state, reward, done, _ = step(
                jax.random.split(of_step, num), state, action, env_params
            )
            new = Transition(observation, action.astype(jnp.int32), reward, done, after)
            ring = jax.tree_util.tree_map(
                lambda x, y: jax.lax.dynamic_update_index_in_dim(
                    x, y.astype(x.dtype), i % capacity, 0
                ),
                ring,
                new,
            )
            size = jnp.minimum(i + 1, capacity)
            due = size * num >= task['min_replay_size']
            params, target, optimizer_state, updates = jax.lax.cond(
                due,
                lambda: update((params, target, optimizer_state, ring, size, of_update, updates)),
                lambda: (params, target, optimizer_state, updates),
            )
            return (params, target, optimizer_state, ring, state, after, key, updates), None

        carry = params, params, optimizer.init(params), ring, state, observation, key, jnp.int32(0)
        carry, _ = jax.lax.scan(tick, carry, jnp.arange(steps // num))
        return carry[0], carry[-1]

    return train


def make_ppo(task: dict[str, Any], steps: int) -> Any:
    """Trains PPO: key -> (parameters, updates)."""
    environment, env_params = gymnax.make(task['environment'])
    num, length = task['num_environments'], task['unroll_length']
    actor = mlp(environment.num_actions, task['hidden_sizes'], jnp.tanh)
    critic = mlp(1, task['hidden_sizes'], jnp.tanh)
    optimizer = optax.chain(
        optax.clip_by_global_norm(task['max_gradient_norm']),
        optax.adam(task['learning_rate'], eps=1e-5),
    )
    reset = jax.vmap(environment.reset, (0, None))
    step = jax.vmap(environment.step, (0, 0, 0, None))
    discount, lambda_, clip = task['discount'], task['lambda_'], task['clip_epsilon']

    def train(key: Any) -> Any:
        key, of_actor, of_critic, of_reset = jax.random.split(key, 4)
        observation, state = reset(jax.random.split(of_reset, num), env_params)
        params = {
            'actor': actor.init(of_actor, observation),
            'critic': critic.init(of_critic, observation),
        }
        optimizer_state = optimizer.init(params)

        def iteration(carry: Any, _: Any) -> Any:
            params, optimizer_state, state, observation, key = carry

            def act(carry: Any, _: Any) -> Any:
                state, observation, key = carry
                key, of_action, of_step = jax.random.split(key, 3)
                logits = actor.apply(params['actor'], observation)
                value = critic.apply(params['critic'], observation)[:, 0]
                action = jax.random.categorical(of_action, logits)
                log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], 1)[:, 0]
                after, state, reward, done, _ = step(
                    jax.random.split(of_step, num), state, action, env_params
                )
                row = Transition(observation, action, reward, done, (), log_prob, value)
                return (state, after, key), row

            (state, observation, key), rows = jax.lax.scan(
                act, (state, observation, key), None, length
            )
            last = critic.apply(params['critic'], observation)[:, 0]

            def advantage(carry: Any, row: Transition) -> Any:
                advantage, value = carry
                going_on = 1 - row.done
                delta = row.reward + discount * going_on * value - row.value
                advantage = delta + discount * lambda_ * going_on * advantage
                return (advantage, row.value), advantage

            _, advantages = jax.lax.scan(advantage, (jnp.zeros(num), last), rows, reverse=True)
            batch = jax.tree_util.tree_map(
                lambda x: x.reshape(-1, *x.shape[2:]), (rows, advantages, advantages + rows.value)
            )

            def loss(params: Any, minibatch: Any) -> Any:
                rows, advantages, targets = minibatch
                log_probs = jax.nn.log_softmax(actor.apply(params['actor'], rows.observation))
                value = critic.apply(params['critic'], rows.observation)[:, 0]
                log_prob = jnp.take_along_axis(log_probs, rows.action[:, None], 1)[:, 0]
                ratio = jnp.exp(log_prob - rows.log_prob)
                advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
                gain = jnp.minimum(
                    ratio * advantages, jnp.clip(ratio, 1 - clip, 1 + clip) * advantages
                )
                entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=1)
                return (
                    -gain.mean() + task['value_cost'] * 0.5 * jnp.mean((value - targets) ** 2)
                    - task['entropy_cost'] * entropy.mean()
                )  # fmt: skip

            def descend(carry: Any, minibatch: Any) -> Any:
                params, optimizer_state = carry
                updates, optimizer_state = optimizer.update(
                    jax.grad(loss)(params, minibatch), optimizer_state, params
                )
                return (optax.apply_updates(params, updates), optimizer_state), None

            def epoch(carry: Any, key: Any) -> Any:
                order = jax.random.permutation(key, num * length)
                parts = jax.tree_util.tree_map(
                    lambda x: x[order].reshape(task['num_minibatches'], -1, *x.shape[1:]), batch
                )
                return jax.lax.scan(descend, carry, parts)

            key, of_epochs = jax.random.split(key)
            keys = jax.random.split(of_epochs, task['num_epochs'])
            (params, optimizer_state), _ = jax.lax.scan(epoch, (params, optimizer_state), keys)
            return (params, optimizer_state, state, observation, key), None

        carry = params, optimizer_state, state, observation, key
        iterations = steps // (num * length)
        carry, _ = jax.lax.scan(iteration, carry, None, iterations)
        return carry[0], jnp.int32(iterations)

    return train


def make_pqn(task: dict[str, Any], steps: int) -> Any:
    """Trains PQN in purejaxql's style (Gallici et al. 2024): key -> (parameters, updates)."""
    environment, env_params = gymnax.make(task['environment'])
    num, length = task['num_environments'], task['unroll_length']
    actions = environment.num_actions

    def forward(x: Any) -> Any:
        for size in task['hidden_sizes']:
            norm = hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)
            x = jax.nn.relu(norm(hk.Linear(size)(x)))
        return hk.Linear(actions)(x)

    network = hk.without_apply_rng(hk.transform(forward))
    optimizer = optax.chain(
        optax.clip_by_global_norm(task['max_gradient_norm']), optax.radam(task['learning_rate'])
    )
    reset = jax.vmap(environment.reset, (0, None))
    step = jax.vmap(environment.step, (0, 0, 0, None))
    discount, lambda_ = task['discount'], task['lambda_']

    def train(key: Any) -> Any:
        key, of_init, of_reset = jax.random.split(key, 3)
        observation, state = reset(jax.random.split(of_reset, num), env_params)
        params = network.init(of_init, observation)

        def iteration(carry: Any, i: Any) -> Any:
            params, optimizer_state, state, observation, key = carry
            fraction = jnp.minimum(i * num * length / task['epsilon_decay_steps'], 1.0)
            epsilon = task['epsilon_initial'] + fraction * (
                task['epsilon'] - task['epsilon_initial']
            )

            def act(carry: Any, _: Any) -> Any:
                state, observation, key = carry
                key, of_action, of_random, of_step = jax.random.split(key, 4)
                q = network.apply(params, observation)
                random = jax.random.randint(of_action, (num,), 0, actions)
                explores = jax.random.uniform(of_random, (num,)) < epsilon
                action = jnp.where(explores, random, jnp.argmax(q, axis=1))
                after, state, reward, done, _ = step(
                    jax.random.split(of_step, num), state, action, env_params
                )
                reward = task['reward_scale'] * reward
                row = Transition(observation, action, reward, done, value=jnp.max(q, axis=1))
                return (state, after, key), row

            (state, observation, key), rows = jax.lax.scan(
                act, (state, observation, key), None, length
            )
            last = jnp.max(network.apply(params, observation), axis=1)

            def target(carry: Any, row: Transition) -> Any:
                returns, value = carry
                mixed = lambda_ * returns + (1 - lambda_) * value
                returns = row.reward + discount * (1 - row.done) * mixed
                return (returns, row.value), returns

            _, targets = jax.lax.scan(target, (last, last), rows, reverse=True)
            batch = jax.tree_util.tree_map(
                lambda x: x.reshape(-1, *x.shape[2:]), (rows.observation, rows.action, targets)
            )

            def loss(params: Any, minibatch: Any) -> Any:
                observation, action, targets = minibatch
                q = network.apply(params, observation)
                chosen = jnp.take_along_axis(q, action[:, None], axis=1)[:, 0]
                return 0.5 * jnp.mean((chosen - targets) ** 2)

            def descend(carry: Any, minibatch: Any) -> Any:
                params, optimizer_state = carry
                updates, optimizer_state = optimizer.update(
                    jax.grad(loss)(params, minibatch), optimizer_state, params
                )
                return (optax.apply_updates(params, updates), optimizer_state), None

            def epoch(carry: Any, key: Any) -> Any:
                order = jax.random.permutation(key, num * length)
                parts = jax.tree_util.tree_map(
                    lambda x: x[order].reshape(task['num_minibatches'], -1, *x.shape[1:]), batch
                )
                return jax.lax.scan(descend, carry, parts)

            key, of_epochs = jax.random.split(key)
            keys = jax.random.split(of_epochs, task['num_epochs'])
            (params, optimizer_state), _ = jax.lax.scan(epoch, (params, optimizer_state), keys)
            return (params, optimizer_state, state, observation, key), None

        carry = params, optimizer.init(params), state, observation, key
        iterations = steps // (num * length)
        carry, _ = jax.lax.scan(iteration, carry, jnp.arange(iterations))
        return carry[0], jnp.int32(iterations)

    return train


MAKE = {'dqn': make_dqn, 'ppo': make_ppo, 'pqn': make_pqn}
