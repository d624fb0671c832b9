"""Continuous control by ordinary differential equations."""

from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec

# The authors' constants: length [m] and mass [kg] of the pendulum, mass of the cart [kg], friction [N s/m],
# gravity [m/s^2].
LENGTH, MASS, CART, FRICTION, GRAVITY = 0.5, 0.5, 0.5, 0.1, 9.82
FORCE = 10.0  # [N]: the largest
SECONDS = 0.1  # of a step, in which the force is held
WIDTH = 0.25  # [m]: of the cost


class CartPoleState(NamedTuple):
    """The physical state, and the steps made."""

    physics: (
        jax.Array
    )  # float32[4]: position [m], velocity [m/s], angular velocity [rad/s], angle [rad]
    steps: jax.Array  # int32[]


def derivative(physics: jax.Array, force: jax.Array) -> jax.Array:
    """The time derivative of the physical state, float32[4], under a force in newtons.

    The angle is 0 where the pendulum hangs down. Deisenroth 2010 (thesis), appendix C.2.
    """
    _, velocity, spin, angle = physics
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    total = 4.0 * (MASS + CART) - 3.0 * MASS * cos**2
    acceleration = (
        2.0 * MASS * LENGTH * spin**2 * sin
        + 3.0 * MASS * GRAVITY * sin * cos
        + 4.0 * (force - FRICTION * velocity)
    ) / total
    turning = (
        -3.0 * MASS * LENGTH * spin**2 * sin * cos
        - 6.0 * (MASS + CART) * GRAVITY * sin
        - 6.0 * (force - FRICTION * velocity) * cos
    ) / (LENGTH * total)
    return jnp.stack([velocity, acceleration, turning, spin])


def energy(physics: jax.Array) -> jax.Array:
    """The mechanical energy, float32[], in joules: a step without force and friction keeps it."""
    _, velocity, spin, angle = physics
    moving = (MASS + CART) * velocity**2 / 2 + MASS * LENGTH**2 * spin**2 / 6
    return moving + MASS * LENGTH * (velocity * spin - GRAVITY) * jnp.cos(angle) / 2


def closeness(physics: jax.Array) -> jax.Array:
    """1 less the saturating cost of the tip's distance from its place above the middle, float32[]."""
    position, _, _, angle = physics
    across = position + LENGTH * jnp.sin(angle)
    above = LENGTH * (1.0 + jnp.cos(angle))
    return jnp.exp(-(across**2 + above**2) / (2.0 * WIDTH**2))


def _render(state: CartPoleState) -> np.ndarray[Any, Any]:
    """The cart, 6 m of its track, and the pole with its tip."""
    position, _, _, angle = np.asarray(state.physics, np.float64)
    pixels, height, width = 40, 80, 240  # the first for each metre
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[height // 2] = 90

    def fill(across: float, below: float, size: int, colour: tuple[int, int, int]) -> None:
        row, column = height // 2 + round(pixels * below), width // 2 + round(pixels * across)
        rows = slice(max(row - size, 0), max(row + size + 1, 0))
        picture[rows, max(column - size, 0) : max(column + size + 1, 0)] = colour

    fill(position, 0.0, 5, (50, 90, 220))
    for share in np.linspace(0.0, 1.0, 2 * pixels):
        reach = share * LENGTH
        fill(position + reach * np.sin(angle), reach * np.cos(angle), 1, (90, 60, 40))
    fill(position + LENGTH * np.sin(angle), LENGTH * np.cos(angle), 2, (220, 50, 50))
    return picture


def cartpole_swingup(
    *,
    max_steps: Annotated[int, Range(1)] = 40,
    substeps: Annotated[int, Range(1)] = 10,
    start_scale: Annotated[float, Range(0)] = 0.1,
    observation_noise: Annotated[float, Range(0)] = 0.0,
) -> functional.Functional:
    """PILCO's cart-pole, whose hanging pendulum is to be swung up: Deisenroth and Rasmussen, ICML 2011.

    Observed are position, velocity, angular velocity, sine and cosine of the angle, float32[5]. An action in
    [-1, 1] is a share of 10 N, held for 0.1 s. The reward is 1 less the saturating cost of width 0.25 m, in
    (0, 1]. Every episode is truncated after `max_steps`.

    Args:
        max_steps: of an episode; 40 are the authors' 4 seconds.
        substeps: of the integrator (Runge and Kutta's of order four), a step.
        start_scale: standard deviation of each number of the state at the start.
        observation_noise: standard deviation of the measurement, of all but sine and cosine, which follow a
            measured angle; the authors have 0.01.
    """

    def observe(key: jax.Array, physics: jax.Array) -> jax.Array:
        if observation_noise:
            physics = physics + observation_noise * jax.random.normal(key, (4,), jnp.float32)
        angle = physics[3:]
        return jnp.concatenate([physics[:3], jnp.sin(angle), jnp.cos(angle)])

    def begin(key: jax.Array) -> tuple[CartPoleState, jax.Array]:
        of_start, of_noise = jax.random.split(key)
        physics = start_scale * jax.random.normal(of_start, (4,), jnp.float32)
        return CartPoleState(physics, jnp.int32(0)), observe(of_noise, physics)

    def advance(
        key: jax.Array, state: CartPoleState, action: jax.Array
    ) -> tuple[CartPoleState, functional.Outcome]:
        force = FORCE * jnp.clip(action[0], -1.0, 1.0)
        size = SECONDS / substeps

        def substep(_: Any, x: jax.Array) -> jax.Array:
            k1 = derivative(x, force)
            k2 = derivative(x + size / 2 * k1, force)
            k3 = derivative(x + size / 2 * k2, force)
            k4 = derivative(x + size * k3, force)
            return x + size / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

        physics = jax.lax.fori_loop(0, substeps, substep, state.physics)
        steps = state.steps + 1
        observation = observe(key, physics)
        outcome = functional.Outcome(observation, closeness(physics), False, steps >= max_steps)
        return CartPoleState(physics, steps), outcome

    spec = EnvironmentSpec(
        observation=specs.Array((5,), np.float32, 'state'),
        action=specs.BoundedArray((1,), np.float32, -1, 1, 'force'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    return functional.Functional(spec, begin, advance, _render)
