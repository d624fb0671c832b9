"""Runs a learner's call in the caller's thread or, if it is long and on a CPU, in threads of its own.

On a CPU, JAX runs the calls of one thread in turn, so acting waits for an update of some milliseconds even if
another core is free. XLA gains little from a second core for a matrix product of 100 microseconds. So a
long call is given to a thread. If its results fall into two halves that share little work (as those of
critics and policy), it becomes two programs in two threads. The programs depend only on the call's
shapes: with one core the same programs run in turn.
"""

import contextlib
import functools
import math
import operator
import os
from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.dispatch.compiling import compile_lazily
from culmen.components.dispatch.cores import usable_cores
from culmen.components.dispatch.switch import is_fast

# With fewer operations (about half a millisecond), handing a call to a thread costs more than it saves.
_LONG = 1e8
# The largest share of a call's operations that the longer half may have.
_MOST = 0.7

Outputs = Any


class DirectCall:
    """A call as one program in the caller's thread. JAX may return its results before they are ready."""

    def __init__(self, function: Callable[..., Outputs], **options: Any) -> None:
        """Args: function: to compile; options: of `jax.jit`."""
        self._compiled = compile_lazily(function, **options)

    def __call__(self, carry: Callable[[], Any], *arguments: Any) -> Callable[[], Outputs]:
        """Begins the call. Returns: () -> results. Args: carry: returns the first argument."""
        results = self._compiled(carry(), *arguments)
        return lambda: results

    @property
    def num_compilations(self) -> int:
        """How often the call was compiled."""
        return int(self._compiled._cache_size())


class ThreadedCall:
    """A call as one or two programs, each in a thread of its own if there is a core for it."""

    def __init__(
        self,
        function: Callable[..., Outputs],
        carry: Any,
        structure: Any,
        halves: Sequence[Sequence[int]],
        readers: Sequence[int],
    ) -> None:
        """Makes the programs; each is compiled at its first call.

        Args:
            function: the call; takes a carry, which it may overwrite, and other arguments.
            carry: shapes and dtypes of its arrays.
            structure: of the results.
            halves: the leaves of the results that each program computes.
            readers: for each leaf of the carry, the programs that read it, as bits.
        """
        self.halves = halves
        self._structure = structure
        # A program may overwrite leaves that no other program reads.
        self._reads = [
            (
                [i for i, bits in enumerate(readers) if bits == 1 << number],
                [i for i, bits in enumerate(readers) if bits >> number & 1 and bits != 1 << number],
            )
            for number in range(len(halves))
        ]
        self._compiled = [
            compile_lazily(_only(function, carry, reads, half), donate_argnums=0)
            for reads, half in zip(self._reads, halves, strict=True)
        ]

    def __call__(self, carry: Callable[[], Any], *arguments: Any) -> Callable[[], Outputs]:
        """Begins the call. Returns: a function that waits for the results.

        Args:
            carry: returns the first argument. The thread calls it, and may wait there for the call before.
            arguments: the other arguments.
        """
        programs = [
            functools.partial(_run, *each, carry, arguments)
            for each in zip(self._compiled, self._reads, strict=True)
        ]
        if num_threads() < 2:
            results = self._join(programs)
            return lambda: results
        begun = [
            thread.submit(program).result
            for thread, program in zip(_threads(), programs, strict=False)
        ]
        return functools.cache(functools.partial(self._join, begun))

    def _join(self, begun: Sequence[Callable[[], Any]]) -> Outputs:
        leaves: dict[int, Any] = {}
        for half, wait in zip(self.halves, begun, strict=True):
            leaves.update(zip(half, wait(), strict=True))
        return self._structure.unflatten([leaves[i] for i in range(len(leaves))])

    @property
    def num_compilations(self) -> int:
        """How often the call was compiled."""
        return max(int(each._cache_size()) for each in self._compiled)


Reads = tuple[Sequence[int], Sequence[int]]  # leaves of the carry: read by one program, by both


def _only(
    function: Callable[..., Outputs], carry: Any, reads: Reads, half: Sequence[int]
) -> Callable[..., Outputs]:
    shapes, structure = jax.tree_util.tree_flatten(carry)

    def give(own: Sequence[Any], shared: Sequence[Any], *arguments: Any) -> list[Any]:
        given = dict(zip([*reads[0], *reads[1]], [*own, *shared], strict=True))
        leaves = [
            given[i] if i in given else jnp.zeros(leaf.shape, leaf.dtype)  # this half ignores it
            for i, leaf in enumerate(shapes)
        ]
        results = jax.tree_util.tree_leaves(function(structure.unflatten(leaves), *arguments))
        return [results[i] for i in half]

    return give


def _run(
    compiled: Callable[..., Any], reads: Reads, carry: Callable[[], Any], arguments: Sequence[Any]
) -> Any:
    leaves = jax.tree_util.tree_leaves(carry())
    own, shared = ([leaves[i] for i in part] for part in reads)
    return jax.block_until_ready(compiled(own, shared, *arguments))


def num_threads() -> int:
    """The number of threads for long calls: two, or none if this process may use only one core."""
    return 2 if len(usable_cores()) > 1 else 0


@functools.cache
def _threads() -> list[ThreadPoolExecutor]:
    """The threads, each on its half of the cores: the scheduler might keep both on one for milliseconds."""
    cores = usable_cores()
    half = len(cores) // 2
    return [
        ThreadPoolExecutor(1, 'update', _keep_to, (part,)) for part in (cores[half:], cores[:half])
    ]


def _keep_to(cores: Sequence[int]) -> None:
    if hasattr(os, 'sched_setaffinity'):
        with contextlib.suppress(OSError):  # if forbidden, it is only slower
            os.sched_setaffinity(0, cores)


def threaded_call(
    function: Callable[..., Outputs], carry: Any, samples: Any, contexts: Any
) -> ThreadedCall | None:
    """Makes the programs of a long call on a CPU.

    Args:
        function: the call; takes these three.
        carry: shapes and dtypes of its arrays.
        samples, contexts: arrays, or their shapes and dtypes; samples [B, T, ...].
    Returns: the call; None if it is short, if JAX has another device, or if the fast path is off.
    """
    if not is_fast() or jax.default_backend() != 'cpu':
        return None
    rows = max(
        (math.prod(np.shape(leaf)[:2]) for leaf in jax.tree_util.tree_leaves(samples)), default=0
    )
    weights = max((np.size(leaf) for leaf in jax.tree_util.tree_leaves(carry)), default=0)
    if rows * weights < _LONG / 10:  # too short to be worth a trace
        return None
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(carry, samples, contexts)
    costs, inputs = _operations_by_results(jaxpr.jaxpr)
    if sum(costs.values()) < _LONG:
        return None
    halves = _halves(costs, len(jaxpr.jaxpr.outvars))
    bits = [sum(1 << result for result in half) for half in halves]
    readers = [
        sum(1 << number for number, half in enumerate(bits) if needed & half)
        for needed in inputs[: jax.tree_util.tree_structure(carry).num_leaves]
    ]
    structure = jax.tree_util.tree_structure(shapes)
    return ThreadedCall(function, carry, structure, halves, readers)


def _halves(costs: dict[int, float], number: int) -> list[list[int]]:
    """Divides the results among programs: one for all, or two if the halves share little work.

    Args:
        costs: operations by the set of results that need them, as bits of the key.
        number: of results.
    """

    def cost(results: int) -> float:
        return sum(operations for needed, operations in costs.items() if needed & results)

    bits = [1 << i for i in range(number)]
    first = max(bits, key=cost)
    second = max(bits, key=lambda bit: cost(first | bit))
    halves = [first, second]
    for bit in bits:
        if not bit & (first | second):
            # To the half where it adds least; among equals, to the one with less work.
            i = min(
                (0, 1), key=lambda i: (cost(halves[i] | bit) - cost(halves[i]), cost(halves[i]))
            )
            halves[i] |= bit
    whole = (1 << number) - 1
    if first == second or max(map(cost, halves)) > _MOST * cost(whole):
        halves = [whole]
    return [[i for i in range(number) if half >> i & 1] for half in halves]


def _operations_by_results(jaxpr: Any) -> tuple[dict[int, float], list[int]]:
    """Finds which results need which operations and inputs; bit i stands for result i.

    Returns: (operations by set of results that need them, the set of results that need each input).
    """
    needed: dict[Any, int] = {}

    def need(variables: Sequence[Any], bits: int) -> None:
        for variable in variables:
            if not hasattr(variable, 'val'):  # a literal
                needed[variable] = needed.get(variable, 0) | bits

    for i, variable in enumerate(jaxpr.outvars):
        need([variable], 1 << i)
    costs: dict[int, float] = {}
    for equation in reversed(jaxpr.eqns):
        bits = functools.reduce(
            operator.or_, (needed.get(variable, 0) for variable in equation.outvars), 0
        )
        if bits:
            costs[bits] = costs.get(bits, 0.0) + _operations(equation)
            need(equation.invars, bits)
    return costs, [needed.get(variable, 0) for variable in jaxpr.invars]


def _operations(equation: Any) -> float:
    """About how many operations an equation takes: those of products, else one for each number."""
    name, params = equation.primitive.name, equation.params
    size = float(sum(variable.aval.size for variable in equation.outvars))
    if name == 'dot_general':
        (contracted, _), _ = params['dimension_numbers']
        shape = equation.invars[0].aval.shape
        return 2 * size * math.prod(shape[axis] for axis in contracted)
    if name == 'conv_general_dilated':
        kernel = equation.invars[1].aval
        return 2 * size * kernel.size / kernel.shape[params['dimension_numbers'].rhs_spec[0]]
    inner = 0.0
    for param in params.values():
        for each in param if isinstance(param, tuple | list) else (param,):
            each = getattr(each, 'jaxpr', each)
            inner += sum(_operations(below) for below in getattr(each, 'eqns', ()))
    return inner * params.get('length', 1) if inner else size
