"""The first moments of a node's process: `python -I -S entry.py LAUNCHER COMMAND...` becomes the command.

A launcher may be killed while its nodes are still importing, for seconds. So before anything else the kernel
is asked to end this process with the launcher, which lasts over `exec`; a launcher that went before that is
missed here. (The kernel goes by the thread that started this process, which watches it to its end.) Runs as a
script, and imports as little as it can.
"""

import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def main() -> None:
    """Becomes the command, or ends where the launcher has gone."""
    launcher, command = int(sys.argv[1]), sys.argv[2:]
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # not on this system: the node looks for its launcher from time to time
    if os.getppid() == launcher:
        os.execv(command[0], command)
    sys.exit(1)


if __name__ == '__main__':
    main()
