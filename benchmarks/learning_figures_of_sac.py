"""The figures of SAC's variants and of CrossQ, for `learning_curves.py`."""

from learning_figures import Figure

SEEDS = (1, 2, 3)


def of_many_updates(title: str, *options: str) -> Figure:
    """On Pendulum with twenty updates of the critics a step."""
    return Figure(
        f'{title} on gymnasium/Pendulum-v1: the mean of the last three evaluations at 5,000 steps',
        'sac', 'gymnasium/Pendulum-v1', 5_000, SEEDS, 500, 10, last=3, bar=-200.0,
        bar_of='the mean over seeds', checkpoint_every=2_500, options=options,
    )  # fmt: skip


# Of their presets what is not for a small task: 128 units, random steps and rates as SAC's own here.
SMALL = (
    '--agent.hidden_sizes', '128,128', '--agent.random_steps', '500', '--agent.min_replay_size', '500',
    '--agent.learning_rate', '1e-3', '--agent.batch_size', '128', '--agent.samples_per_insert', '2560',
)  # fmt: skip
WALKER = (
    '--environment.action_repeat', '2', '--environment.flatten_observation', 'true',
    '--agent.random_steps', '2500', '--agent.min_replay_size', '2500',
)  # fmt: skip

FIGURES = {
    'tqc-pendulum': Figure(
        'TQC on gymnasium/Pendulum-v1: the mean of the last five evaluations at 20,000 steps',
        'sac', 'gymnasium/Pendulum-v1', 20_000, SEEDS, 1_000, 20, last=5, bar=-170.0,
        bar_of='the mean over seeds',
        options=('--preset', 'tqc', '--agent.hidden_sizes', '64,64', '--agent.critic_hidden_sizes', '64,64',
                 '--agent.random_steps', '1000', '--agent.min_replay_size', '1000',
                 '--agent.learning_rate', '1e-3'),
        published="RL Zoo's TQC has -151.3 +- 87.9 after 20,000 steps.",
    ),
    'crossq-pendulum': Figure(
        'CrossQ with critics of 256 on gymnasium/Pendulum-v1: the mean of the last five evaluations at '
        '20,000 steps',
        'crossq', 'gymnasium/Pendulum-v1', 20_000, SEEDS, 1_000, 20, last=5, bar=-170.0,
        bar_of='the mean over seeds', options=('--agent.critic_hidden_sizes', '256,256'),
        published='SLM-Lab has -145.7 after 300,000 steps.',
    ),
    'redq-pendulum': of_many_updates('REDQ', '--preset', 'redq', *SMALL),
    'droq-pendulum': of_many_updates('DroQ', '--preset', 'droq', *SMALL),
    'sac-pendulum-5000': of_many_updates(
        'SAC with an update a step', '--agent.random_steps', '500', '--agent.min_replay_size', '500',
    ),
    'sac-walker': Figure(
        'SAC on dm_control/walker/walk with actions of 2 steps: 50,000 steps, 2 updates each',
        'sac', 'dm_control/walker/walk', 50_000, SEEDS, 5_000, 10, bar=650.0,
        bar_of='the mean over seeds',
        options=(*WALKER, '--preset', 'mujoco', '--agent.samples_per_insert', '512'),
        published="SimBa's file has SAC at 783 +- 120 after as many (10 seeds).",
    ),
    'simba-walker': Figure(
        "SimBa's networks on dm_control/walker/walk with actions of 2 steps: 25,000 steps, 2 updates each",
        'sac', 'dm_control/walker/walk', 25_000, (1,), 5_000, 10, bar=750.0,
        options=(*WALKER, '--preset', 'simba'),
        published="SimBa's file has 900 +- 80 after as many (10 seeds).",
    ),
}  # fmt: skip
