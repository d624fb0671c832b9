"""The figures of REINFORCE and V-MPO, for `learning_curves.py`: compiled, where JAX has the environment."""

from learning_figures import Figure

SEEDS = (1, 2, 3, 4, 5)
COMPILED = ('--launcher', 'compiled')


def figure(
    title: str, agent: str, environment: str, steps: int, bar: float, *options: str,
    published: str = '',
) -> Figure:  # fmt: skip
    """A figure of the mean over seeds of the last five of twenty evaluations."""
    return Figure(
        f'{title} on {environment}: the mean of the last five evaluations at {steps:,} steps',
        agent, environment, steps, SEEDS, steps // 20, last=5, bar=bar, bar_of='the mean over seeds',
        options=options, checkpoint_every=steps // 4, published=published,
    )  # fmt: skip


FIGURES = {
    'reinforce-catch': figure('REINFORCE', 'reinforce', 'bsuite/catch/0', 60_000, 0.8),
    'reinforce-cartpole': figure(
        'REINFORCE', 'reinforce', 'gymnax/CartPole-v1', 200_000, 400.0, *COMPILED,
        '--num-environments', '4',
        published=(
            "SLM-Lab's REINFORCE has 483: a moving average of training, four environments, four runs."
        ),
    ),
    'vmpo-catch': figure(
        'V-MPO', 'vmpo', 'bsuite/catch/0', 60_000, 0.8, '--num-environments', '8'
    ),
    'vmpo-cartpole': figure(
        'V-MPO', 'vmpo', 'gymnax/CartPole-v1', 500_000, 475.0, *COMPILED,
        '--num-environments', '8', '--agent.learning_rate_decay_steps', '500000',
    ),
    'vmpo-pendulum': figure(
        'V-MPO', 'vmpo', 'gymnax/Pendulum-v1', 500_000, -200.0, *COMPILED,
        '--num-environments', '8', '--preset', 'control', '--agent.learning_rate_decay_steps', '500000',
    ),
}  # fmt: skip
