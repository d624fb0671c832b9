"""check_environment finds each fault, and none where there is none."""

import dm_env
import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.components import environments
from tests import probes
from tests.components.environments.fakes import Counter


class WrongShape(Counter):
    def step(self, action):
        return super().step(action)._replace(observation=np.zeros(3))


class WrongDtype(Counter):
    def step(self, action):
        return super().step(action)._replace(observation=np.zeros(2, np.float32))


class WrongStructure(Counter):
    def reset(self):
        return super().reset()._replace(observation={'a': np.zeros(2)})


class OutOfBounds(Counter):
    def __init__(self, seed=0):
        super().__init__(observation_spec=specs.BoundedArray((2,), np.float64, 0, 4, 'observation'))


class NanReward(Counter):
    def step(self, action):
        timestep = super().step(action)
        return timestep if timestep.first() else timestep._replace(reward=float('nan'))


class NanObservation(Counter):
    def step(self, action):
        return super().step(action)._replace(observation=np.full(2, np.nan))


class IntegerReward(Counter):
    def step(self, action):
        timestep = super().step(action)
        return timestep if timestep.first() else timestep._replace(reward=1)


class MissingReward(Counter):
    def step(self, action):
        return super().step(action)._replace(reward=None)


class RewardAtFirst(Counter):
    def reset(self):
        return super().reset()._replace(reward=0.0, discount=1.0)


class LargeDiscount(Counter):
    def step(self, action):
        timestep = super().step(action)
        return timestep if timestep.first() else timestep._replace(discount=1.5)


class NoFirstAfterLast(Counter):
    def step(self, action):
        if self.at == self.length:
            return dm_env.transition(0.0, self.make_observation(0))
        return super().step(action)


class FirstTooEarly(Counter):
    def step(self, action):
        return self.reset() if self.at == 3 else super().step(action)


class NotFreshFirst(Counter):
    def step(self, action):
        self.at = self.at or 0
        return super().step(action)


class ResetGivesMid(Counter):
    def reset(self):
        super().reset()
        return dm_env.transition(0.0, self.make_observation(0))

    def step(self, action):
        return Counter.reset(self) if self.at is None else super().step(action)


class OneBuffer(Counter):
    def __init__(self, seed=0):
        super().__init__()
        self.buffer = np.zeros(2)
        self.make_observation = self.write

    def write(self, step):
        self.buffer[:] = step
        return self.buffer


class Raises(Counter):
    def step(self, action):
        if self.at == 5:
            raise RuntimeError('the motor is hot')
        return super().step(action)


class NotATimeStep(Counter):
    def step(self, action):
        return (1, 2, 3)


class BadSpec(Counter):
    def action_spec(self):
        return 3


class RaisingSpec(Counter):
    def reward_spec(self):
        raise RuntimeError('no spec')


FAULTS = {
    WrongShape: r'observation must have shape \(2,\), got \(3,\)',
    WrongDtype: 'observation must have dtype float64, got float32',
    WrongStructure: r"observation must have the leaves \['observation'\].*'observation/a'",
    OutOfBounds: 'observation breaks its spec.*bounds',
    NanReward: 'reward is NaN',
    NanObservation: 'observation is NaN',
    IntegerReward: 'reward must have dtype float64, got int64',
    MissingReward: 'reward must be None at FIRST only',
    RewardAtFirst: 'reward must be None at FIRST, got 0.0',
    LargeDiscount: r'discount must be in \[0, 1\], got 1.5|discount breaks its spec',
    NoFirstAfterLast: 'a step after LAST must ignore its action and give FIRST, got MID',
    FirstTooEarly: 'FIRST must come after LAST only, it came after MID',
    NotFreshFirst: 'step\\(\\) on a fresh environment must give FIRST, got MID',
    ResetGivesMid: r'reset\(\) must give FIRST, got MID',
    OneBuffer: 'observation: the array of step 0 changed at step 1.*return a copy',
    Raises: r'step\(\) raised RuntimeError: the motor is hot',
    NotATimeStep: 'must return a dm_env.TimeStep, got tuple',
    BadSpec: 'action: its spec must be a dm_env.specs.Array, got 3',
    RaisingSpec: r'reward_spec\(\) raised RuntimeError: no spec',
}


@pytest.mark.parametrize('fault', FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_found(fault):
    with pytest.raises(ValueError, match=FAULTS[fault]) as caught:
        environments.check_environment(fault(), num_steps=60)
    assert fault.__name__ in str(caught.value)


@pytest.mark.parametrize('dtype', [np.complex64, object, 'U3'])
def test_a_spec_of_no_numbers_is_found(dtype):
    fault = Counter(observation_spec=specs.Array((2,), dtype, 'observation'))
    with pytest.raises(ValueError, match='observation: its spec has dtype .*; bools, integers and'):
        environments.check_environment(fault)


def test_all_faults_are_told_at_once_and_each_once():
    class Several(NanReward, RewardAtFirst):
        pass

    with pytest.raises(ValueError, match='has 3 problems') as caught:
        environments.check_environment(Several(), num_steps=60)
    message = str(caught.value)
    assert message.count('reward is NaN') == 1
    assert 'times more' in message
    assert 'discount must be None at FIRST' in message


def test_a_seed_that_reaches_nothing_is_found():
    class Unseeded(Counter):
        def step(self, action):
            timestep = super().step(action)
            return timestep if timestep.first() else timestep._replace(reward=float(self.noise()))

        def noise(self):
            return np.random.default_rng().normal()

    with pytest.raises(ValueError, match='reward differs between two environments with seed 0'):
        environments.check_environment(lambda seed: Unseeded())
    # Given an environment alone, there is nothing to compare it with.
    assert environments.check_environment(Unseeded()).deterministic is None


def test_a_state_that_leaves_something_out_is_found():
    class Forgetful(Counter):
        def set_state(self, state):
            self.at = 0

    with pytest.raises(ValueError, match='get_state\\(\\) leaves something out'):
        environments.check_environment(lambda seed: Forgetful())

    class Unpicklable(Counter):
        def get_state(self):
            return lambda: self

    with pytest.raises(ValueError, match='saving at step 3 and going on raised'):
        environments.check_environment(lambda seed: Unpicklable())


@pytest.mark.parametrize('probe', probes.PROBES, ids=lambda probe: probe.__name__)
def test_nothing_is_found_where_nothing_is_wrong(probe):
    report = culmen.check_environment(probe, num_steps=300)
    assert report.restorable
    assert report.deterministic
    assert report.episodes == report.terminations + report.truncations
    assert report.steps > 100
    assert (report.truncations > 0) == (probe is probes.TruncationProbe)
    assert 'no problem' in str(report)


def test_only_what_can_be_checked_is_checked():
    with pytest.raises(TypeError, match='got int'):
        environments.check_environment(3)
    with pytest.raises(TypeError, match='got int'):
        environments.check_environment(lambda seed: 3)
    with pytest.raises(ValueError, match='unknown environment'):
        environments.check_environment('bsuit/catch')
    with pytest.raises(ValueError, match='num_steps must be at least 1'):
        environments.check_environment(Counter(), num_steps=0)
    report = environments.check_environment('tests.components.environments.fakes:make', 50)
    assert report.deterministic
