"""Culmen: a layered research framework for reinforcement learning in JAX.

An agent is written once, as pure functions, and runs in a notebook in one process, compiled with a
JAX environment, or as a program of many processes. The public face is this module:

    import culmen
    from culmen.agents import dqn

    experiment = culmen.Experiment(agent=dqn.DQN(), environment='bsuite/catch/0', max_actor_steps=20_000)
    result = culmen.run(experiment)

Everything is resolved on first use, so that `import culmen` stays as cheap as importing JAX.
"""

import importlib
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from culmen.components.environments import check_environment
    from culmen.components.replay import recorded_streams
    from culmen.core import Checkpoint
    from culmen.core import Evaluation
    from culmen.core import Experiment
    from culmen.core import environment
    from culmen.environment_loops import Observer
    from culmen.launchers.comparing import Comparison
    from culmen.launchers.comparing import compare
    from culmen.launchers.iterating import iterate
    from culmen.launchers.loading import load
    from culmen.launchers.local import run
    from culmen.launchers.results import Result
    from culmen.launchers.stopping import StopWhen
    from culmen.launchers.sweeping.frames import sweep_frame

__version__ = '0.1.0'

_LAZY = {
    'Checkpoint': ('culmen.core', 'Checkpoint'),
    'Evaluation': ('culmen.core', 'Evaluation'),
    'Experiment': ('culmen.core', 'Experiment'),
    'environment': ('culmen.core', 'environment'),
    'check_environment': ('culmen.components.environments', 'check_environment'),
    'recorded_streams': ('culmen.components.replay', 'recorded_streams'),
    'compare': ('culmen.launchers.comparing', 'compare'),
    'Comparison': ('culmen.launchers.comparing', 'Comparison'),
    'iterate': ('culmen.launchers.iterating', 'iterate'),
    'load': ('culmen.launchers.loading', 'load'),
    'run': ('culmen.launchers.local', 'run'),
    'Observer': ('culmen.environment_loops', 'Observer'),
    'StopWhen': ('culmen.launchers.stopping', 'StopWhen'),
    'Result': ('culmen.launchers.results', 'Result'),
    'sweep_frame': ('culmen.launchers.sweeping.frames', 'sweep_frame'),
    'agents': ('culmen.agents', None),
    'components': ('culmen.components', None),
    'core': ('culmen.core', None),
    'environment_loops': ('culmen.environment_loops', None),
    'launchers': ('culmen.launchers', None),
}

__all__ = [
    'Checkpoint',
    'Comparison',
    'Evaluation',
    'Experiment',
    'Observer',
    'Result',
    'StopWhen',
    'agents',
    'check_environment',
    'compare',
    'components',
    'core',
    'environment',
    'environment_loops',
    'iterate',
    'launchers',
    'load',
    'recorded_streams',
    'run',
    'sweep_frame',
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module_name, attribute = _LAZY[name]
    module = importlib.import_module(module_name)
    return module if attribute is None else getattr(module, attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
