"""A row's agent with each of its programs compiled once, for all suites that ask about it.

The tests of a row run one after another in one process (tests/conftest.py groups them), so the newest
subject alone is kept.
"""

from typing import Any

import jax

from culmen.components.actors import Actor
from culmen.components.dispatch import Contexts
from culmen.components.dispatch import unpack_context
from culmen.components.learners import Learner
from culmen.core.types import Lanes
from tests.agents import streams
from tests.agents.registry import Row

LANES = 4
SEED = 5


class Subject:
    """What the suites ask of one row."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.parts = row.agent.build(row.spec)
        learner = self.parts.learner
        self._update = jax.jit(
            lambda state, sample, packed: learner.update(state, sample, unpack_context(packed))
        )
        self._acts = {
            role: jax.jit(_act_of(getattr(self.parts, role))) for role in ('actor', 'evaluator')
        }
        self.state = jax.jit(learner.init)(jax.random.key(0))
        self.params = learner.variables(self.state)
        drawing = streams.draw(row, self.parts, self.params, self._acts['actor'], LANES)
        self._drawn: tuple[list[Any], Any] = [], drawing

    def update(self, state: Any, sample: Any, *counts: int) -> Any:
        """The update in the Context of these counts -> (training state, metrics, priorities)."""
        return self._update(state, sample, streams.packed(*counts or (0,)))

    def lowered_update(self, *inputs: Any) -> Any:
        """The update of (training state, sample, packed context), lowered for where these are."""
        return self._update.lower(*inputs)

    def act(self, role: str, params: Any, timestep: Any, state: Any, *counts: int) -> Any:
        """One call of a policy -> (action, state, extras)."""
        return self._acts[role](params, timestep, state, streams.packed(*counts))

    def init(self, role: str, lanes: Lanes | None = None) -> Any:
        """The state that a policy begins with; without `lanes` of LANES lanes."""
        return getattr(self.parts, role).init(jax.random.key(0), lanes or streams.lanes(LANES))

    def samples(self, num: int = 3) -> tuple[Any, ...]:
        """The first samples of the row's own experience."""
        return streams.first(num, *self._drawn)

    def learner(self, table: Any, **options: Any) -> Learner:
        """A learner that draws from this table."""
        return Learner(self.parts.learner, table, seed=SEED, **options)

    def worker(self, role: str, learner: Any, lanes: int = LANES) -> Actor:
        """The worker of a policy that reads a learner's variables."""
        core = getattr(self.parts, role)
        return Actor(core, learner, streams.lanes(lanes), Contexts(0, 'actor', 0), 1)


def _act_of(core: Any) -> Any:
    return lambda params, timestep, state, packed: core.select_action(
        params, timestep, state, unpack_context(packed)
    )


_NEWEST: list[Subject] = []


def of(row: Row) -> Subject:
    """The subject of a row."""
    if not (_NEWEST and _NEWEST[0].row is row):
        forget()
        _NEWEST.append(Subject(row))
    return _NEWEST[0]


def forget() -> None:
    """Lets go of what was compiled and drawn for the newest row."""
    _NEWEST.clear()
    streams.forget()
