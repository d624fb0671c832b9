"""The page of `culmen watch --serve`: HTML that stands alone, with curves as SVG, and its server.

The page is made on this machine and asks for nothing else; it loads itself again while a run is under way.
"""

import html
import http
import http.server
import math
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from culmen.launchers.plots import COLOURS
from culmen.launchers.watching import Points
from culmen.launchers.watching import Seen

HOST = '127.0.0.1'
_REFRESH_SECONDS = 2
_WIDTH, _HEIGHT = 720, 320  # of a figure
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 12, 12, 40  # its margins
_TICKS = 5

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem;
       color: #1b1b1b; background: #fff }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin: 1.5rem 0 0 }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
svg { max-width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: #444 }
"""


def make_page(seen: Sequence[Seen], tables: Sequence[tuple[Sequence[str], Any]]) -> str:
    """The page. Args: seen: the runs; tables: (heads, rows), the first with a row for each run."""
    over = all(each.is_over for each in seen)
    refresh = '' if over else f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">\n'
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(seen))]
    parts = [
        f'<h1>{len(seen)} {"run" if len(seen) == 1 else "runs"}{", all ended" if over else ""}</h1>'
    ]
    for number, (heads, rows) in enumerate(tables):
        parts.append(_table(heads, rows, colours if number == 0 else None))
    for (environment, is_evaluated), places in _by_environment(seen).items():
        curves = [(colours[i], seen[i].returns) for i in places]
        what = 'evaluation return' if is_evaluated else 'training return'
        parts.append(f'<h2>{html.escape(environment)}: {what}</h2>\n{draw(curves)}')
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{refresh}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>culmen watch</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        f'{chr(10).join(parts)}\n</body>\n</html>\n'
    )


def _by_environment(seen: Sequence[Seen]) -> dict[tuple[str, bool], list[int]]:
    """The places of the runs that share a figure."""
    found: dict[tuple[str, bool], list[int]] = {}
    for place, each in enumerate(seen):
        key = str(each.status['environment']), each.is_evaluated
        found.setdefault(key, []).append(place)
    return found


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], colours: Sequence[str] | None
) -> str:
    """A table. Args: colours: of the rows, which are also those of curves."""
    head = ''.join(f'<th>{html.escape(each)}</th>' for each in heads)
    lines = [f'<table>\n<tr>{head}</tr>']
    for number, row in enumerate(rows):
        cells = [html.escape(each) for each in row]
        if colours is not None:
            cells[0] = f'<span style="color:{colours[number]}">&#9632;</span> {cells[0]}'
        lines.append('<tr>' + ''.join(f'<td>{each}</td>' for each in cells) + '</tr>')
    return '\n'.join([*lines, '</table>'])


def draw(curves: Sequence[tuple[str, Points]]) -> str:
    """Returns against steps as SVG. Args: curves: (colour, points) of each."""
    steps = [each for _, points in curves for each in points.steps]
    returns = [each for _, points in curves for each in points.returns]
    if not steps:
        return '<p>No episode has ended yet.</p>'
    across, up = _ticks(0.0, max(steps)), _ticks(min(returns), max(returns))
    (left, right), (low, high) = (0.0, max(max(steps), across[-1])), (up[0], up[-1])

    def x(value: float) -> float:
        return _LEFT + (value - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="Returns">'
    ]
    for tick in up:
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" '
            f'stroke="#e6e6e6"/><text x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" '
            f'text-anchor="end">{tick:,.6g}</text>'
        )
    for tick in across:
        parts.append(
            f'<text x="{x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 18}" '
            f'text-anchor="middle">{tick:,.6g}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">steps</text>')
    for colour, points in curves:
        places = [f'{x(a):.1f},{y(b):.1f}' for a, b in zip(*points, strict=True)]
        if len(places) == 1:
            at_x, at_y = places[0].split(',')
            parts.append(f'<circle cx="{at_x}" cy="{at_y}" r="3" fill="{colour}"/>')
        elif places:
            parts.append(
                f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" '
                f'stroke-width="2"/>'
            )
    return '\n'.join([*parts, '</svg>'])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from one at or below `low` to one at or above `high`; two at least."""
    if low == high:
        low, high = low - 1, high + 1
    rough = (high - low) / _TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(each * size for each in (1, 2, 5, 10) if each * size >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


class PageServer:
    """Serves one page at 127.0.0.1 alone, from a thread. As a context manager it closes the port."""

    def __init__(self, port: int) -> None:
        """Opens the port; 0 means a free one. Raises: ValueError that names a port that is taken."""
        self.page = ''
        server = self

        class Handler(_Handler):
            watched = server

        try:
            self._server = http.server.ThreadingHTTPServer((HOST, port), Handler)
        except OSError as error:
            raise ValueError(
                f'port {port} of {HOST} can not be used: {error.strerror or error}; choose another.'
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f'http://{HOST}:{self.port}/'

    def __enter__(self) -> 'PageServer':
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET / with the page."""

    watched: PageServer

    def do_GET(self) -> None:
        """Gives the page to a browser of this machine that has asked for it by this machine's name."""
        port = self.watched.port
        # A page of another site whose name leads here would have that name.
        if self.headers.get('Host') not in (f'{HOST}:{port}', f'localhost:{port}'):
            self.send_error(http.HTTPStatus.FORBIDDEN)
        elif self.path != '/':
            self.send_error(http.HTTPStatus.NOT_FOUND)
        else:
            content = self.watched.page.encode()
            self.send_response(http.HTTPStatus.OK)
            for name, value in self._headers(len(content)).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    @staticmethod
    def _headers(length: int) -> Mapping[str, str]:
        return {
            'Content-Type': 'text/html; charset=utf-8',
            'Content-Length': str(length),
            'Cache-Control': 'no-store',
            'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'",
        }

    def log_message(self, *_: Any) -> None:
        """Says nothing on the terminal."""
