"""What every launcher does if a checkpoint is damaged, does not fit, or has lost rows."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from culmen.components.checkpointing import DamagedCheckpointError
from culmen.components.checkpointing import Saved
from culmen.components.files import DamagedError
from culmen.components.files import UntrustedError
from culmen.launchers.results import Refused


@contextlib.contextmanager
def refusing_checkpoints() -> Iterator[None]:
    """Turns the error of a checkpoint that can't be resumed into a refusal: nothing has been changed."""
    try:
        yield
    except (DamagedError, UntrustedError) as error:
        raise Refused(str(error)) from error


@contextlib.contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Turns errors about content that does not fit into a DamagedCheckpointError that names `path`."""
    try:
        yield
    except DamagedError:
        raise
    except Exception as error:
        text = ' '.join(str(error).split()).rstrip('.')
        what = text if isinstance(error, ValueError) else f'{type(error).__name__}: {text}'
        raise DamagedCheckpointError(f'{path} does not fit this experiment: {what}.') from error


def tell_losses(path: Path, saved: Saved, dropped: int) -> None:
    """Warns of what a checkpoint has lost since it was written. Args: dropped: how many items."""
    if saved.losses:
        warnings.warn(
            f'{" ".join(saved.losses)} {path} is used without: {dropped} items of the replay needed '
            f'these rows and are dropped; learner, counts and logs are whole. on_lost_rows refuse '
            f'(--on-lost-rows refuse) refuses such a checkpoint.',
            stacklevel=2,
        )
