"""Recurrent cores: LSTM and GRU, a step at a time for actors, over whole windows for learners.

A core belongs to a Haiku transform, though `unroll` runs any function. The caller carries its state, a tree
of arrays [B, ...], which is zeros where an episode begins. Actors store the state that *entered* a step, so a
window is unrolled from the state of its first step; within the window the state is reset at each FIRST.
"""

from typing import Any
from typing import Literal

import haiku as hk
import jax
import jax.numpy as jnp

from culmen.core.types import FIRST
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import State

Kind = Literal['lstm', 'gru']


def make_core(kind: Kind, hidden_size: int) -> hk.RNNCore:
    """A core: (inputs [B, D], state) -> (outputs [B, hidden_size], state). Inside a transform."""
    return {'lstm': hk.LSTM, 'gru': hk.GRU}[kind](hidden_size)


def initial_state(kind: Kind, hidden_size: int, batch_size: int) -> State:
    """The state of a new episode: zeros, leaves [batch_size, hidden_size]. Inside a transform or out."""
    zeros = jnp.zeros((batch_size, hidden_size), jnp.float32)
    return hk.LSTMState(zeros, zeros) if kind == 'lstm' else zeros


def unroll(
    core: Any, inputs: Nest, step_type: Array, state: State, reset_state: State | None = None
) -> tuple[Any, State]:
    """Runs a core over windows and resets its state where an episode begins.

    Args:
        core: (inputs [B, ...], state) -> (outputs [B, ...], state), with trees of arrays: a Haiku core inside
            its transform, or any pure function, there or elsewhere.
        inputs: a tree of [B, T, ...].
        step_type: int32[B, T].
        state: that entered the first step; leaves [B, ...].
        reset_state: of a new episode; None: zeros.
    Returns: (outputs, leaves [B, T, ...], the state after the last step).
    """
    begin = jax.tree_util.tree_map(jnp.zeros_like, state) if reset_state is None else reset_state

    def step(inputs: Any, state: State) -> tuple[Any, State]:
        inputs, first = inputs

        def select(new: Array, old: Array) -> jax.Array:
            return jnp.where(first.reshape(first.shape + (1,) * (old.ndim - 1)), new, old)

        return core(inputs, jax.tree_util.tree_map(select, begin, state))

    sequence = (inputs, jnp.asarray(step_type) == FIRST)
    time_first = jax.tree_util.tree_map(lambda leaf: jnp.swapaxes(leaf, 0, 1), sequence)
    outputs, state = hk.dynamic_unroll(step, time_first, state)
    return jax.tree_util.tree_map(lambda leaf: jnp.swapaxes(leaf, 0, 1), outputs), state
