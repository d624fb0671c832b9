"""Environments by name: the families, their arguments, and `make`."""

import contextlib
import importlib
import types
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import get_args

import dm_env

from culmen.components.environments import wrappers
from culmen.components.environments.arguments import Argument
from culmen.components.environments.arguments import check_seed
from culmen.components.environments.arguments import foreign_arguments
from culmen.components.environments.arguments import read_arguments
from culmen.components.environments.arguments import signature_arguments
from culmen.components.environments.catalogue import FAMILIES
from culmen.components.environments.catalogue import LEFT_OUT
from culmen.components.environments.catalogue import Family
from culmen.components.environments.families import function
from culmen.core import checks
from culmen.core.actions import ActionKind
from culmen.core.errors import SettingTypeError

_BY_NAME = {family.name: family for family in FAMILIES}

# Arguments of any family that are for training only, with their values in evaluations.
# Processes would be started anew for each evaluation, and play the same episodes.
FOR_TRAINING: Mapping[str, Any] = types.MappingProxyType(
    {'terminal_on_life_loss': False, 'episodic_life': False, 'vectorization_mode': 'sync'}
)


def families() -> tuple[Family, ...]:
    """Every family of environments, installed or not."""
    return FAMILIES


def names(
    family: str | None = None, *, actions: ActionKind | None = None, jax: bool = False
) -> list[str]:
    """The names that can be listed offline, of one family or of all that are installed.

    Nothing is built: each family says which kinds of action its names have (`Family.actions`).

    Args:
        family: None: all.
        actions: only environments with this kind of action, of each player where there are several.
        jax: only environments written in JAX.
    Raises: ValueError for an unknown family or kind; MissingPackage where one family was asked for and its
        package is missing.
    """
    kinds = get_args(ActionKind)
    if actions is not None and actions not in kinds:
        raise ValueError(checks.unknown_name('kind of action', str(actions), kinds))
    listable = [each.name for each in FAMILIES if each.name != 'function']
    if family is None:
        chosen = [name for name in listable if _BY_NAME[name].installed]
    elif family in listable:
        chosen = [family]
    else:
        raise ValueError(checks.unknown_name('family', family, listable))
    return [
        f'{name}/{identity}'
        for name in chosen
        if _BY_NAME[name].jax or not jax
        for identity in _module(name).names()
        if actions is None or _BY_NAME[name].action_kind(identity) == actions
    ]


def make(name: str, seed: int, **arguments: Any) -> dm_env.Environment:
    """Builds an environment by its name, fully seeded: one seed gives the same bits.

    A step after LAST ignores its action and gives FIRST. A termination has discount 0, a truncation
    keeps it.

    Args:
        name: 'bsuite/catch/0', 'gymnasium/CartPole-v1', 'minatar/breakout',
            'dm_control/cartpole/swingup', 'atari/pong', 'gymnax/CartPole-v1', 'brax/ant',
            'jax/catch', 'envpool/Pong-v5', 'gymnasium_vector/Hopper-v5', or 'module:function' for a
            callable seed -> dm_env.Environment.
        seed: int in [0, 2**31).
        **arguments: of the family, and of `wrappers.wrap`, which every environment takes:
            make('atari/pong', 1, sticky_actions=0.0, frame_stack=2).
    Returns: the environment; `is_restorable` says whether it can be saved in the middle of an
        episode.
    Raises: ValueError that names the environment or the argument and the nearest valid ones;
        MissingPackage (an ImportError and a ValueError) that says what to install.
    """
    seed = check_seed(seed)
    values = check(name, arguments)
    family, identity = _split(name)
    known, own = _arguments(family, identity)
    of_family = {key: value for key, value in values.items() if key in own or key not in known}
    of_wrappers = {key: value for key, value in values.items() if key not in of_family}
    of_wrappers = {**family.defaults, **of_wrappers}
    environment = _module(family.name).make(identity, seed, **of_family)
    try:
        return wrappers.wrap(environment, seed, **of_wrappers)
    except ValueError as error:
        environment.close()
        raise ValueError(f'{name}: {error}') from error


def check(name: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Checks a name and its arguments without building the environment.

    Args:
        name: as in `make`.
        arguments: values, or text and JSON lists that are read as the types of the signature.
    Returns: the arguments, read.
    Raises: ValueError that names what is wrong, and the nearest valid names; MissingPackage.
    """
    family, identity = _split(name)
    _module(family.name).check(identity) if family.name != 'function' else function.resolve(
        identity
    )
    known, _ = _arguments(family, identity)
    is_open = _foreign(family, identity)[1]
    return read_arguments(name, dict(arguments or {}), known, is_open)


def evaluation_arguments(
    arguments: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of an environment in evaluations: those of training, without those for training only.

    Args:
        arguments: in training.
        changes: the evaluations' own arguments, which take precedence.
    """
    return {**{name: FOR_TRAINING.get(name, arguments[name]) for name in arguments}, **changes}


def argument_types(name: str) -> dict[str, Any]:
    """The types of the arguments that an environment takes, by name. Raises: as `check`."""
    known, _ = _arguments(*_split(name))
    return {argument.name: argument.annotation for argument in known.values()}


def parse_arguments(name: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Reads the arguments of a command line: {'frame_stack': '4'} becomes {'frame_stack': 4}.

    Raises: as `check`.
    """
    return check(name, arguments)


def _split(name: str) -> tuple[Family, str]:
    if not isinstance(name, str):
        raise SettingTypeError(
            f'the name of an environment must be a str, got {name!r} ({type(name).__name__}).'
        )
    prefix, slash, identity = name.partition('/')
    if slash and prefix in _BY_NAME and prefix != 'function':
        return _BY_NAME[prefix], identity
    if slash and prefix in LEFT_OUT:
        raise ValueError(f'{name} is not among the environments: {LEFT_OUT[prefix]}.')
    if ':' in name:
        return _BY_NAME['function'], name
    patterns = ', '.join(family.pattern for family in FAMILIES)
    near = checks.unknown_name('environment', name, _shown_names(prefix))
    raise ValueError(f'{near} Names read {patterns}.')


def _shown_names(prefix: str) -> list[str]:
    """Names that an unknown name may have meant, if the family is misspelt or left out."""
    shown = [name for family in FAMILIES for name in family.examples]
    for family in FAMILIES:
        if family.name != 'function' and family.installed and family.name[:1] == prefix[:1]:
            with contextlib.suppress(ImportError):
                shown += names(family.name)
    return sorted(set(shown))


def _arguments(family: Family, identity: str) -> tuple[dict[str, Argument], dict[str, Argument]]:
    """All arguments that an environment takes, and those that belong to its family."""
    own = {} if family.name == 'function' else signature_arguments(_module(family.name).make)
    own = {**_foreign(family, identity)[0], **own}
    return {**signature_arguments(wrappers.wrap), **own}, own


def _foreign(family: Family, identity: str) -> tuple[dict[str, Argument], bool]:
    if family.name == 'function':
        known, is_open = foreign_arguments(function.resolve(identity))
        # The first parameter is the seed.
        return dict(list(known.items())[1:]), is_open
    options: Callable[[str], tuple[dict[str, Argument], bool]] | None
    options = getattr(_module(family.name), 'options', None)
    return ({}, False) if options is None else options(identity)


def _module(family: str) -> Any:
    return importlib.import_module(f'culmen.components.environments.families.{family}')
