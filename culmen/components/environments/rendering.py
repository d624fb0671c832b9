"""Pictures of environments, for videos: [H, W, 3] uint8, without a display."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dm_env
import numpy as np

from culmen.components.environments import arguments

_COLOURS = np.array(
    [
        [0, 0, 0], [230, 80, 60], [80, 160, 240], [240, 200, 60], [110, 200, 110], [190, 110, 220],
        [240, 140, 60], [90, 210, 210], [220, 220, 220], [150, 120, 90], [230, 120, 170],
    ],
    np.uint8,
)  # fmt: skip
_CANVAS = 480, 640  # height and width of words
_CELL = 20, 11  # of a letter


def render(environment: dm_env.Environment) -> np.ndarray[Any, Any]:
    """Draws the environment in its current state.

    Returns: uint8[H, W, 3].
    Raises: ValueError that says why nothing can be drawn and, for MuJoCo without a display, which
        variable of the process to set before it starts.
    """
    draw = getattr(environment, 'render', None)
    if not callable(draw):
        raise ValueError(
            f'{type(environment).__name__} has no method render() and can not be drawn.'
        )
    inner = environment
    while isinstance(getattr(inner, 'environment', None), dm_env.Environment):
        inner = inner.environment
    with _without_display():
        try:
            frame = draw()
        except ValueError:
            raise
        except (Exception, SystemExit) as error:  # OpenGL's bindings raise errors of many kinds
            raise ValueError(
                f'{type(inner).__name__} could not be drawn: {type(error).__name__}: '
                f'{error}. Without a display, MuJoCo needs MUJOCO_GL=egl (or osmesa) in the '
                'variables of the process before it starts, and pygame SDL_VIDEODRIVER=dummy.'
            ) from error
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
        raise ValueError(f'a picture must be uint8[H, W, 3], got {frame.dtype}{list(frame.shape)}.')
    return frame


def has_display() -> bool:
    """Whether this process can open a window."""
    return not sys.platform.startswith('linux') or bool(
        os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    )


@contextmanager
def _without_display() -> Iterator[None]:
    """Without a display, pygame opens neither a window nor a sound device, and MuJoCo uses EGL."""
    if has_display():
        yield
        return
    wanted = {'SDL_VIDEODRIVER': 'dummy', 'SDL_AUDIODRIVER': 'dummy', 'MUJOCO_GL': 'egl'}
    added = [name for name in wanted if name not in os.environ]
    os.environ.update({name: wanted[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def enlarge(picture: np.ndarray[Any, Any], size: int = 160) -> np.ndarray[Any, Any]:
    """Enlarges a small picture, [H, W, 3], by whole pixels, so that its shorter side gets about `size`."""
    factor = max(1, size // max(1, min(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def write(text: str, environment: str) -> np.ndarray[Any, Any]:
    """Words as a picture, uint8[480, 640, 3]: letters of one width, shrunk where they are many.

    Args: text: lines; what is not ASCII is shown as '?'. environment: what errors call it.
    Raises: MissingPackage without OpenCV, which draws the letters.
    """
    cv2 = arguments.load('cv2', environment, 'opencv-python-headless')
    plain = re.sub(r'\x1b\[[0-9;]*m', '', text)  # without colours of a terminal
    lines = plain.encode('ascii', 'replace').decode().expandtabs(4).splitlines() or ['']
    height, width = _CELL
    rows, columns = len(lines) + 1, max(map(len, lines)) + 2
    page = np.full((rows * height, columns * width, 3), 245, np.uint8)
    for row, line in enumerate(lines):
        for column, letter in enumerate(line):
            corner = (column + 1) * width, (row + 1) * height
            cv2.putText(
                page, letter, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA
            )
    shrink = min(1.0, _CANVAS[0] / page.shape[0], _CANVAS[1] / page.shape[1])
    if shrink < 1:
        size = max(1, int(page.shape[1] * shrink)), max(1, int(page.shape[0] * shrink))
        page = cv2.resize(page, size, interpolation=cv2.INTER_AREA)
    canvas = np.full((*_CANVAS, 3), 245, np.uint8)
    canvas[: page.shape[0], : page.shape[1]] = page
    return canvas


def draw_planes(planes: Any) -> np.ndarray[Any, Any]:
    """A board of planes as a picture: a square has the colour of its last plane that is not 0.

    Args: planes: [H, W, C], one plane [H, W], or a row of numbers [W]. Colours repeat after ten planes.
    Returns: uint8[height, width, 3].
    """
    board = np.asarray(planes) != 0
    if board.ndim < 3:
        board = np.atleast_2d(board)[..., None]
    channel = np.max(board * (np.arange(board.shape[-1]) + 1), axis=-1)
    colour = np.where(channel == 0, 0, (channel - 1) % (len(_COLOURS) - 1) + 1)
    return enlarge(_COLOURS[colour])
