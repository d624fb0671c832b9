"""Errors that say whose fault it is.

A check that refuses raises a ValueError, in constructors and in `Agent.build` and wherever else nothing
has been computed: launchers refuse the run. Where a core's own functions are traced a ValueError may
as well be a slip of their author, so there a refusal is a `SettingError`, and all else an `AgentFailure`.
"""

import contextlib
from collections.abc import Iterator


class SettingError(ValueError):
    """A setting that can't be, wherever it is found."""


class SettingTypeError(SettingError, TypeError):
    """A setting of another type than its own."""


class AgentFailure(RuntimeError):
    """A function of an agent raised; the message names it, and the cause is what it raised."""


@contextlib.contextmanager
def failing_at(place: str, *refusals: type[Exception]) -> Iterator[None]:
    """Names the place where an agent's code fails; also where it calls sys.exit.

    Args:
        place: 'while building DQN:', or 'importing a_module raised'.
        refusals: errors that are raised there on purpose, and pass as they are, as a SettingError does.
    Raises: AgentFailure that begins with the place.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, (AgentFailure, SettingError, *refusals)):
            raise
        raise AgentFailure(f'{place} {type(error).__name__}: {error}') from error
