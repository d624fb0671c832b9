"""Pictures of environments, for videos: [H, W, 3] uint8, without a display."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dm_env
import numpy as np


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
