"""Compiled runs side by side: their states are stacked, and one compiled call advances all of them."""

import functools
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from culmen.components.replay.device.datasets import Feed
from culmen.core.types import Params
from culmen.environment_loops.compiled import Carry
from culmen.environment_loops.compiled import EvaluationRequest
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.launchers.compiled import CompiledEngine
from culmen.launchers.compiled import OwnCarry
from culmen.launchers.compiled import Status
from culmen.launchers.compiled_plan import CompiledPlan
from culmen.launchers.engines import Advance
from culmen.launchers.engines import Evaluate
from culmen.launchers.results import Result
from culmen.launchers.run import Run


class StackedRuns:
    """Runs of one plan in lockstep.

    A run is identified by its place in the stack. Places without a run hold a copy of another run, since the
    exact numbers of a run may depend on the size of the stack.
    """

    def __init__(
        self,
        plan: CompiledPlan,
        runs: Mapping[int, Run[CompiledEngine]],
        num_places: int,
        devices: Sequence[jax.Device],
    ) -> None:
        """Args: runs: by place; devices: to run on. The number of places is a multiple of theirs."""
        num_devices = max(len(devices), 1)
        self.results: dict[int, Result] = {}
        self.failures: list[BaseException] = []
        self._plan = plan
        self._runs = runs
        self._engines = {place: run.engine for place, run in runs.items()}
        self._places = range(-(-num_places // num_devices) * num_devices)
        self._device = devices[0] if devices else None
        self._requests = {place: run.requests() for place, run in runs.items()}
        self._asked: dict[int, Advance | Evaluate] = {}
        self._carry: Carry | None = None  # of all runs, leaves [places, ...]
        self._status: Any = None
        self._failure: BaseException | None = None
        self._look = jax.jit(jax.vmap(plan.loop.status))
        self._slice = jax.jit(lambda tree, place: jax.tree_util.tree_map(lambda x: x[place], tree))

    def drive(self, show: Callable[[], None]) -> None:
        """Drives all runs to their ends. Fills `results`, by place, and `failures`, what runs raised.

        Runs that request an evaluation wait until no run requests to advance; then all evaluate together.

        Args: show: called after each step.
        """
        for place in self._runs:
            self._answer(place, None)
        while self._asked:
            advances = {p: each for p, each in self._asked.items() if isinstance(each, Advance)}
            if advances:
                answers = self._advance(advances)
            else:
                evaluations = {
                    p: each for p, each in self._asked.items() if isinstance(each, Evaluate)
                }
                answers = self._evaluate(evaluations, show)
            for place, value in answers.items():
                self._answer(place, value)
            show()

    def _answer(self, place: int, value: EvaluationResult | BaseException | None) -> None:
        self._asked.pop(place, None)
        requests = self._requests[place]
        try:
            if isinstance(value, BaseException):
                self._asked[place] = requests.throw(value)
            else:
                self._asked[place] = requests.send(value)
        except StopIteration as end:
            self.results[place] = end.value
        except BaseException as error:
            self.failures.append(error)

    def _advance(self, requests: Mapping[int, Advance]) -> dict[int, Any]:
        """Makes one compiled call, in which runs without a request do nothing.

        Runs that learn before their first action do so one by one, before all are stacked.
        """
        early = [place for place in requests if self._carry is None and self._is_early(place)]
        if early:
            return {place: self._pretrain(place, requests[place]) for place in early}
        limits = {place: self._engines[place].left(each) for place, each in requests.items()}
        begin = time.perf_counter()
        try:
            feeds = self._next_feeds()
            ticks = min(self._engines[place].next_ticks for place in requests)
            carry, self._carry, self._status = self._stack(), None, None
            if feeds is not None:
                carry = carry._replace(feeds=feeds)
            self._carry, reports = self._plan.loop.run_all(
                carry, ticks, [limits.get(place, (0, 0)) for place in self._places]
            )
            _ = reports[0].ticks  # waits for the call, which fails here if it does
        except BaseException as error:
            self._failure = error  # the state of all runs is lost with the call
            return dict.fromkeys(requests, error)
        return {place: self._take(place, reports[place], begin) for place in requests}

    def _is_early(self, place: int) -> bool:
        engine = self._engines[place]
        return isinstance(engine.holder, OwnCarry) and engine.is_pretraining

    def _pretrain(self, place: int, request: Advance) -> BaseException | None:
        try:
            self._engines[place].advance(request, self._runs[place].journal)
        except BaseException as error:
            return error
        return None

    def _take(self, place: int, report: Any, begin: float) -> BaseException | None:
        engine = self._engines[place]
        try:
            engine.take(report, self._runs[place].journal)
        except BaseException as error:
            return error
        engine.adapt(time.perf_counter() - begin)
        return None

    def _stack(self) -> Carry:
        if self._failure is not None:
            raise self._failure
        if self._carry is not None:
            return self._carry
        begun = {place: engine.holder.carry for place, engine in self._engines.items()}
        some = next(iter(begun.values()))
        of_places = [begun.get(place, some) for place in self._places]
        for place, engine in self._engines.items():
            engine.holder = StackedCarry(self, place)
        stacked: Carry = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *of_places)
        return stacked

    def _next_feeds(self) -> dict[str, Feed] | None:
        """The next draws of all runs' Datasets, leaves [places, ...]; None: those given last suffice."""
        engines = self._engines
        if not [each for each in engines.values() if each.feeds and each.feeds.refill(each.draws)]:
            return None
        some = next(iter(engines.values()))
        now = [engines.get(place, some).feeds.now for place in self._places]
        feeds: dict[str, Feed] = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *now)
        return feeds

    def _evaluate(
        self, requests: Mapping[int, Evaluate], show: Callable[[], None]
    ) -> dict[int, Any]:
        def tell(text: str) -> None:
            for place in requests:
                self._runs[place].tell(text)
            show()

        def of_place(place: int) -> EvaluationRequest:
            request, engine = requests[place], self._engines[place]
            return EvaluationRequest(
                request.variables, request.number, *request.counts, engine.seed, engine.settings
            )

        some = next(iter(requests))
        asked = [of_place(place if place in requests else some) for place in self._places]
        stop = self._runs[some].interruption.is_asked
        try:
            results = self._plan.evaluator.of(0, stop, tell=tell).evaluate_all(asked)
        except BaseException as error:
            return dict.fromkeys(requests, error)
        return {place: results[place] for place in requests}

    def part_of(self, place: int, part: Callable[[Carry], Any]) -> Any:
        """A copy of part of a run's state. Raises: what the compiled call raised."""
        if self._failure is not None:
            raise self._failure
        assert self._carry is not None
        taken = self._slice(part(self._carry), place)
        return jax.block_until_ready(jax.device_put(taken, self._device))

    def status_of(self, place: int) -> Status:
        """The status of a run; the statuses of all runs are fetched together."""
        if self._failure is not None:
            raise self._failure
        if self._status is None:
            self._status = jax.device_get(self._look(self._carry))
        return Status.of(jax.tree_util.tree_map(lambda leaf: leaf[place], self._status))

    def variables_of(self, place: int) -> Params:
        """The newest variables of a run."""
        return self._plan.loop.variables(self.part_of(place, Carry.without_tables))


class StackedCarry:
    """The state of one run in the stack (culmen.launchers.compiled.CarryHolder)."""

    def __init__(self, stacked: StackedRuns, place: int) -> None:
        self.get_status = functools.partial(stacked.status_of, place)
        self._stacked = stacked
        self._place = place

    @property
    def carry(self) -> Carry:
        """A copy of the whole state."""
        carry: Carry = self._stacked.part_of(self._place, lambda carry: carry)
        return carry

    @property
    def variables(self) -> Params:
        """The newest variables."""
        return self._stacked.variables_of(self._place)
