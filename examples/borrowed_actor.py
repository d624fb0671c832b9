"""Expected SARSA that acts with DQN's actor, unchanged. `python examples/borrowed_actor.py` trains it.

An actor knows nothing of the learner whose variables it reads: it fits wherever they are parameters of the
same network. Here the learner values the epsilon-greedy policy instead of the greedy one (van Seijen et al.
2009, "A theoretical and empirical analysis of Expected Sarsa"); everything else is DQN's.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

import culmen
from culmen.agents import dqn
from culmen.components import losses
from culmen.components.networks import make_action_value_network
from culmen.components.replay import fold
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts


@dataclass(frozen=True)
class ExpectedSarsa:
    """The values of DQN's behaviour, from one step."""

    base: dqn.DQN = dqn.DQN(n_step=1)

    def build(self, spec: EnvironmentSpec) -> Parts:
        parts = self.base.build(spec)
        num_actions = spec.action.num_values
        network = make_action_value_network(spec, num_actions, self.base.hidden_sizes)
        optimizer = optax.adam(self.base.learning_rate)
        epsilon = self.base.epsilon

        def loss(params, target_params, steps):
            o_tm1, a_tm1, r_t, discount_t, o_t = fold(steps, self.base.discount)
            q_tm1, q_t = network.apply(params, o_tm1), network.apply(target_params, o_t)
            greedy = jax.nn.one_hot(jnp.argmax(q_t, axis=1), num_actions)
            probs = (1 - epsilon) * greedy + epsilon / num_actions
            errors = jax.vmap(losses.expected_sarsa)(q_tm1, a_tm1, r_t, discount_t, q_t, probs)
            return jnp.mean(losses.huber_loss(errors))

        def init(key):
            params = network.init(key)
            return params, params, optimizer.init(params)

        def update(state, sample, context):
            params, target_params, optimizer_state = state
            value, gradient = jax.value_and_grad(loss)(params, target_params, sample.steps)
            updates, optimizer_state = optimizer.update(gradient, optimizer_state)
            params = optax.apply_updates(params, updates)
            target_params = optax.periodic_update(
                params, target_params, context.rule_steps + 1, self.base.target_update_period
            )
            return (params, target_params, optimizer_state), {'loss': value}, None

        learner = LearnerCore(init, update, variables=lambda state: state[0])
        return parts._replace(learner=learner)  # actor, evaluator and experience as DQN has them


if __name__ == '__main__':
    print(culmen.run(culmen.Experiment(ExpectedSarsa(), 'bsuite/catch/0', max_actor_steps=10_000)))
