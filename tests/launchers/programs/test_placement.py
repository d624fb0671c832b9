"""Where the nodes of a program compute: which devices their processes see, and what is refused."""

import re

import pytest

from culmen.launchers.devices import check_device
from culmen.launchers.devices import find_devices
from culmen.launchers.programs.placement import check_placement
from culmen.launchers.programs.placement import variables_of
from culmen.launchers.programs.supervisor import node_environment


def environment(label, kind, device=None, actor_device=None, variables=None):
    return node_environment(label, True, variables_of(kind, device, actor_device, variables or {}))


def test_only_the_learner_sees_other_devices_than_the_cpu():
    assert 'JAX_PLATFORMS' not in environment('learner', 'learner')
    for label, kind in (('actor-0', 'actor'), ('actors-1', 'actor'), ('evaluator', 'evaluator')):
        found = environment(label, kind)
        assert (found['JAX_PLATFORMS'], found['CUDA_VISIBLE_DEVICES']) == ('cpu', '-1')


def test_a_learner_on_the_cpu_takes_no_gpu_and_actors_on_one_leave_memory_to_others():
    found = environment('learner', 'learner', device='cpu:0,cpu:1')
    assert (found['JAX_PLATFORMS'], found['CUDA_VISIBLE_DEVICES']) == ('cpu', '-1')
    assert 'JAX_PLATFORMS' not in environment('learner', 'learner', device='gpu:1')
    found = environment('actor-0', 'actor', actor_device='gpu:1')
    assert 'JAX_PLATFORMS' not in found  # as in the launching process
    assert 'CUDA_VISIBLE_DEVICES' not in found
    assert found['XLA_PYTHON_CLIENT_PREALLOCATE'] == 'false'
    # Neither is of the other kind of node.
    assert environment('actor-0', 'actor', device='gpu:1')['JAX_PLATFORMS'] == 'cpu'
    assert 'JAX_PLATFORMS' not in environment('learner', 'learner', actor_device='cpu')


def test_a_variable_that_is_asked_for_comes_first():
    variables = {'actor': {'JAX_PLATFORMS': 'tpu', 'OMP_NUM_THREADS': '4', 'MINE': 'a'}}
    found = environment('actor-0', 'actor', actor_device='gpu:0', variables=variables)
    assert (found['JAX_PLATFORMS'], found['OMP_NUM_THREADS'], found['MINE']) == ('tpu', '4', 'a')
    assert environment('evaluator', 'evaluator', variables=variables)['OMP_NUM_THREADS'] == '1'


@pytest.mark.parametrize(
    ('variables', 'said'),
    [
        (
            {'actors': {}},
            "counter, replay, learner, actor, evaluator, got 'actors'; the nearest is 'actor'",
        ),
        ({'x': {}}, "got 'x'."),
        ({'actor': 'A=1'}, "variables['actor'] must be a mapping of names, got 'A=1'"),
        ({'actor': {'A=B': '1'}}, "variables['actor'] must have names of variables, got 'A=B'"),
        (
            {'actor': {'CULMEN_LAUNCHER': '1'}},
            "must leave CULMEN_... to Culmen, got 'CULMEN_LAUNCHER'",
        ),
        ({'actor': {'A': 1}}, "variables['actor']['A'] must be a text, got 1"),
        ({'actor': {'A': 'a\0b'}}, "variables['actor']['A'] must be a text"),
    ],
)
def test_variables_that_can_not_be_are_refused_by_name(variables, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        check_placement(None, None, variables)


@pytest.mark.parametrize('text', ['', 'GPU', 'gpu:', 'gpu:-1', 'gpu 0', 'cpu,cpu', 'cpu,', 3])
def test_a_name_that_is_none_of_a_device_is_refused(text):
    with pytest.raises(ValueError, match='device must be a name such as'):
        check_device('device', text, several=True)
    check_device('device', 'gpu:0, cpu', several=True)
    check_device('device', None)
    with pytest.raises(ValueError, match="such as 'cpu', 'gpu:0', got 'gpu:0,gpu:1'"):
        check_device('device', 'gpu:0,gpu:1')


def test_devices_are_found_where_they_are_used():
    assert [each.platform for each in find_devices('device', 'cpu, cpu:0')] == ['cpu', 'cpu']
    with pytest.raises(ValueError, match=r"device 'cpu:99' is not here; there are cpu:0"):
        find_devices('device', 'cpu:99')
