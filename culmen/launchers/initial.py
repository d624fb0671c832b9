"""The training state of another run with which a run begins: `Experiment.initial`.

    runs/a                              its whole training state: parameters, optimisers, statistics
    runs/a:params/policy,params/torso   subtrees of it; the rest begins as it would
    runs/a:teacher=params               a subtree of it, put at another path

Paths are those of the leaves of the training state, joined by '/'. Only arrays of the other run are read: no
pickle is opened, and none of its code is imported.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

import jax
from numpy.typing import NDArray

from culmen.components.checkpointing import Checkpointer
from culmen.components.files import expanded
from culmen.core.experiment import Experiment
from culmen.core.specs import leaf_paths
from culmen.core.types import LearnerCore
from culmen.launchers.restoring import fitting
from culmen.launchers.workdir import CHECKPOINTS
from culmen.launchers.workdir import CONFIG
from culmen.launchers.workdir import RunState

Leaves = dict[str, NDArray[Any]]  # by path

_MOST_NAMED = 20  # leaves in an error
_TREE = 'training_state'


class Initial(NamedTuple):
    """`Experiment.initial`, taken apart."""

    folder: Path  # of the other run
    subtrees: tuple[tuple[str, str], ...]  # (path here, path there); (): everything


def parse(text: str) -> Initial:
    """Takes apart a text such as 'runs/a:params/policy'. The name of an existing folder may hold a colon.

    Raises: ValueError that says what is accepted.
    """
    folder, colon, names = text.rpartition(':')
    if not colon or expanded(text).exists():
        folder, names = text, ''
    subtrees = []
    for name in names.split(',') if names else ():
        here, equals, there = name.strip().partition('=')
        subtrees.append((here, there if equals else here))
    bad = (colon and not names and folder != text) or any('' in pair for pair in subtrees)
    if not folder or bad:
        raise ValueError(
            f'initial must be WORKDIR, WORKDIR:PATH,PATH or WORKDIR:HERE=THERE, with paths of its '
            f'training state such as params/policy, got {text!r}.'
        )
    return Initial(expanded(folder), tuple(subtrees))


def read_initial(
    experiment: Experiment, learner: LearnerCore, *, resumed: bool = False
) -> Leaves | None:
    """The leaves with which a run's training state begins in place of its own.

    Args:
        experiment: what is run.
        learner: of its agent.
        resumed: whether the run has a checkpoint of its own, which alone counts then.
    Returns: arrays by path of the training state; None: it begins as the agent says.
    Raises: ValueError that names the folder and what is wrong with it, or each leaf that does not fit;
        DamagedError (a ValueError) that names a file.
    """
    if experiment.initial is None or resumed:
        return None
    folder, subtrees = parse(experiment.initial)
    saved = _read(folder)
    template = leaf_paths(jax.eval_shape(learner.init, jax.random.key(0)))
    wanted = {path: (tuple(leaf.shape), leaf.dtype) for path, leaf in template}
    taken, misfits = {}, []
    for here, there in subtrees or (('', ''),):
        theirs = dict(_below(saved, there))
        ours = dict(_below(wanted, here))
        if subtrees and not (theirs and ours):
            misfits.append(
                f'{there} is no path of its training state, {sorted(saved)}'
                if not theirs
                else f'{here} is no path of this training state, {sorted(wanted)}'
            )
            continue
        misfits += _misfits(ours, theirs, here)
        taken.update({_join(here, rest): array for rest, array in theirs.items()})
    if misfits:
        more = len(misfits) - _MOST_NAMED
        raise ValueError(
            f'initial {experiment.initial} does not fit the training state of this agent: '
            f'{"; ".join(misfits[:_MOST_NAMED])}{f"; and {more} more" if more > 0 else ""}. '
            f'WORKDIR:PATH,PATH takes only some of it.'
        )
    return taken


def _read(folder: Path) -> Leaves:
    """The newest training state of a run, by path."""
    if not (folder / CONFIG).exists():
        raise ValueError(f'initial: {folder} holds no run: there is no {CONFIG}.')
    try:
        saved = Checkpointer(folder / CHECKPOINTS).read_newest()
    except FileNotFoundError as error:
        raise ValueError(f'initial: {error}') from error
    with fitting(folder / CHECKPOINTS / saved.name):
        learner = RunState.from_dict(saved.state).workers.learner
        if _TREE in learner:
            return dict(learner[_TREE])
        return dict(_below(learner['carry'], _TREE))  # of a compiled run


def _below(leaves: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """The leaves at a path and below it, by the rest of their paths."""
    for name, leaf in leaves.items():
        if not path or name == path or name.startswith(f'{path}/'):
            yield name[len(path) :].lstrip('/') if path else name, leaf


def _join(path: str, rest: str) -> str:
    return '/'.join(each for each in (path, rest) if each)


def _misfits(ours: Mapping[str, Any], theirs: Leaves, here: str) -> Iterator[str]:
    """A sentence about each leaf that differs. Args: here: the path of the subtree in this state."""
    for rest, (shape, dtype) in ours.items():
        name = _join(here, rest) or 'its only leaf'
        wanted = f'{dtype}{[*shape]}'
        if rest not in theirs:
            yield f'{name} must be {wanted}, got nothing'
        elif theirs[rest].shape != shape or theirs[rest].dtype != dtype:
            yield f'{name} must be {wanted}, got {theirs[rest].dtype}{[*theirs[rest].shape]}'
    for rest in theirs:
        if rest not in ours:
            yield f'{_join(here, rest) or "its only leaf"} is unknown here'
