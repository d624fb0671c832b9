"""What a row of tests/shapes says: a small agent that needs one thing of the core that others don't."""

import re
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import culmen
from culmen.core.agent import Agent
from culmen.launchers.results import Result

ASKED = ('local', 'compiled', 'threads')  # a row runs in each of these, or says how it is refused


@dataclass(frozen=True)
class Shape:
    """A small agent, where it runs, and what it must learn there."""

    name: str
    agent: (
        Agent  # a frozen dataclass of a module, so that config.json and other threads can name it
    )
    environment: Any  # as in an Experiment; written in JAX where the row runs compiled
    learns: float  # the mean return of the final evaluation, at least; more than without training
    steps: int = 400  # actor steps; offline: learner steps
    num_environments: int = 2  # lanes of an actor
    num_actors: int = 2  # of the program
    program: Mapping[str, Any] = field(default_factory=dict)  # further options of make_program
    changes: Mapping[str, Any] = field(default_factory=dict)  # further fields of the Experiment
    # Gets a folder of its own, and gives fields of the Experiment: a recording, a workdir to begin from.
    prepare: Callable[[Path], Mapping[str, Any]] | None = None
    launchers: tuple[str, ...] = ASKED  # those that run it; 'offline', where it has no actors
    refused: Mapping[str, str] = field(default_factory=dict)  # launcher: words of its refusal
    # What else a result has to show, given the launcher; it asserts.
    check: Callable[[Result, str], None] | None = None

    def __post_init__(self) -> None:
        left = set(ASKED) - set(self.launchers) - set(self.refused)
        if left:
            raise ValueError(
                f'{self.name} must run in {sorted(left)}, or say how it is refused there'
            )
        for words in self.refused.values():
            re.compile(words)

    def experiment(self, launcher: str, folder: Path) -> culmen.Experiment:
        """Its experiment for a launcher, with evaluations and checkpoints that fall on different steps.

        Args: folder: an empty one, for what `prepare` writes.
        """
        settings: dict[str, Any] = {
            'agent': self.agent,
            'environment': self.environment,
            'seed': 1,
            'evaluation': culmen.Evaluation(every=max(self.steps // 3, 1), episodes=4),
            'checkpoint': culmen.Checkpoint(every=max(self.steps // 7, 1)),
        }
        if launcher == 'offline':
            settings['max_learner_steps'] = self.steps
        else:
            settings['max_actor_steps'] = self.steps
            settings['num_environments'] = self.num_environments
        prepared = {} if self.prepare is None else self.prepare(folder)
        return culmen.Experiment(**{**settings, **self.changes, **prepared})
