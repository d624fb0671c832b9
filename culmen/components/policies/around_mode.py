"""Acting near the likeliest action of a policy over choices and bounded boxes."""

import jax
import jax.numpy as jnp
from dm_env import specs

from culmen.components.networks import BoundedPolicy
from culmen.components.policies.continuous import add_gaussian_noise
from culmen.components.policies.continuous import exploring
from culmen.components.policies.continuous import with_gaussian_noise
from culmen.components.policies.epsilon_greedy import epsilon_greedy
from culmen.components.policies.lanes import lane_index
from culmen.components.policies.lanes import lane_keys
from culmen.components.policies.lanes import without_state
from culmen.components.policies.uniform import uniform_choices
from culmen.core.actions import allowed_choices
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import TimeStep


def at_mode(policy: BoundedPolicy) -> ActorCore:
    """Takes the mode of a policy. No extras."""
    apply = policy.network.apply
    return without_state(
        lambda params, timestep: policy.to_action(apply(params, timestep.observation).mode())
    )


def around_mode(
    policy: BoundedPolicy, spec: EnvironmentSpec, epsilon: float | Array, scale: float | Array
) -> ActorCore:
    """Takes the mode of a policy, with random choices and noisy numbers. No extras.

    Args:
        policy: over the actions of the spec.
        spec: of the environment.
        epsilon: probability with which a choice takes any legal value; those of an array do so independently.
        scale: standard deviation of the noise on the numbers of boxes, in canonical units: a box is 2 wide.
    """
    apply = policy.network.apply
    if isinstance(spec.action, specs.DiscreteArray):
        return epsilon_greedy(lambda params, seen: apply(params, seen).logits, epsilon)
    if isinstance(spec.action, specs.Array) and policy.is_continuous:
        noisy = with_gaussian_noise(lambda params, seen: apply(params, seen).mode(), scale)
        return exploring(noisy, policy.leaves[0].box)  # type: ignore[arg-type]

    def init(key: jax.Array, lanes: Lanes) -> Array:
        del key
        return lane_index(lanes)

    def select_action(
        params: Params, timestep: TimeStep, lane: Array, context: Context
    ) -> tuple[Nest, Array, Nest]:
        keys = lane_keys(context.key, lane)
        modes = policy.structure.flatten_up_to(apply(params, timestep.observation).mode())
        allowed = allowed_choices(spec.action, timestep.observation)
        drawn = []
        for i, (leaf, mode) in enumerate(zip(policy.leaves, modes, strict=True)):
            own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, i)
            if leaf.choices is None:
                drawn.append(add_gaussian_noise(mode, scale, own))
            else:
                drawn.append(_explored(leaf.spec, mode, allowed[i], epsilon, own))
        return policy.to_action(policy.structure.unflatten(drawn)), lane, ()

    return ActorCore(init, select_action)


def _explored(
    leaf: specs.Array,
    mode: jax.Array,
    allowed: Array | None,
    epsilon: float | Array,
    keys: jax.Array,
) -> jax.Array:
    keys = jax.vmap(lambda key: jax.random.split(key))(keys)
    shares = jax.vmap(lambda key: jax.random.uniform(key, mode.shape[1:], jnp.float32))(keys[:, 0])
    other = jnp.reshape(uniform_choices(leaf, allowed, keys[:, 1]), mode.shape)
    return jnp.where(shares < epsilon, other, mode)
