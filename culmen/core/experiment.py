"""An experiment: everything that affects the numbers. The launcher decides where and how it runs."""

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from types import MappingProxyType
from typing import Annotated
from typing import Any
from typing import TypeAlias

import dm_env

from culmen.core.agent import Agent
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.checks import check_types
from culmen.core.errors import SettingTypeError

EnvironmentFactory = Callable[[int], dm_env.Environment]


@dataclass(frozen=True)
class NamedEnvironment:
    """The name of an environment, with arguments for its family and its wrappers."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, 'arguments', MappingProxyType(dict(self.arguments)))

    def __hash__(self) -> int:
        return hash((self.name, repr(sorted(self.arguments.items()))))

    def __reduce__(self) -> Any:
        return NamedEnvironment, (self.name, dict(self.arguments))


# One environment of an experiment.
AnyEnvironment: TypeAlias = str | NamedEnvironment | EnvironmentFactory


def environment(name: str, **arguments: Any) -> NamedEnvironment:
    """Names an environment: `culmen.environment('atari/pong', frame_stack=4)`.

    Nothing is built or imported here; `culmen list environments` shows the names.
    """
    return NamedEnvironment(name, arguments)


@dataclass(frozen=True)
class Evaluation:
    """When the evaluator runs, with its own environments, lanes and keys."""

    # Actor steps between evaluations; None: at the end only.
    every: Annotated[int | None, Range(1)] = None
    episodes: Annotated[int, Range(1)] = 20
    # Episodes are truncated after this many steps; None: never. (The default is Atari's limit in frames.)
    max_steps: Annotated[int | None, Range(1)] = 108_000
    # Arguments of the environment that replace those of training.
    environment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, 'Evaluation.')
        object.__setattr__(self, 'environment', MappingProxyType(dict(self.environment)))

    def __hash__(self) -> int:
        arguments = repr(sorted(self.environment.items()))
        return hash((self.every, self.episodes, self.max_steps, arguments))

    def __reduce__(self) -> Any:
        arguments = dict(self.environment)
        return Evaluation, (self.every, self.episodes, self.max_steps, arguments)


@dataclass(frozen=True)
class Checkpoint:
    """When a run is saved, and how many saves are kept."""

    every: Annotated[int, Range(1)] = 10_000  # actor steps
    keep: Annotated[int, Range(2)] = 2  # if the newest is damaged, the one before it is used

    def __post_init__(self) -> None:
        check_fields(self, 'Checkpoint.')


@dataclass(frozen=True)
class Experiment:
    """An agent in an environment, for a budget.

    `environment` is a name, `culmen.environment(name, ...)`, or a callable seed -> dm_env.Environment; or a
    tuple of these, with the same specs: lane i (over all actors) has environment i modulo their number.
    """

    agent: Agent
    environment: AnyEnvironment | tuple[AnyEnvironment, ...]
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    max_actor_steps: Annotated[int | None, Range(1)] = None  # one budget is needed
    max_learner_steps: Annotated[int | None, Range(1)] = None
    num_environments: Annotated[int, Range(1)] = 1  # lanes of an actor
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    # A workdir whose training state begins this run: all of it, or only 'WORKDIR:PATH,PATH' or
    # 'WORKDIR:HERE=THERE' (culmen/launchers/initial.py).
    initial: str | None = None
    # Calls of the learner between a draw and the hand-off of its results.
    lag: Annotated[int, Range(0)] = 1
    # Samples that are drawn together and scanned in one compiled call.
    updates_per_call: Annotated[int, Range(1)] = 1

    def __post_init__(self) -> None:
        if not callable(getattr(self.agent, 'build', None)) or isinstance(self.agent, type):
            raise SettingTypeError(
                f'Experiment.agent must be an agent (an instance with build), got {self.agent!r}.'
            )
        check_fields(self, 'Experiment.')
        if self.environment == ():
            raise ValueError('Experiment.environment must hold one environment at least, got ().')
        if self.max_actor_steps is None and self.max_learner_steps is None:
            raise ValueError(
                'Experiment needs max_actor_steps or max_learner_steps, got None for both.'
            )

    @property
    def environments(self) -> tuple[AnyEnvironment, ...]:
        """The environments: one, or all those of the tuple."""
        return self.environment if isinstance(self.environment, tuple) else (self.environment,)
