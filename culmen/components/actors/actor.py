"""The actor worker. A loop gives it time steps and gets actions; it has no access to environments."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.counts import fold_seed
from culmen.components.dispatch import Contexts
from culmen.components.dispatch import Layout
from culmen.components.dispatch import Packed
from culmen.components.dispatch import compile_lazily
from culmen.components.dispatch import distinct
from culmen.components.dispatch import unpack_context
from culmen.components.dispatch import unpacked
from culmen.core.rules import total
from culmen.core.specs import check_storable
from culmen.core.types import ActorCore
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import TimeStep
from culmen.core.types import Version
from culmen.core.workers import PackedTree
from culmen.core.workers import VariableSource
from culmen.core.workers import Writer

_SMALL = 1 << 14  # bytes


class Actor:
    """Runs an ActorCore in one compiled call per tick, with NumPy arrays as inputs and outputs.

    Each call gets the actor steps so far and the version of the parameters that act.
    """

    def __init__(
        self,
        core: ActorCore,
        variables: VariableSource,
        lanes: Lanes,
        contexts: Contexts,
        init_seed: int,
        writer: Writer | None = None,
        device: jax.Device | None = None,
    ) -> None:
        """Makes the worker. It fetches its first parameters at the first call.

        Args:
            core: what to run.
            variables: where parameters are read.
            lanes: the lanes of this actor.
            contexts: of this actor's calls.
            init_seed: for the key of the actor's state.
            writer: the table that receives every step; None: no table (evaluation).
            device: where to act; None: where the parameters are, or on the first of several devices.
        """
        self._writer = writer
        self._device = device
        self._version: Version | None = None
        self._learner_steps = 0  # behind the parameters, of all rules
        self._params: Params = None  # of a packed tree the arrays, which cost a call less
        self._layout: Layout | None = None  # of a packed tree
        lane_index = np.asarray(lanes.index, np.int32)
        self.num_lanes = len(lane_index)

        def init(key: jax.Array) -> Any:
            state = core.init(key, Lanes(jnp.asarray(lane_index), lanes.total))
            return distinct(jax.tree_util.tree_map(jnp.asarray, state))

        self._init = jax.jit(init)
        self.restart(variables, contexts, init_seed)
        # A large state may be a memory of episodes, which the call writes in place. JAX copies what it shares
        # with params or with views of NumPy. A small one often stays as it is: then it is not given back.
        leaves = jax.tree_util.tree_leaves(self._state)
        is_small = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) <= _SMALL

        def select_action(params: Any, timestep: TimeStep, state: Any, packed: Any) -> Any:
            params = unpacked(params) if self._layout is None else self._layout.unpack(params)
            action, after, extras = core.select_action(
                params, timestep, state, unpack_context(packed)
            )
            return action, None if is_small and _are_same(state, after) else after, extras

        self._select_action = compile_lazily(select_action, donate_argnums=() if is_small else 2)

    def restart(self, variables: VariableSource, contexts: Contexts, init_seed: int) -> None:
        """Restarts with other variables, contexts and seed. Keeps the compiled functions."""
        self._variables = variables
        self._contexts = contexts
        self._version = None
        self._learner_steps = 0
        self._calls = 0
        self._state = self._place(self._init(jax.random.key(fold_seed(init_seed, 'init', 1))))

    def observe(self, timestep: TimeStep) -> None:
        """Passes a time step of all lanes to the table."""
        if self._writer is not None:
            self._writer.observe(timestep)

    def select_action(self, timestep: TimeStep, actor_steps: int) -> Nest:
        """Acts on a time step of all lanes.

        Args:
            timestep: leaves [B, ...]; the arrays belong to the actor from now on.
            actor_steps: of the training so far.
        Returns: actions, NumPy leaves [B, ...].
        """
        news = self._variables.get_variables(self._version)
        if news is not None:
            self._version, params = news
            self._learner_steps = total(self._version)
            self._set_params(params)
        version = self._version or 0
        packed = self._contexts.pack(self._calls, actor_steps, self._learner_steps)
        action, state, extras = self._select_action(self._params, timestep, self._state, packed)
        if state is not None:
            self._state = state
        self._calls += 1
        action = _fetch(action)
        if self._writer is not None:
            self._writer.act(action, _fetch(extras), version)
        return action

    def _set_params(self, params: Params | PackedTree) -> None:
        layout = params.layout if isinstance(params, Packed) else None
        if self._params is None and self._device is None:
            self._follow(params)
        elif layout is not self._layout:
            self._select_action.clear_cache()  # arrays of these shapes may be another tree now
        self._layout = layout
        self._params = self._place(params.arrays if isinstance(params, Packed) else params)

    @property
    def held(self) -> NDArray[np.bool_] | None:
        """bool[B], after an action: lanes at FIRST that wait, whose environments are not stepped."""
        return None if self._writer is None else self._writer.held

    def _follow(self, params: Params | PackedTree) -> None:
        """Selects the first device on which the learner keeps its parameters.

        The state has to be there before the first call: a policy is compiled for the device of its inputs.
        """
        for leaf in jax.tree_util.tree_leaves(params):
            if isinstance(leaf, jax.Array) and leaf.committed:
                self._device = min(leaf.sharding.addressable_devices, key=lambda device: device.id)
                self._state = self._place(self._state)
                return

    def _place(self, tree: Any) -> Any:
        return tree if self._device is None else jax.device_put(tree, self._device)

    @property
    def core_state(self) -> Any:
        """The core's state before the next call, which takes it over: copy what you want to keep."""
        return self._state

    @property
    def num_compilations(self) -> int:
        """How often the policy was compiled: normally once."""
        return int(self._select_action._cache_size())

    def get_state(self) -> dict[str, Any]:
        """The count of calls and the core's state: arrays and plain values."""
        return {'calls': self._calls, 'state': to_paths(self._state)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the result of `get_state`."""
        self._calls = int(state['calls'])
        restored = from_paths('actor_state', self._state, state['state'])
        self._state = self._place(distinct(restored))


def _are_same(state: Any, after: Any) -> bool:
    """Whether a call, which is being traced, gives its state back as it came."""
    leaves, structure = jax.tree_util.tree_flatten(state)
    others, other_structure = jax.tree_util.tree_flatten(after)
    return structure == other_structure and all(map(operator.is_, leaves, others))


def _fetch(tree: Nest) -> Nest:
    """Fetches the results of a call as NumPy arrays. A single array or an empty tuple needs no tree map."""
    if hasattr(tree, '__array__'):  # isinstance(tree, jax.Array) takes several times as long
        return np.asarray(tree)
    return jax.tree_util.tree_map(np.asarray, tree) if tree != () else tree


def extras_spec(
    core: ActorCore, params: Any, timestep: TimeStep, lanes: Lanes
) -> tuple[Nest, Nest]:
    """Shapes and dtypes of (action, extras) without the lane axis, from a trace: nothing is run.

    Args:
        core: of the actor.
        params, timestep: for B lanes: arrays, or shapes and dtypes.
        lanes: the B lanes.
    Raises: ValueError that names a leaf of state, action or extras that can't be stored.
    """

    def act(params: Any, timestep: TimeStep) -> tuple[Any, tuple[Nest, Nest]]:
        key = jax.random.key(0)
        state = core.init(key, Lanes(jnp.asarray(lanes.index), lanes.total))
        context = unpack_context(jnp.zeros(4, jnp.int32))
        action, _, extras = core.select_action(params, timestep, state, context)
        return state, (action, extras)

    state, shapes = jax.eval_shape(act, params, timestep)
    for what, nest in (('actor_state', state), ('action', shapes[0]), ('extras', shapes[1])):
        check_storable(what, nest)
    return jax.tree_util.tree_map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shapes
    )
