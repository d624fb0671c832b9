"""The figures of agents that improve a policy on several of its actions, for `learning_curves.py`."""

from learning_figures import Figure

SWINGUP = 'dm_control/cartpole/swingup'
PUBLISHED = (
    "DreamerV3's files have {} after 100,000 steps: the training return, 10 seeds, other settings."
)


def swingup(name: str, title: str, bar: float | None, published: str = '') -> Figure:
    """A figure on cartpole/swingup: three seeds, ten episodes an evaluation."""
    return Figure(
        f'{title} on {SWINGUP}: the return of 10 episodes after 100,000 steps',
        name, SWINGUP, 100_000, (1, 2, 3), 10_000, 10, bar=bar, bar_of='the mean over seeds',
        checkpoint_every=25_000, published=published,
    )  # fmt: skip


FIGURES = {
    'mpo-cartpole-swingup': swingup('mpo', 'MPO', 700.0, PUBLISHED.format('792 +- 60')),
    'dmpo-cartpole-swingup': swingup('dmpo', 'DMPO', 450.0, PUBLISHED.format('633 +- 162')),
    'wpo-cartpole-swingup': swingup('wpo', 'WPO', None),
    'mpo-pendulum': Figure(
        'MPO on gymnasium/Pendulum-v1: the mean of the last five evaluations at 100,000 steps',
        'mpo', 'gymnasium/Pendulum-v1', 100_000, (1, 2, 3), 5_000, last=5, bar=-200.0,
        bar_of='the mean over seeds', checkpoint_every=25_000,
    ),
}  # fmt: skip
