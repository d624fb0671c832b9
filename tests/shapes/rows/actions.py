"""Actions of several parts: a choice beside a number, learned by PPO, and beside switches, by DQN's branches.

One value of the choice is forbidden at each step and would cost 10.
"""

from culmen.agents import dqn
from culmen.agents import ppo
from culmen.agents import wrappers
from tests.shapes import worlds_of_parts
from tests.shapes.shape import Shape

HYBRID = ppo.PPO(
    hidden_sizes=(16,), discount=0.0, lambda_=0.0, learning_rate=1e-2, initial_log_scale=-1.0,
    unroll_length=8, batch_size=4, num_epochs=10, num_minibatches=1,
)  # fmt: skip

BRANCHES = dqn.DQN(
    hidden_sizes=(16,), dueling=True, n_step=1, discount=0.0, learning_rate=2e-2, batch_size=16,
    min_replay_size=30, replay_capacity=1_000, samples_per_insert=16.0, epsilon=0.2,
    epsilon_decay_steps=100,
)  # fmt: skip


def check(result, launcher):
    """Nobody ever took the forbidden value."""
    returns = [
        frame['episode_return'].min()
        for label, frame in result.logs.items()
        if label.startswith(('actor', 'evaluator'))
    ]
    assert len(returns) >= 2
    assert min(returns) >= 0


OFFLINE = {'offline': 'experience must be of Datasets alone offline'}
ROWS = [
    Shape('hybrid', HYBRID, worlds_of_parts.hybrid, learns=3.6, check=check, refused=OFFLINE),
    Shape(
        'branches', wrappers.WarmedUp(BRANCHES, steps=50), worlds_of_parts.several, learns=3.8, steps=300,
        check=check, refused=OFFLINE,
    ),
]  # fmt: skip
