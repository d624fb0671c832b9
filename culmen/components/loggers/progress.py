"""Shows the progress of a run: a bar in a terminal, one line in a notebook, plain lines elsewhere."""

import importlib
import sys
import time
from typing import Any
from typing import Protocol
from typing import TextIO


class Display(Protocol):
    """A place to show progress."""

    seconds: float  # between two calls of `show`

    def show(self, done: int, total: int | None, text: str) -> None:
        """Shows the state so far."""
        ...

    def close(self) -> None:
        """Ends the display; what it shows stays."""
        ...


class Progress:
    """Shows the progress of a run. Most calls of `update` only check the clock.

    progress = Progress(total=20_000)
    progress.update(120, learner_steps=20, steps_per_second=900.0, episode_return=1.0)
    progress.close()
    """

    def __init__(self, total: int | None, display: Display | None) -> None:
        """Args:
        total: actor steps of the whole run; None: no bound.
        display: where to show it; None: nowhere.
        """
        self._total = total
        self._display = display
        self._last: tuple[int, int, float, float | None, float | None, str | None] | None = None
        self._next = _NEVER if display is None else 0.0

    def update(
        self,
        actor_steps: int,
        learner_steps: int = 0,
        steps_per_second: float = 0.0,
        episode_return: float | None = None,
        evaluation_return: float | None = None,
        evaluating: str | None = None,
    ) -> None:
        """Receives the state of the run, and shows it if it is time.

        Args:
            actor_steps, learner_steps: so far.
            steps_per_second: recent speed.
            episode_return: of the last training episode.
            evaluation_return: mean return of the last evaluation.
            evaluating: progress of an evaluation that takes long.
        """
        self._last = (
            actor_steps,
            learner_steps,
            steps_per_second,
            episode_return,
            evaluation_return,
            evaluating,
        )
        if time.monotonic() >= self._next:
            self._show()

    def close(self) -> None:
        """Shows the last state and closes the display; later updates do nothing."""
        if self._display is not None:
            if self._last is not None:
                self._show()
            self._display.close()
        self._display, self._next = None, _NEVER

    def _show(self) -> None:
        assert self._display is not None
        assert self._last is not None
        steps, updates, speed, episode, evaluation, evaluating = self._last
        parts = [f'{updates:,} updates'] if updates else []
        if speed:
            parts.append(f'{speed:,.0f} steps/s')
        if episode is not None:
            parts.append(f'return {episode:.4g}')
        if evaluation is not None:
            parts.append(f'evaluation {evaluation:.4g}')
        if evaluating is not None:
            parts.append(evaluating)
        self._display.show(steps, self._total, ', '.join(parts))
        self._next = time.monotonic() + self._display.seconds


_NEVER = float('inf')


class LineDisplay:
    """A plain line every few seconds, for files and pipes."""

    seconds = 5.0

    def __init__(self, stream: TextIO | None = None) -> None:
        """Args: stream: where to print; standard error by default."""
        self._stream = stream

    def show(self, done: int, total: int | None, text: str) -> None:
        """Prints a line."""
        print(_line(done, total, text), file=self._stream or sys.stderr, flush=True)

    def close(self) -> None:
        """Does nothing: the lines stay."""


class TerminalDisplay:
    """A bar in a terminal."""

    seconds = 0.1

    def __init__(self, console: Any = None) -> None:
        """Args: console: a rich console; standard error by default."""
        from rich import progress
        from rich.console import Console

        # No refreshing thread: `show` is called often enough.
        self._bar = progress.Progress(
            progress.BarColumn(bar_width=30),
            progress.TaskProgressColumn(),
            progress.TextColumn('{task.fields[steps]}'),
            progress.TimeRemainingColumn(),
            progress.TextColumn('{task.fields[text]}'),
            console=console or Console(stderr=True),
            auto_refresh=False,
        )
        self._task: Any = None

    def show(self, done: int, total: int | None, text: str) -> None:
        """Redraws the bar."""
        steps = f'{done:,}' + (f'/{total:,}' if total is not None else '')
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task('', total=total, steps=steps, text=text)
        self._bar.update(self._task, completed=done, total=total, steps=steps, text=text)
        self._bar.refresh()

    def close(self) -> None:
        """Releases the terminal."""
        self._bar.stop()


class NotebookDisplay:
    """One line below the cell, which is overwritten."""

    seconds = 0.5

    def __init__(self) -> None:
        """Shows nothing yet."""
        self._handle: Any = None

    def show(self, done: int, total: int | None, text: str) -> None:
        """Overwrites the line."""
        display = importlib.import_module('IPython.display').display
        bundle = {'text/plain': _line(done, total, text)}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def close(self) -> None:
        """Does nothing: the line stays."""


def _line(done: int, total: int | None, text: str) -> str:
    count = f'{done:,}' if total is None else f'{done:,}/{total:,} ({done / total:.0%})'
    return f'{count}  {text}'.rstrip()


def make_progress(show: bool | None, total: int | None) -> Progress:
    """Makes a Progress with the display that fits the environment.

    Args:
        show: False shows nothing; None and True choose a line in a notebook, a bar in a terminal, or
            plain lines to standard error.
        total: actor steps of the whole run; None: no bound.
    """
    return Progress(total, None if show is False else _choose_display())


def _choose_display() -> Display:
    # A process of a notebook has imported IPython.
    ipython = sys.modules.get('IPython')
    shell = None if ipython is None else ipython.get_ipython()
    if hasattr(shell, 'kernel'):
        return NotebookDisplay()
    if sys.stderr.isatty():
        return TerminalDisplay()
    return LineDisplay()
