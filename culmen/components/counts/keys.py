"""Seeds as functions of (seed, role, counts), so that a resumed run needs counts alone."""

from typing import Final
from typing import Literal

import numpy as np

Role = Literal['init', 'actor', 'evaluator', 'learner', 'table', 'environment', 'evaluation']
_ROLES: Final[tuple[str, ...]] = (
    'init', 'actor', 'evaluator', 'learner', 'table', 'environment', 'evaluation'
)  # fmt: skip


def number(role: Role) -> int:
    """The number of a role: part of what every key is made from."""
    return _ROLES.index(role)


def fold_seed(seed: int, role: Role, *counts: int) -> int:
    """A seed in [0, 2^31) of its own for each (seed, role, counts)."""
    sequence = np.random.SeedSequence((seed, number(role), *counts))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)
