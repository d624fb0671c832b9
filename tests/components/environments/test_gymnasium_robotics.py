"""Gymnasium-Robotics: rewards of goals against its own, what is refused, and what its import leaves."""

import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest

from culmen.components import environments
from culmen.core import make_environment_spec

pytest.importorskip('gymnasium_robotics')

_PLACES = [
    ('FetchReach-v4', {}),
    ('HandReachDense-v3', {}),
    ('PointMaze_UMaze-v3', {'continuing_task': False}),
    ('AntMaze_UMazeDense-v5', {}),
]
_POSES = [
    ('HandManipulateBlock-v1', {}),
    ('HandManipulateBlockRotateZDense-v1', {}),
    ('HandManipulatePenDense-v1', {}),
    ('HandManipulateEgg_ContinuousTouchSensors-v1', {}),
    (
        'FrankaKitchen-v1',
        {'remove_task_when_completed': False, 'terminate_on_tasks_completed': False},
    ),
]


def make(identity, **arguments):
    return environments.make(f'gymnasium_robotics/{identity}', 0, **arguments)


def pairs(identity, spec, generator, number=64):
    """Goals (achieved, desired), leaves [number, ...]: some alike, some near, some far."""

    def draw(leaf):
        far = generator.normal(size=(number, *leaf.shape))
        scale = np.repeat([0.0, 0.01, 0.1, 0.5], number // 4)[:, None]
        near = far + scale * generator.normal(size=far.shape)
        if 'Manipulate' in identity:  # places, then unit quaternions
            for each in (far, near):
                each[:, 3:] /= np.linalg.norm(each[:, 3:], axis=-1, keepdims=True)
        return far.astype(leaf.dtype), near.astype(leaf.dtype)

    leaves, structure = jax.tree_util.tree_flatten(spec.observation['achieved_goal'])
    drawn = [draw(leaf) for leaf in leaves]
    return [structure.unflatten([each[side] for each in drawn]) for side in (0, 1)]


@pytest.mark.parametrize(
    ('identity', 'arguments'),
    [*_PLACES, *(pytest.param(*each, marks=pytest.mark.deep) for each in _POSES)],
)
def test_rewards_of_goals_are_those_of_the_package(identity, arguments):
    environment = make(identity, **arguments)
    spec = make_environment_spec(environment)
    robot = environment.unwrapped
    achieved, desired = pairs(identity, spec, np.random.default_rng(1))
    rewards, reached = jax.jit(lambda *both: (spec.goals.reward(*both), spec.goals.reached(*both)))(
        achieved, desired
    )
    at = lambda nest, i: jax.tree_util.tree_map(lambda leaf: np.float64(leaf[i]), nest)
    wanted = [robot.compute_reward(at(achieved, i), at(desired, i), {}) for i in range(64)]
    np.testing.assert_allclose(rewards, wanted, rtol=1e-3, atol=2e-3)
    if 'Dense' not in identity:  # a sparse reward is largest where the goal is reached
        np.testing.assert_array_equal(reached, np.array(wanted) == max(wanted))
    assert 0 < reached.sum() < 64
    assert spec.goals.ends == (arguments.get('continuing_task') is False)


def test_a_kitchen_that_remembers_has_no_goals():
    pytest.importorskip('mujoco')
    robot = type('KitchenEnv', (), {'remove_task_when_completed': True})()
    from culmen.components.environments.families.gymnasium_robotics_goals import goals_of_robot

    assert goals_of_robot(robot, {'desired_goal': {}}) is None
    robot.remove_task_when_completed = robot.terminate_on_tasks_completed = False
    assert goals_of_robot(robot, {'desired_goal': {}}) is not None


@pytest.mark.parametrize(
    ('identity', 'match'),
    [
        ('FetchReach-v1', r'needs mujoco-py.*gymnasium_robotics/FetchReach-v4'),
        ('HalfCheetah-v3', r'needs mujoco-py.*gymnasium/<id> has newer'),
        ('FetchReach-v9', r"unknown environment 'gymnasium_robotics/FetchReach-v9'.*FetchReach-v4"),
    ],
)
def test_what_can_not_be_built_is_refused_by_name(identity, match):
    with pytest.raises(ValueError, match=match):
        environments.check(f'gymnasium_robotics/{identity}')
    with pytest.raises(ValueError, match="unknown argument 'continuing'.*continuing_task"):
        environments.check('gymnasium_robotics/PointMaze_UMaze-v3', {'continuing': True})


def test_its_import_says_nothing_and_leaves_what_gymnasium_has():
    program = (
        'import gymnasium\n'
        'from culmen.components import environments\n'
        'before = environments.names("gymnasium"), gymnasium.registry["HalfCheetah-v3"]\n'
        'environments.check("gymnasium_robotics/FetchReach-v4")\n'
        'after = environments.names("gymnasium"), gymnasium.registry["HalfCheetah-v3"]\n'
        'assert after[1] is before[1] and set(before[0]) <= set(after[0])\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ''


def test_mazes_leave_no_files(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    make('PointMaze_UMaze-v3').close()
    assert list(tmp_path.iterdir()) == []


def test_a_success_is_a_named_number():
    environment = make('FetchReach-v4', metrics='is_success')
    environment.reset()
    environment.step(np.zeros(4, np.float32))
    assert environment.metrics()['is_success'] == 0.0
