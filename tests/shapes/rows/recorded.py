"""Agents that learn from recordings: imitation around PPO, priorities offline, and offline then online."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import culmen
from culmen.agents import ppo
from culmen.components import losses
from culmen.components import policies
from culmen.components.replay import fold
from culmen.components.replay import importance_weights
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import Dataset
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Stream
from culmen.core import TimeStep
from culmen.core import Window
from culmen.launchers import offline
from tests.shapes import worlds
from tests.shapes.shape import Shape

OWN, SHOWN = 'own', 'shown'


def _stream(right: float, seed: int) -> Stream:
    """40 episodes of signs, without extras. Args: right: how often the action is that of the sign."""
    rng, rows = np.random.default_rng(seed), 40 * (worlds.LENGTH + 1)
    step_type = np.tile([FIRST, *[MID] * (worlds.LENGTH - 1), LAST], 40).astype(np.int32)
    sign = rng.integers(0, worlds.NUM_SIGNS, rows)
    other = rng.integers(0, worlds.NUM_SIGNS, rows)
    action = np.where(rng.random(rows) < right, sign, other).astype(np.int32)
    earned = np.concatenate([[0], (action == sign)[:-1]]).astype(np.float32)
    reward = np.where(step_type == FIRST, 0, earned).astype(np.float32)
    discount = np.where(step_type == LAST, 0, 1).astype(np.float32)
    observation = np.eye(worlds.NUM_SIGNS, dtype=np.float32)[sign]
    timestep = TimeStep(step_type, reward, discount, observation)
    return Stream(timestep, action, (), np.zeros(rows, np.int32))


def experts() -> Iterator[Stream]:
    """Always right, and paid for nothing."""
    stream = _stream(1.0, seed=0)
    unpaid = stream.timestep._replace(reward=np.zeros_like(stream.timestep.reward))
    yield stream._replace(timestep=unpaid)


def beginners() -> Iterator[Stream]:
    """Right by chance."""
    yield _stream(0.0, seed=1)


def without_log_probabilities(stream: Stream) -> Stream:
    """Fills in what PPO's actors note and nobody has recorded."""
    return stream._replace(extras={'log_prob': np.zeros(len(stream.version), np.float32)})


@dataclass(frozen=True)
class Imitation:
    """Adversarial imitation around PPO: it is paid for what a classifier takes for an expert's.

    Its demonstrations lack the log-probabilities of its own stream; a map fills them in.
    """

    base: ppo.PPO

    def build(self, spec: EnvironmentSpec) -> Parts:
        base = self.base.build(spec)

        def logits(weights, observation, action):  # -> [B, T]
            scores = observation[:, : action.shape[1]] @ weights
            return jnp.take_along_axis(scores, action[..., None], axis=-1)[..., 0]

        def loss(weights, own, shown):
            taken = [logits(weights, each.observation, each.action) for each in (own, shown)]
            return jnp.mean(jax.nn.softplus(taken[0])) + jnp.mean(jax.nn.softplus(-taken[1]))

        def update(state, samples, context):
            own, shown = samples[OWN], samples[SHOWN].steps
            value, gradient = jax.value_and_grad(loss)(state['classifier'], own.steps, shown)
            classifier = state['classifier'] - gradient
            paid = logits(classifier, own.steps.observation, own.steps.action)
            reward = jnp.concatenate([jnp.zeros_like(paid[:, :1]), paid], axis=1)
            relabelled = own._replace(steps=own.steps._replace(reward=reward))
            inner, metrics, _ = base.learner.update(state['base'], relabelled, context)
            metrics = {**metrics, 'classifier_loss': value}
            return {'base': inner, 'classifier': classifier}, metrics, None

        def init(key):
            shape = spec.observation.shape[0], spec.action.num_values
            return {'base': base.learner.init(key), 'classifier': jnp.zeros(shape)}

        shown = Dataset(Window(), experts, 32, map=without_log_probabilities)
        return base._replace(
            learner=LearnerCore(init, update, lambda state: base.learner.variables(state['base'])),
            experience={OWN: base.experience, SHOWN: shown},
        )


@dataclass(frozen=True)
class Values:
    """A table of action values, learned from its own steps, from a recording, or from both."""

    source: Callable[[], Any] | None = None
    priority_exponent: float = 0.0  # of the recording
    own: bool = True
    min_size: int = 200  # of its own steps

    def build(self, spec: EnvironmentSpec) -> Parts:
        def action_values(weights, observation):
            return observation @ weights

        def loss(weights, sample):
            o_tm1, a_tm1, r_t, discount_t, o_t = fold(sample.steps, 0.0)
            q_tm1, q_t = action_values(weights, o_tm1), action_values(weights, o_t)
            errors = jax.vmap(losses.q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t)
            importance = importance_weights(sample.probability, sample.size, 1.0)
            return jnp.mean(importance * losses.l2_loss(errors)), jnp.abs(errors) + 1e-8

        def update(weights, samples, context):
            values, priorities, most = [], {}, 0.0
            for name, sample in samples.items():
                (value, errors), gradient = jax.value_and_grad(loss, has_aux=True)(weights, sample)
                weights = weights - 0.02 * gradient  # errors stay above 0
                values.append(value)
                priorities[name] = None
                if name == SHOWN:
                    most = jnp.max(sample.probability)
                    priorities[name] = errors if self.priority_exponent else None
            return weights, {'loss': sum(values), 'most': jnp.asarray(most)}, priorities

        shape = spec.observation.shape[0], spec.action.num_values
        experience = {}
        if self.own:
            experience[OWN] = Replay(Window(), 200, self.min_size, 8, samples_per_insert=8.0)
        if self.source is not None:
            exponent = self.priority_exponent
            experience[SHOWN] = Dataset(Window(), self.source, 16, priority_exponent=exponent)
        return Parts(
            actor=policies.epsilon_greedy(action_values, 0.3),
            evaluator=policies.greedy(action_values),
            learner=LearnerCore(lambda key: jnp.zeros(shape), update, lambda weights: weights),
            experience=experience,
        )


@dataclass(frozen=True)
class Pretrained:
    """A table of action values, learned from a recording before the first action, then from its own steps."""

    updates_before: int = 200

    def build(self, spec: EnvironmentSpec) -> Parts:
        alone, recorded = Values().build(spec), Values(beginners, 1.0, own=False).build(spec)

        def rule(parts, name):
            def update(weights, sample, context):
                # The rule's own count: the other rule may have made updates, too.
                weights, metrics, priorities = parts.learner.update(
                    weights, {name: sample}, context
                )
                seen = {'actor_steps': context.actor_steps, 'own_count': context.rule_steps}
                return weights, {**metrics, **seen}, priorities[name]

            return update

        shown = dataclasses.replace(recorded.experience[SHOWN], updates_before=self.updates_before)
        return alone._replace(
            learner=alone.learner._replace(
                update={SHOWN: rule(recorded, SHOWN), OWN: rule(alone, OWN)}
            ),
            experience={SHOWN: shown, OWN: alone.experience[OWN]},
        )


def learned_offline(folder: Path) -> Mapping[str, Any]:
    """What a run has learned from the recording begins the next one."""
    experiment = culmen.Experiment(
        Values(beginners, own=False), worlds.signs, max_learner_steps=200,
        evaluation=culmen.Evaluation(episodes=1),
    )  # fmt: skip
    offline.run(experiment, folder / 'offline', progress=False)
    return {'initial': str(folder / 'offline')}


def by_priority(result, launcher):
    """Draws are far from uniform: there are 160 windows."""
    assert result.logs['learner']['most'].iloc[-1] > 2 / 160


def first_the_recording(result, launcher):
    """All of its updates come before the first action, and none later."""
    row = result.logs['learner'].iloc[-1]
    assert (row['shown/actor_steps'], row['shown/own_count']) == (0, 199)
    assert result.summary['learner_steps'] - 200 == row['own/own_count'] + 1 <= 20
    assert row['own/actor_steps'] > 0


def few_updates(result, launcher):
    """Its own updates would not be enough."""
    assert result.summary['learner_steps'] <= 20


ALONE = 'experience is of Datasets alone, which no actor writes to: the offline launcher'
ROWS = [
    Shape(
        'imitation',
        Imitation(
            ppo.PPO(
                hidden_sizes=(16,), unroll_length=10, batch_size=None, num_minibatches=2,
                num_epochs=4, learning_rate=2e-2, discount=0.0,
            )
        ),
        worlds.signs, learns=3.5, refused={'offline': 'must be of Datasets alone offline'},
    ),
    Shape(
        'recorded-priorities', Values(beginners, 1.0, own=False), worlds.signs, learns=3.5,
        steps=1_500, check=by_priority, launchers=('offline',),
        refused=dict.fromkeys(('local', 'compiled', 'threads'), ALONE),
    ),
    Shape(
        'own-and-recorded-priorities', Values(beginners, 1.0, min_size=40), worlds.signs, learns=3.5,
        check=by_priority, refused={'offline': 'must be of Datasets alone offline'},
    ),
    Shape(
        'pretrained', Pretrained(), worlds.signs, learns=3.5, steps=220, check=first_the_recording,
        refused={'offline': 'must be of Datasets alone offline'},
    ),
    Shape(
        'offline-then-online', Values(), worlds.signs, learns=3.5, steps=220, check=few_updates,
        prepare=learned_offline, refused={'offline': 'must be of Datasets alone offline'},
    ),
]  # fmt: skip
