"""Actions of several parts are learned, part by part, with each of three seeds.

The worlds show one of three signs, four times an episode. The best return is 4; a policy that does not look
at the sign in one part has 3.56 at most, in the world of the switches or of the bools.
"""

import pytest

import culmen
from culmen.agents import dqn
from culmen.agents import impala
from culmen.agents import ppo
from culmen.launchers import compiled
from tests.shapes import worlds_of_parts
from tests.shapes.rows.actions import BRANCHES
from tests.shapes.rows.actions import HYBRID

pytestmark = pytest.mark.learning

UNROLLS = {'hidden_sizes': (16,), 'discount': 0.0, 'lambda_': 0.0, 'unroll_length': 8}
BAR = 3.6
CASES = {
    'ppo, a choice beside a box': (HYBRID, worlds_of_parts.hybrid, 400),
    'impala, an array of choices': (
        impala.IMPALA(**UNROLLS, batch_size=2, learning_rate=3e-2), worlds_of_parts.levels, 600,
    ),
    'ppo, bools': (
        ppo.PPO(**UNROLLS, batch_size=4, learning_rate=1e-2, num_minibatches=1), worlds_of_parts.flags, 400,
    ),
    'dqn, a choice beside switches': (BRANCHES, worlds_of_parts.several, 300),
    'dqn without a dueling head, an array of choices': (
        dqn.DQN(**{**vars(BRANCHES), 'dueling': False, 'double': False}), worlds_of_parts.levels, 300,
    ),
}  # fmt: skip


@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('name', CASES)
def test_every_part_is_learned(name, seed):
    agent, environment, steps = CASES[name]
    experiment = culmen.Experiment(
        agent=agent,
        environment=environment,
        seed=seed,
        num_environments=2,
        max_actor_steps=steps,
        evaluation=culmen.Evaluation(every=None, episodes=50),
    )
    result = compiled.run(experiment, progress=False)
    assert result.summary['evaluation']['return_mean'] >= BAR
