"""Progress in a terminal, in a notebook and in plain lines; it costs next to nothing."""

import io
import sys
import threading
import types

from rich.console import Console

from culmen.components.loggers import LineDisplay
from culmen.components.loggers import Progress
from culmen.components.loggers import TerminalDisplay
from culmen.components.loggers import make_progress


def test_plain_lines_where_there_is_no_terminal(capsys):
    progress = make_progress(None, total=20_000)
    for step in range(1, 1201):
        progress.update(step, step - 1, 8431.2, 0.5, None)
    progress.update(20_000, 19_000, 8431.2, 0.5, 0.95)
    progress.close()
    progress.update(20_001)
    assert capsys.readouterr().err.splitlines() == [
        '1/20,000 (0%)  8,431 steps/s, return 0.5',
        '20,000/20,000 (100%)  19,000 updates, 8,431 steps/s, return 0.5, evaluation 0.95',
    ]


def test_false_is_silent(capfd):
    progress = make_progress(False, total=10)
    progress.update(5)
    progress.close()
    assert capfd.readouterr() == ('', '')


def test_a_bar_in_a_terminal_without_a_thread():
    stream = io.StringIO()
    threads = set(threading.enumerate())
    display = TerminalDisplay(Console(file=stream, force_terminal=True, width=120))
    progress = Progress(200, display)
    progress.update(50, 40, 1000.0, 1.5, None)
    assert set(threading.enumerate()) <= threads
    progress.update(100, 90, 1000.0, 2.5, None)
    progress.close()
    text = stream.getvalue()
    assert '25%' in text  # the first show
    assert '100/200' in text  # and the last, on closing
    assert 'return 2.5' in text
    assert text.rstrip('\n').endswith('\x1b[?25h')  # the cursor is given back


def test_an_unknown_total_is_shown_as_a_count():
    stream = io.StringIO()
    progress = Progress(None, LineDisplay(stream))
    progress.update(1234)
    progress.close()
    assert stream.getvalue() == '1,234\n1,234\n'


def test_one_line_in_a_notebook_is_written_anew(monkeypatch):
    shown = []

    class Handle:
        def update(self, bundle, raw):
            shown.append(('update', bundle['text/plain']))

    def display(bundle, raw, display_id):
        shown.append(('display', bundle['text/plain']))
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    ipython = types.ModuleType('IPython')
    ipython.get_ipython = lambda: shell
    ipython.display = types.ModuleType('IPython.display')
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, 'IPython', ipython)
    monkeypatch.setitem(sys.modules, 'IPython.display', ipython.display)
    progress = make_progress(None, total=10)
    progress.update(1)
    progress.update(10)
    progress.close()
    assert shown == [('display', '1/10 (10%)'), ('update', '10/10 (100%)')]
