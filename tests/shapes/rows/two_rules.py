"""DQN beside PPO over one stream, which PPO's policy acts: two rules, each with a clock of its own."""

from dataclasses import dataclass

import jax.numpy as jnp

from culmen.agents import dqn
from culmen.agents import ppo
from culmen.core import ActorCore
from culmen.core import Agent
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from tests.shapes import worlds
from tests.shapes.shape import Shape

UNROLL, REPLAYED = 16, 20
PPO = ppo.PPO(
    hidden_sizes=(), discount=0.0, unroll_length=UNROLL, batch_size=None, num_epochs=4, num_minibatches=2,
    learning_rate=0.1,
)  # fmt: skip
DQN = dqn.DQN(
    hidden_sizes=(), discount=0.0, n_step=1, batch_size=8, samples_per_insert=8.0, replay_capacity=200,
    min_replay_size=REPLAYED, learning_rate=0.02, priority_exponent=0.5, target_update_period=10,
)  # fmt: skip


@dataclass(frozen=True)
class Beside:
    """Both learn from the same steps. Even lanes of an evaluation show PPO's policy, odd ones DQN's."""

    first: Agent = PPO
    second: Agent = DQN

    def build(self, spec: EnvironmentSpec) -> Parts:
        parts = {'ppo': self.first.build(spec), 'dqn': self.second.build(spec)}

        def of(name):
            base = parts[name].learner.update

            def update(state, sample, context):
                trained, metrics, priorities = base(state[name], sample, context)
                staleness = jnp.max(context.rule_steps - sample.version).astype(jnp.float32)
                return {**state, name: trained}, {**metrics, 'staleness': staleness}, priorities

            return update

        def init(key):
            return {name: each.learner.init(key) for name, each in parts.items()}

        def variables(state):
            return {name: each.learner.variables(state[name]) for name, each in parts.items()}

        def select_action(params, timestep, state, context):
            return parts['ppo'].actor.select_action(params['ppo'], timestep, state, context)

        def init_evaluator(key, lanes):
            inner = {name: each.evaluator.init(key, lanes) for name, each in parts.items()}
            return {**inner, 'odd': jnp.asarray(lanes.index) % 2 == 1}

        def evaluate(params, timestep, state, context):
            actions, after = {}, {'odd': state['odd']}
            for name, each in parts.items():
                actions[name], after[name], _ = each.evaluator.select_action(
                    params[name], timestep, state[name], context
                )
            return jnp.where(state['odd'], actions['dqn'], actions['ppo']), after, ()

        return Parts(
            actor=ActorCore(parts['ppo'].actor.init, select_action),
            evaluator=ActorCore(init_evaluator, evaluate),
            learner=LearnerCore(init, {name: of(name) for name in parts}, variables),
            experience={name: each.experience for name, each in parts.items()},
        )


def check(result, launcher):
    """Each rule is as often due as alone, and no window of PPO is older than its last update."""
    learned = result.logs['learner'].iloc[-1]
    steps = result.summary['actor_steps']
    by_ppo, by_dqn = learned['ppo/rule_steps'], learned['dqn/rule_steps']
    assert by_ppo + by_dqn == result.summary['learner_steps']
    lanes = 4 if launcher == 'threads' else 2
    rows = steps * (worlds.LENGTH + 1) / worlds.LENGTH  # no step of an actor leads to FIRST
    assert abs(by_ppo - rows / (UNROLL * lanes)) <= 2
    assert abs(by_dqn - (steps - REPLAYED)) <= lanes
    assert learned['ppo/staleness'] == 0
    assert 0 < learned['dqn/staleness'] <= by_dqn
    assert {'ppo/loss', 'dqn/loss'} <= set(learned.index) and 'loss' not in learned


ROWS = [
    Shape(
        'two-rules', Beside(), worlds.signs, learns=3.5, steps=480, check=check,
        refused={'offline': 'experience must be of Datasets alone offline'},
    ),
]  # fmt: skip
