"""Environments of the registry's specs, for whole runs: random observations, episodes of three steps."""

from culmen.components.environments import functional
from tests.agents import registry
from tests.agents.test_scan import RandomEnvironment


class Toy(RandomEnvironment):
    """A JaxEnvironment of any spec: episodes of three steps; the reward is the time in them."""

    def spec(self):
        return self._spec


# One object each, so that its steps are compiled once.
DISCRETE, LEGAL, CONTINUOUS, BOX = map(
    Toy,
    (
        registry.discrete_spec(),
        registry.legal_spec(),
        registry.continuous_spec(),
        registry.box_spec(),
    ),
)


def discrete(seed):
    return functional.DmEnvironment(DISCRETE, seed)


def legal(seed):
    return functional.DmEnvironment(LEGAL, seed)


def continuous(seed):
    return functional.DmEnvironment(CONTINUOUS, seed)


def box(seed):
    return functional.DmEnvironment(BOX, seed)


def of(row):
    """The environment, seed -> dm_env.Environment, that a row's agent is for."""
    for make in (discrete, legal, continuous, box):
        if repr(make(0).functions.spec()) == repr(row.spec):
            return make
    raise LookupError(f'no environment has the spec of {row.name}')
