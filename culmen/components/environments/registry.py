"""Environments by name: the families, their arguments, and `make`."""

import contextlib
import dataclasses
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import dm_env

from culmen.components.environments import wrappers
from culmen.components.environments.arguments import Argument
from culmen.components.environments.arguments import check_seed
from culmen.components.environments.arguments import foreign_arguments
from culmen.components.environments.arguments import read_arguments
from culmen.components.environments.arguments import signature_arguments
from culmen.components.environments.families import function
from culmen.core import checks
from culmen.core.errors import SettingTypeError


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of environments, as `culmen list environments` shows it."""

    name: str
    pattern: str  # the form of its names
    examples: tuple[str, ...]
    packages: tuple[str, ...]  # that it imports; none for a user's own functions
    restorable: str  # which of its environments are saved exactly in the middle of an episode
    defaults: Mapping[str, Any] = dataclasses.field(
        default_factory=dict
    )  # of the wrappers' arguments

    @property
    def installed(self) -> bool:
        """Whether the packages that it imports are installed (without importing them)."""
        return not self.missing

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed."""
        return tuple(package for package in self.packages if not _is_installed(package))

    def as_dict(self) -> dict[str, Any]:
        """The entry as plain data, for JSON."""
        return {
            'name': self.pattern,
            'family': self.name,
            'examples': list(self.examples),
            'packages': list(self.packages),
            'installed': self.installed,
            'restorable': self.restorable,
            'defaults': dict(self.defaults),
        }


_FAMILIES = (
    Family(
        'bsuite',
        'bsuite/<experiment>/<index>',
        ('bsuite/catch/0', 'bsuite/cartpole/0', 'bsuite/deep_sea/0', 'bsuite/memory_len/5'),
        ('bsuite',),
        'all (mnist* download their data)',
    ),
    Family(
        'gymnasium',
        'gymnasium/<id>',
        ('gymnasium/CartPole-v1', 'gymnasium/Pendulum-v1', 'gymnasium/HalfCheetah-v5'),
        ('gymnasium',),
        'classic control, toy text and MuJoCo by their state, Box2D and ALE by replaying the '
        'episode; others where all that they hold can be copied',
    ),
    Family(
        'minatar',
        'minatar/<game>[-v0|-v1]',
        ('minatar/breakout', 'minatar/asterix-v1', 'minatar/space_invaders'),
        ('minatar',),
        'all',
    ),
    Family(
        'dm_control',
        'dm_control/<domain>/<task>',
        ('dm_control/cartpole/swingup', 'dm_control/cheetah/run', 'dm_control/reacher/easy'),
        ('dm_control',),
        'all',
        {'single_precision': True},
    ),
    Family(
        'atari',
        'atari/<game>',
        ('atari/pong', 'atari/breakout', 'atari/space_invaders'),
        ('ale_py', 'cv2'),
        'all',
        {'frame_stack': 4},
    ),
    Family(
        'gymnax',
        'gymnax/<id>',
        ('gymnax/CartPole-v1', 'gymnax/Pendulum-v1', 'gymnax/Breakout-MinAtar'),
        ('gymnax', 'gymnasium'),
        'all',
    ),
    Family(
        'brax',
        'brax/<environment>',
        ('brax/ant', 'brax/halfcheetah', 'brax/inverted_pendulum'),
        ('brax',),
        'all',
    ),
    Family(
        'jax',
        'jax/<environment>',
        ('jax/catch', 'jax/four_rooms', 'jax/cartpole_swingup'),
        (),
        'all',
    ),
    Family(
        'function',
        '<module>:<function>',
        ('my_package.my_module:make_environment',),
        (),
        'those with get_state() and set_state(state)',
    ),
)
_BY_NAME = {family.name: family for family in _FAMILIES}

# Arguments of any family that are for training only, with their values in evaluations.
FOR_TRAINING: Mapping[str, Any] = types.MappingProxyType({'terminal_on_life_loss': False})


def families() -> tuple[Family, ...]:
    """Every family of environments, installed or not."""
    return _FAMILIES


def names(family: str | None = None) -> list[str]:
    """The names that can be listed offline, of one family or of all that are installed.

    Raises: ValueError for an unknown family; MissingPackage where one family was asked for and its
        package is missing.
    """
    listable = [each.name for each in _FAMILIES if each.name != 'function']
    if family is None:
        chosen = [name for name in listable if _BY_NAME[name].installed]
    elif family in listable:
        chosen = [family]
    else:
        raise ValueError(checks.unknown_name('family', family, listable))
    return [f'{name}/{identity}' for name in chosen for identity in _module(name).names()]


def make(name: str, seed: int, **arguments: Any) -> dm_env.Environment:
    """Builds an environment by its name, fully seeded: one seed gives the same bits.

    A step after LAST ignores its action and gives FIRST. A termination has discount 0, a truncation
    keeps it.

    Args:
        name: 'bsuite/catch/0', 'gymnasium/CartPole-v1', 'minatar/breakout',
            'dm_control/cartpole/swingup', 'atari/pong', 'gymnax/CartPole-v1', 'brax/ant',
            'jax/catch', or 'module:function' for a callable seed -> dm_env.Environment.
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
    if ':' in name:
        return _BY_NAME['function'], name
    patterns = ', '.join(family.pattern for family in _FAMILIES)
    near = checks.unknown_name('environment', name, _shown_names(prefix))
    raise ValueError(f'{near} Names read {patterns}.')


def _shown_names(prefix: str) -> list[str]:
    """Names that an unknown name may have meant, if the family is misspelt or left out."""
    shown = [name for family in _FAMILIES for name in family.examples]
    for family in _FAMILIES:
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
    if family.name in ('gymnasium', 'gymnax', 'jax'):
        options: Callable[[str], tuple[dict[str, Argument], bool]] = _module(family.name).options
        return options(identity)
    if family.name == 'function':
        known, is_open = foreign_arguments(function.resolve(identity))
        # The first parameter is the seed.
        return dict(list(known.items())[1:]), is_open
    return {}, False


def _module(family: str) -> Any:
    return importlib.import_module(f'culmen.components.environments.families.{family}')


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None
