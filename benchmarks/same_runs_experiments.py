"""The experiments that benchmarks/same_runs_worker.py runs: rows of tests/agents/registry.py on toys."""

import os
import signal
from typing import Any

import jax
import jax.numpy as jnp

import culmen
from tests.agents import registry
from tests.agents import toys

STEPS = 120  # of actors
UPDATES = 60  # of an offline run
DATASETS = ('bc', 'bc_legal_actions', 'bc_continuous', 'bc_multi_binary')


class Paying:
    """A toy of tests/agents/toys.py whose reward depends on the action, so that returns tell of policies."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def spec(self) -> Any:
        return self._inner.spec()

    def reset(self, key: jax.Array) -> Any:
        return self._inner.reset(key)

    def step(self, key: jax.Array, state: Any, action: Any) -> Any:
        state, timestep = self._inner.step(key, state, action)
        leaves = jax.tree_util.tree_leaves(action)
        paid = 0.25 * sum(jnp.mean(jnp.asarray(leaf, jnp.float32)) for leaf in leaves)
        reward = jnp.where(timestep.step_type == 0, 0.0, timestep.reward + paid)
        return state, timestep._replace(reward=reward.astype(jnp.float32))


# One object each, so that its steps are compiled once.
KINDS = ('discrete', 'legal', 'continuous', 'box')
LATER = ('multi_discrete', 'multi_binary', 'hybrid', 'branches')  # an earlier revision has none
PAYING = {
    name: Paying(getattr(toys, name)(0).functions) for name in KINDS + LATER if hasattr(toys, name)
}


def _make(name: str, seed: int) -> Any:
    return type(toys.discrete(0))(PAYING[name], seed)


# Functions of this module, which configs and nodes name.


def discrete(seed: int) -> Any:
    return _make('discrete', seed)


def legal(seed: int) -> Any:
    return _make('legal', seed)


def continuous(seed: int) -> Any:
    return _make('continuous', seed)


def box(seed: int) -> Any:
    return _make('box', seed)


def multi_discrete(seed: int) -> Any:
    return _make('multi_discrete', seed)


def multi_binary(seed: int) -> Any:
    return _make('multi_binary', seed)


def hybrid(seed: int) -> Any:
    return _make('hybrid', seed)


def branches(seed: int) -> Any:
    return _make('branches', seed)


class Stopper:
    """A logger that sends SIGTERM to its own process at the first evaluation."""

    def __init__(self) -> None:
        self._sent = False

    def write(self, label: str, row: Any) -> None:
        if label == 'evaluator' and not self._sent:
            self._sent = True
            os.kill(os.getpid(), signal.SIGTERM)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def experiment(name: str, **changes: Any) -> culmen.Experiment:
    """The short run of a row of the registry."""
    row = registry.of(name)
    settings: dict[str, Any] = {
        'agent': row.agent,
        'environment': globals()[toys.of(row).__name__],
        'max_actor_steps': STEPS,
        'num_environments': 2,
        'seed': 3,
        'evaluation': culmen.Evaluation(every=50, episodes=2),
        'checkpoint': culmen.Checkpoint(every=35),
    }
    if name in DATASETS:
        settings |= {
            'max_actor_steps': None,
            'max_learner_steps': UPDATES,
            'num_environments': 1,
            'evaluation': culmen.Evaluation(every=25, episodes=2),
        }
    return culmen.Experiment(**(settings | changes))
