"""Seeds as functions of (seed, role, counts), so that a resumed run needs only its counts."""

from typing import Final
from typing import Literal

import numpy as np

Role = Literal['init', 'actor', 'evaluator', 'learner', 'table', 'environment', 'evaluation']
_ROLES: Final[tuple[str, ...]] = (
    'init', 'actor', 'evaluator', 'learner', 'table', 'environment', 'evaluation'
)  # fmt: skip


def number(role: Role) -> int:
    """The number of a role, which is part of every seed."""
    return _ROLES.index(role)


def fold_seed(seed: int, role: Role, *counts: int) -> int:
    """A separate seed in [0, 2^31) for each (seed, role, counts)."""
    sequence = np.random.SeedSequence((seed, number(role), *counts))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)
