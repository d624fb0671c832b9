"""The start of a node's process: `python -I -S entry.py LAUNCHER COMMAND...` becomes the command.

A launcher may be killed in the seconds that its nodes take to import. So the first step is to ask the
kernel to end this process together with the launcher, which stays in force after `exec`. The next is to
check that the launcher still lives. (The kernel watches the thread that started this process; that thread
lives until this process ends.) This file runs as a script, and imports as little as it can.
"""

import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def main() -> None:
    """Becomes the command, or ends if the launcher is gone."""
    launcher, command = int(sys.argv[1]), sys.argv[2:]
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # not on this system: the node checks for its launcher from time to time
    if os.getppid() == launcher:
        os.execv(command[0], command)
    sys.exit(1)


if __name__ == '__main__':
    main()
