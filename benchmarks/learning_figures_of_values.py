"""The figures of agents of action values, for `learning_curves.py`."""

from learning_figures import Figure

# (name, title, agent, options)
AGENTS = (
    ('c51', 'C51', 'c51', ()),
    ('qr_dqn', 'QR-DQN', 'qr_dqn', ()),
    ('iqn', 'IQN', 'iqn', ()),
    ('m_dqn', 'Munchausen-DQN', 'dqn', ('--preset', 'munchausen')),
    ('m_iqn', 'Munchausen-IQN', 'iqn', ('--preset', 'munchausen')),
    ('noisy', 'DQN with noisy networks', 'dqn', ('--preset', 'noisy')),
    ('rainbow', 'Rainbow', 'rainbow', ()),
    ('ape_x', 'Ape-X with four lanes', 'ape_x', ('--num-environments', '4')),
)
SUPPORTED = ('c51', 'rainbow')  # a preset holds the support of a task
SEEDS = (1, 2, 3, 4, 5)
# Agents of minatar/breakout beside DQN's figure, with its preset: (name, seeds, further options).
ON_BREAKOUT = (
    ('rainbow', (1, 2, 3), ()),
    ('qr_dqn', (1, 2, 3), ()),
    ('c51', (1, 2, 3), ()),
    ('iqn', (1,), ()),
    ('m_iqn', (1,), ('--agent.munchausen', '0.9')),
)


def of_task(preset: str, environment: str, steps: int, every: int, bar: float) -> dict[str, Figure]:
    """A figure of each agent on one task. Args: preset: of agents with a support."""
    task = environment.split('/')[1].split('-')[0].lower()
    return {
        f'{name}-{task}': Figure(
            f'{title} on {environment}: the mean of the last five evaluations at {steps:,} steps',
            agent, environment, steps, SEEDS, every, last=5, bar=bar, bar_of='the mean over seeds',
            options=options + (('--preset', preset) if name in SUPPORTED else ()),
            checkpoint_every=20_000,
        )
        for name, title, agent, options in AGENTS
    }  # fmt: skip


def on_breakout() -> dict[str, Figure]:
    """A figure of each agent on minatar/breakout, beside that of DQN with the same frames and updates."""
    known = {name: (title, agent) for name, title, agent, _ in AGENTS}
    return {
        f'{name}-breakout': Figure(
            f'{known[name][0]} on minatar/breakout: the curve of 500,000 frames, an update every 4',
            known[name][1], 'minatar/breakout', 500_000, seeds, 25_000, beside='minatar-breakout',
            options=('--preset', 'minatar', '--agent.samples_per_insert', '8', *options),
            checkpoint_every=50_000,
        )
        for name, seeds, options in ON_BREAKOUT
    }  # fmt: skip


PQN_FRAMES = 10_000_000
FIGURES = {
    **of_task('unit', 'bsuite/catch/0', 60_000, 3_000, 0.8),
    **of_task('cartpole', 'gymnasium/CartPole-v1', 100_000, 5_000, 450.0),
    'pqn-catch': Figure(
        'PQN on bsuite/catch/0: the mean of the last five evaluations at 60,000 steps',
        'pqn', 'bsuite/catch/0', 60_000, SEEDS, 3_000, last=5, bar=0.8,
        bar_of='the mean over seeds', options=('--num-environments', '8'), checkpoint_every=20_000,
    ),
    'pqn-cartpole': Figure(
        'PQN on gymnasium/CartPole-v1: the mean of the last five evaluations at 500,000 steps',
        'pqn', 'gymnasium/CartPole-v1', 500_000, SEEDS, 25_000, last=5, bar=490.0,
        bar_of='the mean over seeds', checkpoint_every=50_000,
        options=('--num-environments', '32', '--preset', 'cartpole'),
        published="CleanRL's PQN has 495.1 +- 6.9 after 500,000 steps.",
    ),
    'qr_dqn-acrobot': Figure(
        'QR-DQN on gymnasium/Acrobot-v1: the mean of the last five evaluations at 50,000 steps',
        'qr_dqn', 'gymnasium/Acrobot-v1', 50_000, SEEDS, 2_500, last=5, bar=-100.0,
        bar_of='the mean over seeds', checkpoint_every=10_000,
    ),
    'sac-choices-cartpole': Figure(
        'SAC on gymnasium/CartPole-v1: the mean of the last five evaluations at 100,000 steps',
        'sac', 'gymnasium/CartPole-v1', 100_000, SEEDS, 5_000, last=5, bar=400.0,
        bar_of='the mean over seeds', checkpoint_every=20_000,
    ),
    **on_breakout(),
    'pqn-breakout': Figure(
        f'PQN, compiled, on gymnax/Breakout-MinAtar: the curve of {PQN_FRAMES:,} frames',
        'pqn', 'gymnax/Breakout-MinAtar', PQN_FRAMES, (1, 2, 3), PQN_FRAMES // 20,
        options=('--launcher', 'compiled', '--num-environments', '128', '--preset', 'minatar'),
        checkpoint_every=PQN_FRAMES // 10,
        published="Beside the same runs of rejax's PQN: [pqn_breakout.md](pqn_breakout.md).",
    ),
}  # fmt: skip
