"""Environments by name, as dm_env: fully seeded, and saved exactly in the middle of an episode.

    environment = make('atari/pong', seed=1, sticky_actions=0.25)
    timestep = environment.reset()

`make` builds the environment of a name, with the wrappers that its arguments ask for. A step after
LAST gives FIRST; a termination has discount 0 and a truncation keeps it. `check` and
`parse_arguments` read a name and its arguments without building anything. `families` and `names`
list what there is. `is_restorable` says whether an environment can be saved with its methods
`get_state()` and `set_state(state)`, `render` draws it, and `check_environment` lists its errors.

No environment package is imported before an environment of its family is asked for.
"""

from culmen.components.environments.arguments import MissingPackage
from culmen.components.environments.catalogue import Family
from culmen.components.environments.checking import Report
from culmen.components.environments.checking import check_environment
from culmen.components.environments.registry import argument_types
from culmen.components.environments.registry import check
from culmen.components.environments.registry import evaluation_arguments
from culmen.components.environments.registry import families
from culmen.components.environments.registry import make
from culmen.components.environments.registry import names
from culmen.components.environments.registry import parse_arguments
from culmen.components.environments.rendering import render
from culmen.components.environments.saving import is_restorable
from culmen.components.environments.video import VideoRecorder
from culmen.components.environments.wrappers import Wrapper
from culmen.components.environments.wrappers import wrap
from culmen.core.checks import Range

__all__ = [
    'Family',
    'MissingPackage',
    'Range',
    'Report',
    'VideoRecorder',
    'Wrapper',
    'argument_types',
    'check',
    'check_environment',
    'evaluation_arguments',
    'families',
    'is_restorable',
    'make',
    'names',
    'parse_arguments',
    'render',
    'wrap',
]
