"""Tells whether two environments written in JAX are one program."""

import functools
import re
import weakref
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from culmen.components.environments.functional import advance
from culmen.components.environments.functional import begin
from culmen.core.environments import JaxEnvironment
from culmen.core.metrics import metrics_of
from culmen.core.specs import shape_dtypes


def are_alike(a: JaxEnvironment, b: JaxEnvironment) -> bool:
    """Whether two environments are one program: the same operations on the same constants."""
    if a is b:
        return True
    if metrics_of(a) != metrics_of(b):
        return False
    one, other = (_traced(each) for each in (a, b))
    return one[0] == other[0] and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(one[1], other[1], strict=True)
    )


_TRACED: 'weakref.WeakKeyDictionary[Any, Any]' = weakref.WeakKeyDictionary()


def _traced(environment: JaxEnvironment) -> tuple[list[str], list[NDArray[Any]]]:
    """The operations of an environment's functions, as text, and their constants."""
    if environment not in _TRACED:
        _TRACED[environment] = _trace(environment)
    traced: tuple[list[str], list[NDArray[Any]]] = _TRACED[environment]
    return traced


def _trace(environment: JaxEnvironment) -> tuple[list[str], list[NDArray[Any]]]:
    key = jax.ShapeDtypeStruct((2,), np.uint32)
    lane, timestep = jax.eval_shape(functools.partial(begin, environment), key)
    action = shape_dtypes(environment.spec().action)
    traced = [
        jax.make_jaxpr(functools.partial(begin, environment))(key),
        jax.make_jaxpr(functools.partial(advance, environment))(lane, action),
    ]
    constants: list[NDArray[Any]] = []
    for jaxpr in traced:
        _collect(jaxpr, constants)
    texts = [re.sub(r'0x[0-9a-f]+', '', str(jaxpr)) for jaxpr in traced]  # without addresses
    return [*texts, str(jax.tree_util.tree_structure(timestep)), str(len(constants))], constants


def _collect(value: Any, constants: list[NDArray[Any]]) -> None:
    """The constants in a program and in those inside it."""
    if isinstance(value, (tuple, list)):
        for each in value:
            _collect(each, constants)
    elif hasattr(getattr(value, 'jaxpr', value), 'eqns'):
        constants.extend(np.asarray(each) for each in getattr(value, 'consts', ()))
        for equation in getattr(
            value, 'jaxpr', value
        ).eqns:  # in later versions of JAX the program is its own `jaxpr`
            constants.extend(np.asarray(x.val) for x in equation.invars if hasattr(x, 'val'))
            _collect(list(equation.params.values()), constants)
