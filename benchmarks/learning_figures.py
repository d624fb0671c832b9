"""The figures of `learning_curves.py`: what is trained, for how long, and what it is held to."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A curve over seeds, and what it is held to."""

    title: str
    agent: str
    environment: str
    steps: int
    seeds: tuple[int, ...]
    evaluate_every: int
    evaluation_episodes: int = 20
    options: tuple[str, ...] = ()  # of the command line
    checkpoint_every: int = 10_000
    last: int = 1  # evaluations that the figure is the mean of
    bar: float | None = None  # for every seed, or for
    bar_of: str = 'every seed'  # 'the mean over seeds'
    published: str = ''  # what it lies beside
    beside: str = ''  # the name of a figure with the same steps, by whose curve it is measured


# Four environments, 128 steps of each an update, in minibatches of 64.
PPO_OF_512_STEPS = (
    '--num-environments', '4', '--agent.unroll_length', '128', '--agent.batch_size', '4',
    '--agent.num_minibatches', '8',
)  # fmt: skip
# Four environments, 1,024 steps of each an update, in minibatches of 64.
PPO_ON_PENDULUM = (
    '--num-environments', '4', '--agent.unroll_length', '1024', '--agent.batch_size', '4',
    '--agent.num_minibatches', '64', '--agent.discount', '0.9',
)  # fmt: skip
# Many small updates, and an entropy cost with which the paddle goes on trying to move.
BREAKOUT = (
    '--num-environments', '8', '--agent.unroll_length', '5', '--agent.learning_rate', '3e-3',
    '--agent.learning_rate_decay_steps', '2000000', '--agent.entropy_cost', '0.03',
)  # fmt: skip


def around(agent: str, options: Sequence[str]) -> tuple[str, ...]:
    """Options of an agent as those of a wrapper around it."""
    return ('--agent.base', agent, *(o.replace('--agent.', '--agent.base.') for o in options))


AC_LAMBDA = (
    "MinAtar's own actor-critic with traces (lambda 0.8, an update a frame, 30 seeds, training return over "
    '100 episodes, read off its published plot, +-5%) is near 17.5 after 5,000,000 frames.'
)

FIGURES = {
    'catch': Figure(
        'DQN on bsuite/catch/0: the return of 100 episodes after 20,000 steps',
        'dqn', 'bsuite/catch/0', 20_000, (1, 2, 3, 4, 5), 2_000, 100, bar=1.0,
    ),
    'cartpole': Figure(
        'DQN on gymnasium/CartPole-v1: the mean of the last five evaluations at 100,000 steps',
        'dqn', 'gymnasium/CartPole-v1', 100_000, (1, 2, 3, 4, 5), 5_000, last=5, bar=450.0,
    ),
    'bsuite-cartpole': Figure(
        'DQN on bsuite/cartpole/0: the curve of 60,000 steps',
        'dqn', 'bsuite/cartpole/0', 60_000, (1, 2), 5_000,
    ),
    'minatar-breakout': Figure(
        'DQN on minatar/breakout: the curve of 500,000 frames, an update every 4',
        'dqn', 'minatar/breakout', 500_000, (1, 2, 3), 25_000,
        options=('--preset', 'minatar', '--agent.samples_per_insert', '8'), checkpoint_every=50_000,
        published=(
            "MinAtar's own DQN (an update a frame, 30 seeds, training return over 100 episodes, read "
            'off its published plot, +-5%) is near 9 after 1,000,000 frames and near 10 after '
            '5,000,000. Here it is the '
            'greedy policy that is evaluated, and there is one update for every four frames.'
        ),
    ),
    'r2d2-memory': Figure(
        'R2D2 on bsuite/memory_len/9, a memory of 10 steps: the return of 100 episodes after 200,000 steps',
        'r2d2', 'bsuite/memory_len/9', 200_000, (1, 2, 3), 20_000, 100, bar=0.9,
        bar_of='the mean over seeds', checkpoint_every=50_000,
    ),
    'dqn-memory': Figure(
        'DQN on bsuite/memory_len/9, without memory: the return of 100 episodes after 200,000 steps',
        'dqn', 'bsuite/memory_len/9', 200_000, (1, 2, 3), 20_000, 100, checkpoint_every=50_000,
        published=(
            'What is asked is less than 0.2 for the mean over seeds: nothing but chance is left to a '
            'network without memory. [R2D2 with the same budget](r2d2-memory.md) has it.'
        ),
    ),
    'r2d2-cartpole': Figure(
        'R2D2 on gymnasium/CartPole-v1 with velocities hidden: the last evaluation of 200,000 steps',
        'r2d2', 'gymnasium/CartPole-v1', 200_000, (1, 2, 3), 20_000,
        options=('--environment.hide_observation', '1,3'), bar=400.0,
        bar_of='the mean over seeds', checkpoint_every=50_000,
    ),
    'r2d2-catch': Figure(
        'R2D2 on bsuite/catch/0: the return of 100 episodes after 60,000 steps',
        'r2d2', 'bsuite/catch/0', 60_000, (1, 2, 3), 5_000, 100, bar=0.8,
        bar_of='the mean over seeds', checkpoint_every=20_000,
    ),
    'a2c-catch': Figure(
        'A2C on bsuite/catch/0: the return of 100 episodes after 60,000 steps',
        'a2c', 'bsuite/catch/0', 60_000, (1, 2, 3, 4, 5), 5_000, 100, bar=0.95,
        bar_of='the mean over seeds',
    ),
    'impala-catch': Figure(
        'IMPALA on bsuite/catch/0: the return of 100 episodes after 60,000 steps',
        'impala', 'bsuite/catch/0', 60_000, (1, 2, 3, 4, 5), 5_000, 100, bar=0.95,
        bar_of='the mean over seeds',
    ),
    'a2c-cartpole': Figure(
        'A2C on gymnasium/CartPole-v1: the last evaluation of 500,000 steps',
        'a2c', 'gymnasium/CartPole-v1', 500_000, (1, 2, 3, 4, 5), 25_000,
        bar=475.0, bar_of='the mean over seeds', checkpoint_every=50_000,
        published='Stable-baselines3 zoo: A2C 500.0 +- 0.0 after 500,000 steps, of one run, tuned.',
    ),
    'impala-cartpole': Figure(
        'IMPALA on gymnasium/CartPole-v1: the last evaluation of 500,000 steps',
        'impala', 'gymnasium/CartPole-v1', 500_000, (1, 2, 3, 4, 5), 25_000,
        bar=475.0, bar_of='the mean over seeds', checkpoint_every=50_000,
    ),
    'a2c-breakout': Figure(
        'A2C on minatar/breakout: the return of 50 episodes after 2,000,000 frames',
        'a2c', 'minatar/breakout', 2_000_000, (1, 2, 3), 100_000, 50, options=BREAKOUT,
        bar=7.0, bar_of='the mean over seeds', checkpoint_every=200_000, published=AC_LAMBDA,
    ),
    'impala-breakout': Figure(
        'IMPALA on minatar/breakout: the return of 50 episodes after 2,000,000 frames',
        'impala', 'minatar/breakout', 2_000_000, (1, 2, 3), 100_000, 50, options=BREAKOUT,
        bar=7.0, bar_of='the mean over seeds', checkpoint_every=200_000, published=AC_LAMBDA,
    ),
    'ppo-catch': Figure(
        'PPO on bsuite/catch/0: the return of 100 episodes after 60,000 steps',
        'ppo', 'bsuite/catch/0', 60_000, (1, 2, 3, 4, 5), 5_000, 100, bar=0.8,
        bar_of='the mean over seeds', checkpoint_every=20_000,
    ),
    'ppo-cartpole': Figure(
        'PPO on gymnasium/CartPole-v1: the last evaluation of 100,000 steps',
        'ppo', 'gymnasium/CartPole-v1', 100_000, (1, 2, 3, 4, 5), 25_000,
        bar=475.0, bar_of='the mean over seeds', checkpoint_every=25_000,
        published='Stable-baselines3 zoo: PPO 500.0 +- 0.0 after 100,000 steps, of one run, tuned.',
    ),
    'ppo-acrobot': Figure(
        'PPO on gymnasium/Acrobot-v1: the last evaluation of 300,000 steps',
        'ppo', 'gymnasium/Acrobot-v1', 300_000, (1, 2, 3, 4, 5), 25_000, options=PPO_OF_512_STEPS,
        bar=-100.0, bar_of='the mean over seeds', checkpoint_every=25_000,
    ),
    'ppo-pendulum': Figure(
        'PPO on gymnasium/Pendulum-v1: the last evaluation of 300,000 steps',
        'ppo', 'gymnasium/Pendulum-v1', 300_000, (1, 2, 3, 4, 5), 25_000,
        options=PPO_ON_PENDULUM,
        bar=-200.0, bar_of='the mean over seeds', checkpoint_every=25_000,
    ),
    'reward-scaled-pendulum': Figure(
        'PPO with scaled rewards on gymnasium/Pendulum-v1: the last evaluation of 300,000 steps',
        'reward_scaled', 'gymnasium/Pendulum-v1', 300_000, (1, 2, 3, 4, 5), 25_000,
        options=(*around('ppo', PPO_ON_PENDULUM), '--agent.discount', '0.9'),
        checkpoint_every=25_000,
    ),
    'normalised-acrobot': Figure(
        'PPO with normalised observations on gymnasium/Acrobot-v1: the last evaluation of 300,000 steps',
        'normalised', 'gymnasium/Acrobot-v1', 300_000, (1, 2, 3, 4, 5), 25_000,
        options=around('ppo', PPO_OF_512_STEPS), checkpoint_every=25_000,
    ),
    'ppo-balance': Figure(
        'PPO on dm_control/cartpole/balance: the last evaluation of 500,000 steps',
        'ppo', 'dm_control/cartpole/balance', 500_000, (1, 2, 3, 4, 5), 50_000, 10,
        options=(*PPO_OF_512_STEPS, '--agent.learning_rate_decay_steps', '500000'),
        bar=800.0, bar_of='the mean over seeds', checkpoint_every=25_000,
    ),
    'sac-pendulum': Figure(
        'SAC on gymnasium/Pendulum-v1: the return of 20 episodes after 20,000 steps',
        'sac', 'gymnasium/Pendulum-v1', 20_000, (1, 2, 3, 4, 5), 2_000, bar=-200.0,
        bar_of='the mean over seeds',
    ),
    'td3-pendulum': Figure(
        'TD3 on gymnasium/Pendulum-v1: the return of 20 episodes after 20,000 steps',
        'td3', 'gymnasium/Pendulum-v1', 20_000, (1, 2, 3, 4, 5), 2_000, bar=-200.0,
        bar_of='the mean over seeds',
    ),
    'sac-cartpole-swingup': Figure(
        'SAC on dm_control/cartpole/swingup: the return of 10 episodes after 100,000 steps',
        'sac', 'dm_control/cartpole/swingup', 100_000, (1, 2, 3), 10_000, 10, bar=750.0,
        bar_of='the mean over seeds',
    ),
    'td3-cartpole-swingup': Figure(
        'TD3 on dm_control/cartpole/swingup: the return of 10 episodes after 100,000 steps',
        'td3', 'dm_control/cartpole/swingup', 100_000, (1, 2, 3), 10_000, 10,
        options=(
            '--agent.layer_norm', 'true', '--agent.n_step', '5', '--agent.exploration_noise', '0.3',
            '--agent.policy_learning_rate', '5e-4', '--agent.critic_learning_rate', '5e-4',
        ),
        bar=750.0, bar_of='the mean over seeds',
    ),
    'sac-halfcheetah': Figure(
        'SAC on gymnasium/HalfCheetah-v5: the mean of the last three evaluations of 100,000 steps',
        'sac', 'gymnasium/HalfCheetah-v5', 100_000, (1, 2, 3), 10_000, 5,
        options=(
            '--preset', 'mujoco', '--agent.random_steps', '1000', '--agent.min_replay_size', '1000',
        ),
        last=3, checkpoint_every=25_000,
        published='Beside the same runs of stable-baselines3: [halfcheetah.md](halfcheetah.md).',
    ),
    'ddpg-cartpole-swingup': Figure(
        'DDPG on dm_control/cartpole/swingup: the return of 10 episodes after 150,000 steps',
        'ddpg', 'dm_control/cartpole/swingup', 150_000, (1, 2, 3), 10_000, 10, bar=700.0,
        bar_of='the mean over seeds',
    ),
    'd4pg-cartpole-swingup': Figure(
        'D4PG on dm_control/cartpole/swingup: the return of 10 episodes after 200,000 steps',
        'd4pg', 'dm_control/cartpole/swingup', 200_000, (1, 2, 3), 10_000, 10, bar=700.0,
        bar_of='the mean over seeds',
    ),
}  # fmt: skip
