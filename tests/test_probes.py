"""The probes pay what they say."""

import numpy as np
import pytest

from tests import probes


def returns(probe, policy, gamma, episodes=400):
    """Mean discounted return of a policy: observation -> action."""
    total = []
    for _ in range(episodes):
        timestep, discount, value = probe.reset(), 1.0, 0.0
        while not timestep.last():
            timestep = probe.step(policy(timestep.observation))
            value += discount * timestep.reward
            discount *= gamma * timestep.discount
        total.append(value)
    return np.mean(total)


def sign(observation):
    return int(observation[0] > 0)


@pytest.mark.parametrize(
    ('probe', 'policy', 'expected'),
    [
        (probes.ValueProbe, lambda o: 0, 1.0),
        (probes.DiscountProbe, lambda o: 0, 0.9),
        (probes.ActionProbe, lambda o: 1, 1.0),
        (probes.ActionProbe, lambda o: 0, -1.0),
        (probes.ObservationActionProbe, sign, 1.0),
        (probes.ContinuousProbe, lambda o: np.full(1, 0.5, np.float32), 0.0),
        (probes.ContinuousProbe, lambda o: np.zeros(1, np.float32), -0.25),
        (probes.TruncationProbe, lambda o: 0, (1 - 0.9**5) / (1 - 0.9)),
    ],
)
def test_the_returns_of_known_policies(probe, policy, expected):
    assert returns(probe(0), policy, 0.9, episodes=20) == pytest.approx(expected)


def test_memory_is_needed_and_enough():
    class Remembers:
        cue = 0

        def __call__(self, observation):
            self.cue = observation[0] or self.cue
            return int(self.cue > 0)

    assert returns(probes.MemoryProbe(0), Remembers(), 1.0) == 1.0
    assert abs(returns(probes.MemoryProbe(0), lambda o: 1, 1.0)) < 0.2


def test_illegal_actions_are_refused_and_legal_ones_pay_as_told():
    def best(observation):
        legal = np.flatnonzero(observation['legal_actions'])
        return max(legal, key=lambda action: probes.LegalActionsProbe.rewards[action])

    gamma = 0.9
    mean = returns(probes.LegalActionsProbe(0), best, gamma, episodes=3000)
    assert mean == pytest.approx((1 + gamma) * probes.LegalActionsProbe.best_mean_reward, abs=0.05)
    with pytest.raises(ValueError, match='action 2 is illegal'):
        returns(probes.LegalActionsProbe(0), lambda o: 2, gamma)
    values = probes.LegalActionsProbe.action_values(gamma)
    assert values[1.0] == pytest.approx((0.6, 1.6))
    assert values[0.0] == (0.0, 1.0)


def test_the_ends_are_of_the_right_kind():
    for probe in probes.PROBES:
        environment = probe(0)
        timestep = environment.reset()
        while not timestep.last():
            observation = timestep.observation
            legal = observation['legal_actions'] if isinstance(observation, dict) else [True]
            timestep = environment.step(np.flatnonzero(legal)[0])
        assert timestep.discount == (1.0 if probe is probes.TruncationProbe else 0.0)
