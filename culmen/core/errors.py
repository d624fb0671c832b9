"""Errors that tell a wrong setting from a fault in an agent's code.

Constructors, `Agent.build` and all other code that runs before any computation raise a ValueError for a
wrong setting, and launchers refuse the run. While a core's own functions are traced, a ValueError may be
a bug in them. There only a `SettingError` is a refusal; any other error becomes an `AgentFailure`.
"""

import contextlib
from collections.abc import Iterator


class SettingError(ValueError):
    """A setting that is not accepted, wherever this is found."""


class SettingTypeError(SettingError, TypeError):
    """A setting of the wrong type."""


class AgentFailure(RuntimeError):
    """A function of an agent raised; the message names it, and the cause is what it raised."""


@contextlib.contextmanager
def failing_at(place: str, *refusals: type[Exception]) -> Iterator[None]:
    """Turns what an agent's code raises, `SystemExit` too, into an AgentFailure that names the place.

    Args:
        place: 'while building DQN:', or 'importing a_module raised'.
        refusals: errors that the code raises on purpose. They pass unchanged, as a SettingError does.
    Raises: AgentFailure; its message begins with the place.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, (AgentFailure, SettingError, *refusals)):
            raise
        raise AgentFailure(f'{place} {type(error).__name__}: {error}') from error
