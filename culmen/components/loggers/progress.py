"""How far a run is: a bar in a terminal, one line in a notebook, plain lines elsewhere."""

import importlib
import sys
import time
from typing import Any
from typing import Protocol
from typing import TextIO


class Display(Protocol):
    """Where progress is shown."""

    seconds: float  # between two shows

    def show(self, done: int, total: int | None, text: str) -> None:
        """Shows the state so far."""
        ...

    def close(self) -> None:
        """Leaves the last state where it is."""
        ...


class Progress:
    """Shows how far a run is. `update` looks at the clock and, mostly, does no more.

    progress = Progress(total=20_000)
    progress.update(120, learner_steps=20, steps_per_second=900.0, episode_return=1.0)
    progress.close()
    """

    def __init__(self, total: int | None, display: Display | None) -> None:
        """Args:
        total: actor steps of the whole run; None where they have no bound.
        display: where to; None shows nothing.
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
        """Takes where the run is, and shows it if it is time.

        Args:
            actor_steps, learner_steps: so far.
            steps_per_second: of late.
            episode_return: of the last training episode.
            evaluation_return: of the last evaluation, its mean.
            evaluating: how far an evaluation is that takes long.
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
        """Shows the last state and lets go of the display; later updates do nothing."""
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
        """Args: stream: where to; standard error by default."""
        self._stream = stream

    def show(self, done: int, total: int | None, text: str) -> None:
        """Prints a line."""
        print(_line(done, total, text), file=self._stream or sys.stderr, flush=True)

    def close(self) -> None:
        """The lines stand as they are."""


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
        """Draws the bar anew."""
        steps = f'{done:,}' + (f'/{total:,}' if total is not None else '')
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task('', total=total, steps=steps, text=text)
        self._bar.update(self._task, completed=done, total=total, steps=steps, text=text)
        self._bar.refresh()

    def close(self) -> None:
        """Gives the terminal back."""
        self._bar.stop()


class NotebookDisplay:
    """One line below the cell, written anew."""

    seconds = 0.5

    def __init__(self) -> None:
        """The line appears at the first show."""
        self._handle: Any = None

    def show(self, done: int, total: int | None, text: str) -> None:
        """Writes the line anew."""
        display = importlib.import_module('IPython.display').display
        bundle = {'text/plain': _line(done, total, text)}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def close(self) -> None:
        """The line stands as it is."""


def _line(done: int, total: int | None, text: str) -> str:
    count = f'{done:,}' if total is None else f'{done:,}/{total:,} ({done / total:.0%})'
    return f'{count}  {text}'.rstrip()


def make_progress(show: bool | None, total: int | None) -> Progress:
    """Progress where it is read best.

    Args:
        show: False shows nothing; None and True choose a notebook's cell, a terminal's bar, or
            plain lines to standard error, whichever there is.
        total: actor steps of the whole run; None where they have no bound.
    """
    return Progress(total, None if show is False else _choose_display())


def _choose_display() -> Display:
    # Whoever runs inside a notebook has imported IPython.
    ipython = sys.modules.get('IPython')
    shell = None if ipython is None else ipython.get_ipython()
    if hasattr(shell, 'kernel'):
        return NotebookDisplay()
    if sys.stderr.isatty():
        return TerminalDisplay()
    return LineDisplay()
