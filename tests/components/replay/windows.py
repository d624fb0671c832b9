"""Every kind of window, for the tests of tables."""

from culmen.core import Window

WINDOWS = {
    'transition': Window(),
    'n-step': Window(length=3),
    'sequence with overlap': Window(length=4, period=2),
    'sequence side by side': Window(length=4, period=4),
    'sequence with gaps': Window(length=2, period=5),
    'whole episode': Window(length=30, period=30),
    'longer than any episode': Window(length=40),
    'crossing': Window(length=4, period=4, cross_episodes=True),
    'crossing with overlap': Window(length=5, period=2, cross_episodes=True),
    'crossing transition': Window(length=1, cross_episodes=True),
    'ends of the observation': Window(length=3, ends=('observation',)),
    'ends of a leaf': Window(length=3, ends=('observation/image', 'reward/own')),
    'ends of everything': Window(
        length=4, period=3, ends=('observation', 'reward', 'discount', 'action', 'extras')
    ),
    'first': Window(length=4, period=2, first=('extras/state', 'action')),
    'ends and first': Window(length=1, ends=('observation', 'extras'), first=('action', 'reward')),
    'crossing with ends and first': Window(
        length=3,
        period=3,
        cross_episodes=True,
        ends=('observation/image',),
        first=('extras/state',),
    ),
    'fields': Window(length=3, fields=('observation/where', 'action/1', 'reward/own')),
    'fields with ends and first': Window(
        length=4,
        period=2,
        fields=('observation', 'discount', 'extras/state'),
        ends=('observation/image',),
        first=('extras',),
    ),
}
