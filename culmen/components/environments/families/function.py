"""A user's own environments by name: `package.module:function`, called with the seed first."""

import importlib
from collections.abc import Callable
from typing import Any

import dm_env

from culmen.core import checks
from culmen.core.errors import SettingTypeError


def resolve(name: str) -> Callable[..., Any]:
    """The function that a name stands for.

    Raises: ValueError that says whether the module or the function is missing, and for a class of
        something else than environments.
    """
    module_name, _, path = name.partition(':')
    if not module_name or not path:
        raise ValueError(f"environment {name!r} must read 'module:function'.")
    try:
        value: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f'environment {name!r}: module {module_name} can not be imported: {error}'
        ) from error
    except (Exception, SystemExit) as error:  # an error in the module itself, not in a setting
        raise RuntimeError(
            f'environment {name!r}: importing {module_name} raised {type(error).__name__}: {error}'
        ) from error
    for attribute in path.split('.'):
        if not hasattr(value, attribute):
            known = [each for each in dir(value) if not each.startswith('_')]
            raise ValueError(
                f'environment {name!r}: {checks.unknown_name("function", attribute, known)}'
            )
        value = getattr(value, attribute)
    if not callable(value):
        raise ValueError(f'environment {name!r} must be callable with a seed, got {value!r}.')
    if isinstance(value, type) and not issubclass(value, dm_env.Environment):
        raise ValueError(
            f'environment {name!r} must give a dm_env.Environment, got {value!r}, a class of others.'
        )
    return value


def make(name: str, seed: int, **options: Any) -> dm_env.Environment:
    """Calls the function.

    Raises: TypeError where it returns something else than a dm_env.Environment.
    """
    environment = resolve(name)(seed, **options)
    if not isinstance(environment, dm_env.Environment):
        raise SettingTypeError(
            f'environment {name!r} must return a dm_env.Environment, '
            f'got {type(environment).__name__}.'
        )
    return environment
