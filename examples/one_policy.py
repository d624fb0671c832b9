"""One trained policy in the loops of one environment, of many, and of a program under Launchpad.

    python examples/one_policy.py

PPO is trained on Catch; then an agent that learns no more acts with what it learned, unchanged, in each
loop. The last needs Launchpad (Python 3.10 on Linux x86-64) and is left out where that is missing.
"""

import importlib.util
import tempfile
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

import culmen
from culmen.agents import ppo
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Queue
from culmen.core import Window


@dataclass(frozen=True)
class Frozen:
    """Acts with the policy of a run and learns nothing."""

    workdir: str  # of the run

    def build(self, spec: EnvironmentSpec) -> Parts:
        loaded = culmen.load(self.workdir)
        parts = loaded.experiment.agent.build(spec)

        def update(params, sample, context):
            return params, {'loss': jnp.float32(0)}, None

        learner = LearnerCore(lambda key: loaded.params, update, lambda params: params)
        unrolls = Queue(Window(length=16, period=16, cross_episodes=True))
        return Parts(parts.evaluator, parts.evaluator, learner, unrolls)


def returns(result: culmen.Result) -> np.ndarray:
    """Of the episodes that the actors of a run played."""
    labels = [label for label in result.logs if label.startswith('actor')]
    return np.concatenate([result.logs[label]['episode_return'] for label in labels])


def main(steps: int = 20_000) -> dict[str, np.ndarray]:
    """Trains, plays 2,000 steps in each loop, and returns the returns by loop."""
    played = {}
    with tempfile.TemporaryDirectory() as folder:
        trained = f'{folder}/ppo'
        culmen.run(culmen.Experiment(ppo.PPO(), 'bsuite/catch/0', max_actor_steps=steps), trained)
        one = culmen.Experiment(Frozen(trained), 'bsuite/catch/0', max_actor_steps=2_000)
        eight = culmen.Experiment(
            Frozen(trained), 'bsuite/catch/0', max_actor_steps=2_000, num_environments=8
        )
        played['one environment'] = returns(culmen.run(one))
        played['eight environments, one call'] = returns(culmen.run(eight))
        if importlib.util.find_spec('launchpad') is not None:
            launchpad = culmen.launchers.launchpad
            program = launchpad.make_program(one, num_actors=2)
            played['a program of two actors'] = returns(launchpad.launch(program, 'threads'))
    return played


if __name__ == '__main__':
    for loop, found in main().items():
        print(f'{loop}: {len(found)} episodes, mean return {found.mean():.3f}')
