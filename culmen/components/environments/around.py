"""JAX environments around others: one object for all lanes, so that they are stepped in one compiled call."""

import weakref
from collections.abc import Callable
from typing import Any

_AROUND: 'weakref.WeakValueDictionary[Any, Any]' = weakref.WeakValueDictionary()


def around_once(environment: Any, kind: Callable[..., Any], *args: Any) -> Any:
    """`kind(environment, *args)`, one object for all calls, so that its lanes are stepped together."""
    key = (id(environment), kind, args)
    around = _AROUND.get(key)
    if around is None:  # it keeps `environment`, so nothing else gets that id while it lives
        around = _AROUND[key] = kind(environment, *args)
    return around
