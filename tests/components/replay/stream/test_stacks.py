"""Whether stacks of frames are what their spec says."""

import numpy as np
import pytest

from culmen.components.replay.stream.row_spec import Leaf
from culmen.components.replay.stream.stacks import StackCheck

LEAF = Leaf('observation', (3, 2, 4), np.dtype(np.uint8), num_frames=4)
LINES = 3


def stack(*frames):
    """[1, 3, 2, 4]: frames of one value each."""
    return np.broadcast_to(np.uint8(frames), (1, 3, 2, 4)).copy()


def play(check, *stacks, first=(0,)):
    for tick, each in enumerate(stacks):
        check(LEAF, tick, np.array([tick in first]), each)


def test_stacks_that_move_by_a_frame_each_step_pass():
    play(StackCheck(), stack(1, 1, 1, 1), stack(1, 1, 1, 2), stack(5, 5, 5, 5), first=(0, 2))


@pytest.mark.parametrize(
    'stacks',
    [
        [stack(1, 1, 1, 2)],  # frames differ at FIRST
        [stack(1, 1, 1, 1), stack(1, 1, 2, 3)],  # moved by two
        [stack(1, 1, 1, 1), stack(3, 1, 1, 2)],
    ],
)
def test_others_are_refused_with_their_tick(stacks):
    with pytest.raises(ValueError, match=f'stack of 4 frames.*at tick {len(stacks) - 1} it is not'):
        play(StackCheck(), *stacks)


def test_a_line_that_is_wrong_is_found_within_as_many_ticks_as_there_are_lines():
    for line in range(LINES):
        wrong = stack(1, 1, 1, 1)
        wrong[:, line, :, 0] = 7
        with pytest.raises(ValueError, match=f'at tick {line + LINES} it is not'):
            play(StackCheck(), *[stack(1, 1, 1, 1)] * LINES, *[wrong] * LINES)


def test_after_a_restart_lanes_within_an_episode_pass():
    check = StackCheck()
    play(check, stack(1, 1, 1, 1))
    check.forget()
    check(LEAF, 9, np.array([False]), stack(2, 3, 4, 5))
    with pytest.raises(ValueError, match='at tick 10'):
        check(LEAF, 10, np.array([False]), stack(2, 3, 4, 5))
