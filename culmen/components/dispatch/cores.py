"""The cores of the machine that are ours to use."""

import os


def usable_cores() -> list[int]:
    """The processor's cores that this process may use, by number."""
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
