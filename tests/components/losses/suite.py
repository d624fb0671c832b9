"""What every loss is put through: a row in a table, and the shared tests follow it.

A `Case` names a function, the kinds of its arguments, an independent definition of it in NumPy and
what it predicts. The functions below are the tests of one case; each test file has its own table.
"""

import functools
import re
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

# The two shapes at which every function is compiled: letters of the axes and their lengths.
SHAPES = (
    {'T': 7, 'A': 3, 'K': 5, 'L': 4, 'N': 3, 'M': 2, 'D': 2},
    {'T': 2, 'A': 2, 'K': 3, 'L': 3, 'N': 2, 'M': 3, 'D': 3},
)


class Case(NamedTuple):
    """A function and what it must be.

    Attributes:
        function: the function under test.
        arguments: words such as 'r_t[T]', 'discount_t[T]:discount', 'a_t[T]:action'.
        definition: the same in NumPy, slow and obvious; float64 in, float64 out.
        prediction: for errors, a function of the arguments that gives what the error is of; with
            stopped targets the gradient is that of its negative.
        keywords: static keyword arguments of function and definition.
        switch: the name of the argument that stops gradients, if there is one.
        stops_by_default: whether it is true unless given; errors stop, returns flow.
    """

    function: Callable[..., Any]
    arguments: str
    definition: Callable[..., Any]
    prediction: Callable[..., Any] | None = None
    keywords: tuple[tuple[str, Any], ...] = ()
    switch: str | None = 'stop_target_gradients'
    stops_by_default: bool = True

    def __str__(self) -> str:
        # A pair of functions prints an address, and each worker of a test run would have its own.
        plain = [f'{k}={v}' for k, v in self.keywords if not isinstance(v, tuple)]
        return '-'.join([self.function.__name__, *plain])


class Argument(NamedTuple):
    name: str
    axes: str
    kind: str


@functools.cache
def arguments(case: Case) -> tuple[Argument, ...]:
    words = (re.fullmatch(r'(\w+)\[(.*?)\](?::(\w+))?', word) for word in case.arguments.split())
    return tuple(Argument(m[1], m[2], m[3] or 'float') for m in words if m)


def shape_of(axes: str, sizes: dict[str, int]) -> tuple[int, ...]:
    lengths = []
    for axis in filter(None, axes.split(',')):
        letter, added = re.fullmatch(r'([A-Z])([+-]\d)?', axis).groups()
        lengths.append(sizes[letter] + int(added or 0))
    return tuple(lengths)


def values(kind: str, shape: tuple[int, ...], sizes: dict[str, int]) -> st.SearchStrategy:
    """Values of a kind of argument: terminations among the discounts, cuts among the lambdas."""

    def floats(low: float, high: float) -> st.SearchStrategy:
        return hnp.arrays(np.float32, shape, elements=st.floats(low, high, width=32))

    def one_of(*elements: float) -> st.SearchStrategy:
        return hnp.arrays(np.float32, shape, elements=st.sampled_from(elements))

    if kind == 'discount':
        return one_of(0.0, 0.5, 0.875, 1.0)
    if kind == 'lambda':
        return one_of(0.0, 0.25, 0.75, 1.0)
    if kind == 'mask':
        return hnp.arrays(np.bool_, shape, elements=st.booleans())
    if kind == 'ratio':
        return floats(0.125, 3.0)
    if kind == 'unit':
        return floats(0.0625, 0.9375)
    if kind == 'action':
        return hnp.arrays(np.int32, shape, elements=st.integers(0, sizes['A'] - 1))
    if kind == 'policy':
        return floats(-2.0, 2.0).map(softmax)
    if kind == 'atoms':
        steps = hnp.arrays(np.float32, shape, elements=st.floats(0.25, 2.0, width=32))
        return steps.map(lambda x: np.cumsum(x, dtype=np.float32) - np.float32(2))
    assert kind == 'float', kind
    return floats(-3.0, 3.0)


def inputs(case: Case, sizes: dict[str, int]) -> st.SearchStrategy:
    return st.tuples(*(values(a.kind, shape_of(a.axes, sizes), sizes) for a in arguments(case)))


def some_inputs(case: Case, sizes: dict[str, int], seed: int = 0) -> tuple[np.ndarray, ...]:
    """Random inputs without ties or kinks, for gradients."""
    rng = np.random.default_rng(seed)

    def draw(argument: Argument) -> np.ndarray:
        shape = shape_of(argument.axes, sizes)
        if argument.kind == 'action':
            return rng.integers(0, sizes['A'], shape).astype(np.int32)
        if argument.kind == 'mask':
            return rng.random(shape) < 0.75
        if argument.kind in ('discount', 'lambda', 'unit'):
            x = rng.uniform(0.1, 0.9, shape)
        elif argument.kind == 'ratio':
            x = rng.uniform(0.2, 2.5, shape)
        elif argument.kind == 'policy':
            x = softmax(rng.normal(size=shape))
        elif argument.kind == 'atoms':
            x = np.cumsum(rng.uniform(0.5, 1.5, shape)) - 2
        else:
            x = rng.normal(size=shape)
        return np.asarray(x, np.float32)

    return tuple(draw(argument) for argument in arguments(case))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(x.dtype)


def call(case: Case, *args: Any, **more: Any) -> Any:
    names = [argument.name for argument in arguments(case)]
    return case.function(**dict(zip(names, args)), **dict(case.keywords), **more)


@functools.cache
def compiled(case: Case) -> Callable[..., Any]:
    return jax.jit(functools.partial(call, case))


def define(case: Case, *args: np.ndarray) -> Any:
    doubles = [np.asarray(x, np.float64) if x.dtype == np.float32 else x for x in args]
    names = [argument.name for argument in arguments(case)]
    return case.definition(**dict(zip(names, doubles)), **dict(case.keywords))


def assert_close(actual: Any, expected: Any, rtol: float = 2e-5, atol: float = 2e-5) -> None:
    actual, expected = jax.tree_util.tree_leaves(actual), jax.tree_util.tree_leaves(expected)
    assert len(actual) == len(expected) > 0
    for x, y in zip(actual, expected):
        assert np.shape(x) == np.shape(y)
        np.testing.assert_allclose(np.asarray(x, np.float64), y, rtol=rtol, atol=atol)


def agrees_with_the_definition(case: Case, args: tuple[np.ndarray, ...]) -> None:
    assert_close(compiled(case)(*args), define(case, *args))


def is_the_same_under_jit_and_vmap(case: Case, sizes: dict[str, int]) -> None:
    """And in a scan."""
    batch = [some_inputs(case, sizes, seed) for seed in range(3)]
    one_by_one = [call(case, *map(jnp.asarray, args)) for args in batch]
    stacked = tuple(map(jnp.stack, zip(*batch)))
    together = jax.vmap(functools.partial(call, case))(*stacked)
    _, in_turn = jax.lax.scan(lambda nothing, args: (nothing, call(case, *args)), None, stacked)
    for index, alone in enumerate(one_by_one):
        assert_close(compiled(case)(*batch[index]), alone, rtol=1e-5, atol=1e-6)
        for rows in (together, in_turn):
            row = jax.tree_util.tree_map(lambda x, index=index: x[index], rows)
            assert_close(row, alone, rtol=1e-5, atol=1e-6)


def program_size(function: Callable[..., Any], *args: Any) -> int:
    """The number of operations that a function is compiled from, those within loops included."""

    def count(jaxpr: Any) -> int:
        jaxpr = getattr(jaxpr, 'jaxpr', jaxpr)
        parts = [part for e in jaxpr.eqns for part in jax.tree_util.tree_leaves(e.params)]
        inner = [part for part in parts if hasattr(part, 'jaxpr') or hasattr(part, 'eqns')]
        return len(jaxpr.eqns) + sum(map(count, inner))

    return count(jax.make_jaxpr(function)(*args))


def has_a_program_of_one_size(case: Case) -> None:
    """However long the sequence; the shortest may not be a loop, so none here is shorter than 12."""
    sizes = [
        program_size(functools.partial(call, case), *some_inputs(case, {**SHAPES[0], 'T': length}))
        for length in (12, 13, 300)
    ]
    assert len(set(sizes)) == 1, sizes


def has_the_right_gradients(case: Case, sizes: dict[str, int]) -> None:
    """Against central differences of the definition; with stopped targets, of -prediction alone."""
    args = some_inputs(case, sizes, seed=5)
    which = tuple(i for i, x in enumerate(args) if x.dtype == np.float32)
    out = np.asarray(define(case, *args))
    weights = np.random.default_rng(6).normal(size=out.shape)

    def loss(*args: Any, **more: Any) -> Any:
        return jnp.sum(call(case, *args, **more) * weights.astype(np.float32))

    expected = differences(lambda *args: np.sum(weights * define(case, *args)), args, which)
    if case.switch is None:
        assert_close(jax.jit(jax.grad(loss, which))(*args), expected, 1e-4, 1e-4)
        return
    traced = jax.jit(lambda switch, *args: jax.grad(loss, which)(*args, **{case.switch: switch}))
    assert_close(traced(False, *args), expected, 1e-4, 1e-4)
    stopped = [np.zeros_like(args[i]) for i in which]
    if case.prediction is not None:
        names = [argument.name for argument in arguments(case)]
        stopped = differences(
            lambda *args: -np.sum(weights * case.prediction(dict(zip(names, args)))), args, which
        )
    assert_close(traced(True, *args), stopped, 1e-4, 1e-4)
    by_default = stopped if case.stops_by_default else expected
    assert_close(jax.jit(jax.grad(loss, which))(*args), by_default, 1e-4, 1e-4)


def differences(
    function: Callable[..., float], args: tuple[np.ndarray, ...], which: tuple[int, ...]
) -> list[np.ndarray]:
    """Central differences in float64."""
    doubles = [np.array(x, np.float64 if x.dtype == np.float32 else x.dtype) for x in args]
    gradients = []
    for i in which:
        gradient = np.zeros(doubles[i].shape)
        for index in np.ndindex(doubles[i].shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [x.copy() for x in doubles]
                moved[i][index] += step
                ends.append(function(*moved))
            gradient[index] = (ends[0] - ends[1]) / 2e-5
        gradients.append(gradient)
    return gradients


# Arguments that are data, which may be whole numbers: no gradient flows to them.
DATA = {
    *('r_t', 'discount_t', 'rewards', 'discounts', 'pcontinues', 'w_t', 'adv_t', 'rho_tm1', 'c_t'),
    *('target_q_t', 'target_q_tm1', 'pi_t', 'mu_t', 'probs_a_t', 'lambda_', 'lambda_t', 'targets'),
    *('v_atoms_tm1', 'v_atoms_t', 'q_atoms_tm1', 'q_atoms_t', 'z_p', 'z_q', 'dist_target'),
}


def takes_integers(case: Case, sizes: dict[str, int]) -> None:
    """Where an argument is data: the same as of floats."""
    args = [jnp.asarray(x) for x in some_inputs(case, sizes)]
    data = [a.name in DATA and a.kind != 'mask' for a in arguments(case)]
    floats = [jnp.round(2 * x) if is_data else x for x, is_data in zip(args, data)]
    whole = [x.astype(int) if is_data else x for x, is_data in zip(floats, data)]
    given, expected = (
        [np.asarray(x) for x in jax.tree_util.tree_leaves(call(case, *each))]
        for each in (whole, floats)
    )
    for x, y in zip(given, expected, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def refuses_by_name(case: Case, sizes: dict[str, int]) -> None:
    """A batch and a wrong dtype of every argument, and a wrong length of every later one."""
    takes_integers(case, sizes)
    args = [jnp.asarray(x) for x in some_inputs(case, sizes)]
    for index, argument in enumerate(arguments(case)):

        def refused(wrong: Any, what: str, index: int = index, name: str = argument.name) -> None:
            changed = [*args[:index], wrong, *args[index + 1 :]]
            with pytest.raises(ValueError, match=rf'{name} must .*got.*{re.escape(what)}'):
                call(case, *changed)

        batched = jnp.stack([args[index]] * 2)[None]
        refused(batched, str(batched.shape))
        if argument.kind == 'mask':
            continue
        refused(args[index].astype(complex), 'complex64')
        if argument.kind == 'action':
            refused(args[index].astype(float), 'float32')


def works_in_bfloat16(case: Case, sizes: dict[str, int]) -> None:
    args = some_inputs(case, sizes)
    halves = [jnp.asarray(x, jnp.bfloat16) if x.dtype == np.float32 else x for x in args]
    out = compiled(case)(*halves)
    expected = define(
        case, *(np.asarray(x, np.float32) if x.dtype == jnp.bfloat16 else x for x in halves)
    )
    for x, y in zip(jax.tree_util.tree_leaves(out), jax.tree_util.tree_leaves(expected)):
        assert x.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(x, np.float32), y, rtol=0.1, atol=0.1)
