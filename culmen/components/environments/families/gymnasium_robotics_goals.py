"""The rewards of Gymnasium-Robotics as functions of JAX, so that an update computes them for other goals."""

from typing import Any

import jax
import jax.numpy as jnp

from culmen.core.goals import DESIRED
from culmen.core.goals import Goals
from culmen.core.goals import from_numpy

_NEAR = 0.45  # of a maze's goal


def goals_of_robot(robot: Any, observation_spec: Any) -> Goals | None:
    """The goals of an environment, by its class and its settings; None where it has none.

    Args: robot: of Gymnasium-Robotics, without wrappers. observation_spec: of the same.
    """
    kinds = {kind.__name__ for kind in type(robot).__mro__}
    if 'MazeEnv' in kinds:
        return _maze(robot)
    if 'BaseManipulateEnv' in kinds:
        if robot.ignore_z_target_rotation and robot.target_rotation != 'ignore':  # Euler's angles
            return from_numpy(
                lambda achieved, desired: robot.compute_reward(achieved, desired, {}),
                robot._is_success,
                observation_spec[DESIRED],
            )
        return _pose(robot)
    if 'KitchenEnv' in kinds:
        is_of_the_past = robot.remove_task_when_completed or robot.terminate_on_tasks_completed
        return None if is_of_the_past else _kitchen(observation_spec[DESIRED])
    if hasattr(robot, 'distance_threshold'):  # Fetch, and fingers that reach
        return _distance(robot.distance_threshold, robot.reward_type == 'sparse')
    return None


def _norm(achieved: jax.Array, desired: jax.Array) -> jax.Array:
    return jnp.linalg.norm(jnp.asarray(achieved) - jnp.asarray(desired), axis=-1)


def _distance(threshold: float, is_sparse: bool) -> Goals:
    def reward(achieved: Any, desired: Any) -> jax.Array:
        distance = _norm(achieved, desired)
        return -(distance > threshold).astype(jnp.float32) if is_sparse else -distance

    return Goals(reward, lambda achieved, desired: _norm(achieved, desired) < threshold)


def _maze(robot: Any) -> Goals:
    is_sparse = robot.reward_type == 'sparse'

    def reached(achieved: Any, desired: Any) -> jax.Array:
        return _norm(achieved, desired) <= _NEAR

    def reward(achieved: Any, desired: Any) -> jax.Array:
        if is_sparse:
            return reached(achieved, desired).astype(jnp.float32)
        return jnp.exp(-_norm(achieved, desired))

    return Goals(reward, reached, ends=not robot.continuing_task)


def _pose(robot: Any) -> Goals:
    """Places [m] and unit quaternions, float32[..., 7], of an object in the hand."""
    has_place, has_turn = robot.target_position != 'ignore', robot.target_rotation != 'ignore'
    near, turned = robot.distance_threshold, robot.rotation_threshold
    is_sparse = robot.reward_type == 'sparse'

    def apart(achieved: Any, desired: Any) -> tuple[jax.Array, jax.Array]:
        """The distance [m] and the angle [rad] that are left."""
        achieved, desired = jnp.asarray(achieved), jnp.asarray(desired)
        none = jnp.zeros(achieved.shape[:-1])
        distance = _norm(achieved[..., :3], desired[..., :3]) if has_place else none
        # The real part of one quaternion times the other's conjugate.
        cosine = jnp.sum(achieved[..., 3:] * desired[..., 3:], axis=-1)
        angle = 2.0 * jnp.arccos(jnp.clip(cosine, -1.0, 1.0)) if has_turn else none
        return distance, angle

    def reached(achieved: Any, desired: Any) -> jax.Array:
        distance, angle = apart(achieved, desired)
        return (distance < near) & (angle < turned)

    def reward(achieved: Any, desired: Any) -> jax.Array:
        if is_sparse:
            return reached(achieved, desired).astype(jnp.float32) - 1.0
        distance, angle = apart(achieved, desired)
        return -(10.0 * distance + angle)

    return Goals(reward, reached)


def _kitchen(goal_spec: dict[str, Any]) -> Goals:
    """Tasks by name, each done where it is within 0.3 of its goal."""

    def done(achieved: Any, desired: Any) -> jax.Array:
        return jnp.stack(
            [_norm(achieved[task], desired[task]) < 0.3 for task in goal_spec], axis=-1
        )

    return Goals(
        lambda achieved, desired: jnp.sum(done(achieved, desired), axis=-1, dtype=jnp.float32),
        lambda achieved, desired: jnp.all(done(achieved, desired), axis=-1),
    )
