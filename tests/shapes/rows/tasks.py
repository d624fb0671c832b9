"""Agents that learn two tasks in one run, which they can only tell apart by the lane."""

from dataclasses import dataclass

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from culmen.agents import impala
from culmen.components.replay import fold
from culmen.core import ActorCore
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window
from culmen.core.types import TimeStep
from tests.shapes import worlds
from tests.shapes.shape import Shape


@dataclass(frozen=True)
class Tasks:
    """A value for each action and task; lane i has the task i modulo their number."""

    num_tasks: int = 2
    learning_rate: float = 1.0
    epsilon: float = 0.3

    def build(self, spec: EnvironmentSpec) -> Parts:
        def acts(epsilon):
            def init(key, lanes):
                return jnp.asarray(lanes.index) % self.num_tasks

            def select_action(values, timestep, task, context):
                of_lanes, of_actions = jax.random.split(context.key)
                shape = (len(task),)
                drawn = jax.random.randint(of_actions, shape, 0, spec.action.num_values, jnp.int32)
                best = jnp.argmax(values[task], axis=1).astype(jnp.int32)
                explores = jax.random.uniform(of_lanes, shape) < epsilon
                return jnp.where(explores, drawn, best), task, ()

            return ActorCore(init, select_action)

        def update(values, sample, context):
            _, action, reward, _, _ = fold(sample.steps, 0.0)
            task = sample.lane % self.num_tasks

            def loss(values):
                return jnp.mean((reward - values[task, action]) ** 2)

            error, gradient = jax.value_and_grad(loss)(values)
            return values - self.learning_rate * gradient, {'loss': error}, None

        shape = self.num_tasks, spec.action.num_values
        return Parts(
            actor=acts(self.epsilon),
            evaluator=acts(0.0),
            learner=LearnerCore(lambda key: jnp.zeros(shape), update, lambda values: values),
            experience=Replay(
                Window(), capacity=100, min_size=20, batch_size=8, samples_per_insert=4.0
            ),
        )


LABELS = ['tests.shapes.worlds:pays_zero', 'tests.shapes.worlds:pays_one']


def check(result, launcher):
    """Both tasks are learned and reported; each has its episodes in the logs."""
    evaluations = result.logs['evaluator']
    assert list(evaluations['environment']) == LABELS * (len(evaluations) // 2)
    assert (evaluations['episodes'] == 2).all()
    assert (evaluations['right'] == evaluations['episode_return']).all()
    summary = result.summary['evaluation']
    assert summary['episodes'] == 4
    assert list(summary['environments']) == LABELS
    for each in summary['environments'].values():
        assert (each['return_mean'], each['metrics']) == (1.0, {'right': 1.0})
    logs = [result.logs[label] for label in result.logs if label.startswith('actor')]
    assert {name for log in logs for name in log['environment']} == set(LABELS)
    for log in logs:
        assert (log['right'] == log['episode_return']).all()


def check_told(result, launcher):
    """The same, of an agent that is told of the task; the policy of a lane knows it, too."""
    check(result, launcher)
    observed = np.ones(1, np.float32)
    for lane in range(4):
        assert result.policy(lane=lane)(dm_env.restart(observed)) == lane % 2
    both = TimeStep(np.zeros(2, np.int32), np.zeros(2), np.ones(2), np.ones((2, 1), np.float32))
    assert result.policy(lane=1).batched(2)(both).tolist() == [1, 0]


TOLD = impala.IMPALA(
    hidden_sizes=(8,), unroll_length=4, learning_rate=0.03, task_input=True, pop_art_rate=0.1
)


ROWS = [
    Shape(
        'two-tasks', Tasks(), (worlds.pays_zero, worlds.pays_one), learns=1.0, num_environments=3,
        steps=150, check=check, refused={'offline': 'experience must be of Datasets alone offline'},
    ),
    Shape(
        'told-tasks', TOLD, (worlds.pays_zero, worlds.pays_one), learns=1.0, num_environments=4,
        steps=600, check=check_told,
        refused={'offline': 'experience must be of Datasets alone offline'},
    ),
]  # fmt: skip
