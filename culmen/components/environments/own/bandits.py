"""A bandit whose arms are drawn anew for each episode, so that an agent has to learn within it."""

from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.components.environments import rendering
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec


class BanditState(NamedTuple):
    """The arms of this trial, and how many pulls it has had."""

    probabilities: jax.Array  # float32[2]: that an arm gives 1
    pulls: jax.Array  # int32[]


def bandit(
    *, pulls: Annotated[int, Range(1)] = 100, dependent: bool = True
) -> functional.Functional:
    """Two Bernoulli arms, drawn anew each episode (Wang et al. 2016, 1611.05763, section 3.1).

    Observed are the last action (one-hot), the last reward and the share of pulls made, float32[4]; all 0 at
    first. An episode is one trial of `pulls` pulls, and ends by a termination.

    Args:
        pulls: of a trial.
        dependent: whether the arms give 1 with p and 1 - p; False: each with a p of its own. p is uniform.
    """

    def begin(key: jax.Array) -> tuple[BanditState, jax.Array]:
        p = jax.random.uniform(key, (2,), jnp.float32)
        if dependent:
            p = jnp.stack([p[0], 1 - p[0]])
        return BanditState(p, jnp.int32(0)), jnp.zeros(4, jnp.float32)

    def advance(
        key: jax.Array, state: BanditState, action: jax.Array
    ) -> tuple[BanditState, functional.Outcome]:
        reward = jax.random.bernoulli(key, state.probabilities[action]).astype(jnp.float32)
        made = state.pulls + 1
        told = jnp.stack([reward, (made / pulls).astype(jnp.float32)])
        observation = jnp.concatenate([jax.nn.one_hot(action, 2, dtype=jnp.float32), told])
        outcome = functional.Outcome(observation, reward, terminated=made == pulls)
        return BanditState(state.probabilities, made), outcome

    def render(state: BanditState) -> np.ndarray[Any, Any]:
        """Bars: the probability of each arm, and the share of pulls made."""
        bars = np.array([*np.asarray(state.probabilities), int(state.pulls) / pulls])
        filled = np.arange(20)[::-1, None] < np.rint(20 * bars)
        colours = np.array([(60, 180, 75), (60, 180, 75), (50, 90, 220)], np.uint8)
        return rendering.enlarge(np.where(filled[..., None], colours, np.uint8(235)))

    spec = EnvironmentSpec(
        observation=specs.BoundedArray((4,), np.float32, 0, 1, 'last'),
        action=specs.DiscreteArray(2, np.int32, 'arm'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    return functional.Functional(spec, begin, advance, render)
