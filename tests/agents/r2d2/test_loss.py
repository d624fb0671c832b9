"""R2D2's loss against the paper's equations in NumPy, and by hand where an option changes it.

By hand, unless a test says otherwise: discount 0.5, one step, no rescaling, no burn-in. With ONLINE and
TARGET of by_hand.py the window TWO has numbers 1, 2, 1, so memory s = 1, 2.5, 2.25 (and 1 for the reward 2)

    s = 1, then 1/2 + 2 + 2/2 = 3.5, then 3.5/2 + 1 - 4/2 = 0.75
    q = (1, 1), (3.5, 6), (0.75, 0.5)              online: s, 2 s - 1
    q' = (4, 3), (11.5, 5.5), (3.25, 2.75)         target: 3 s + 1, s + 2

Online prefers action 1, then 0: bootstraps 5.5 and 3.25. Action 0 is taken, then 1:

    errors 2 + 0.5 * 5.5 - 1 = 3.75 and -4 + 0.5 * 3.25 - 6 = -8.375
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import r2d2
from culmen.components.replay.stream.importance import importance_weights
from tests.agents.r2d2 import by_hand
from tests.agents.r2d2.by_hand import NETWORK
from tests.agents.r2d2.by_hand import ONLINE
from tests.agents.r2d2.by_hand import TARGET

TWO = by_hand.sample([1, 2, 1], [2, -4], action=[0, 1])
ERRORS = (3.75, -8.375)
PLAIN = {'discount': 0.5, 'n_step': 1, 'rescale': False, 'burn_in_length': 0, 'priority_eta': 1.0,
         'importance_exponent': 0.6}  # fmt: skip


def loss(sample=TWO, online=ONLINE, target=TARGET, **settings):
    """(loss, priorities, metrics) of a sample."""
    config = r2d2.R2D2Config(**{**PLAIN, **settings})
    numbers = by_hand.params(online), by_hand.params(target)
    value, (metrics, priorities) = r2d2.loss(*numbers, sample, NETWORK, config)
    assert value == metrics['loss']
    return float(value), np.asarray(priorities).tolist(), metrics


def error(sample, **settings):
    """The error of a window of one learned step, without its sign."""
    return loss(sample, **settings)[1][0]


CASES = [
    {'n_step': 1, 'burn_in_length': 0, 'rescale': False},
    {'n_step': 3, 'burn_in_length': 0, 'rescale': True},
    {'n_step': 2, 'burn_in_length': 3, 'rescale': True},
    {'n_step': 9, 'burn_in_length': 2, 'rescale': False},
]


@pytest.mark.parametrize('settings', CASES, ids=str)
@pytest.mark.parametrize('seed', range(3))
def test_agrees_with_the_definition(settings, seed):
    sample = by_hand.random_batch(seed)
    online, target = by_hand.random_numbers(seed + 10), by_hand.random_numbers(seed + 20)
    weights = np.asarray(importance_weights(sample.probability, sample.size, 0.6))
    value, priorities, _ = loss(sample, online, target, discount=0.9, priority_eta=0.7, **settings)
    expected = by_hand.reference(
        online, target, sample, weights, 0.9, settings['n_step'], settings['burn_in_length'],
        settings['rescale'], eta=0.7,
    )  # fmt: skip
    assert value == pytest.approx(expected[0], rel=1e-3)
    np.testing.assert_allclose(priorities, expected[1], rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize('settings', CASES, ids=str)
def test_the_gradient_flows_through_predictions_after_the_burn_in_alone(settings):
    """Finite differences of the definition, with burn-in, choices and targets held fixed."""
    sample = by_hand.random_batch(5)
    online, target = by_hand.random_numbers(6), by_hand.random_numbers(7)
    weights = np.asarray(importance_weights(sample.probability, sample.size, 0.6))
    config = r2d2.R2D2Config(**{**PLAIN, **settings, 'discount': 0.9})

    def value(params, of_target):
        return r2d2.loss(params, of_target, sample, NETWORK, config)[0]

    numbers = by_hand.params(online), by_hand.params(target)
    of_online, of_target = jax.grad(value, argnums=(0, 1))(*numbers)
    assert all((leaf == 0).all() for leaf in of_target.values())

    def definition(moved):
        return by_hand.reference(
            moved, target, sample, weights, 0.9, settings['n_step'], settings['burn_in_length'],
            settings['rescale'], eta=1.0, fixed=online,
        )[0]  # fmt: skip

    step = 1e-5

    def slope(move):
        return (definition(move(step)) - definition(move(-step))) / (2 * step)

    decay = slope(lambda by: {**online, 'decay': online['decay'] + by})
    assert float(of_online['decay']) == pytest.approx(decay, rel=1e-3, abs=1e-4)
    for name in ('effect', 'slope', 'bias'):
        for i in range(2):

            def move(by, name=name, i=i):
                return {**online, name: [x + by * (j == i) for j, x in enumerate(online[name])]}

            assert float(of_online[name][i]) == pytest.approx(slope(move), rel=1e-3, abs=1e-4)


def test_the_loss_is_half_the_mean_squared_error():
    value, priorities, metrics = loss()
    assert value == sum(error**2 / 2 for error in ERRORS) / 2
    assert priorities == [8.375]
    assert metrics['absolute_error'] == (3.75 + 8.375) / 2
    assert metrics['q'] == (1 + 1 + 3.5 + 6) / 4  # of all actions where steps begin


def test_double_q_learning_takes_the_online_choice_and_the_target_value():
    # The target network would choose 11.5 rather than 5.5.
    assert loss(priority_eta=0.0)[1] == [(3.75 + 8.375) / 2]


def test_discount():
    assert loss(discount=0.0)[1] == [max(2 - 1, 4 + 6)]
    assert loss(discount=1.0)[1] == [max(abs(2 + 5.5 - 1), abs(-4 + 3.25 - 6))]


def test_n_step():
    # From the first step: 2 + 0.5 (-4) + 0.25 * 3.25 - 1; from the last there is one step left.
    first, last = 2 - 2 + 0.25 * 3.25 - 1, -8.375
    for n_step in (2, 5):
        assert loss(n_step=n_step, priority_eta=0.0)[1] == [(abs(first) + abs(last)) / 2]


@pytest.mark.parametrize('n_step', [1, 3])
def test_a_termination_has_no_bootstrap_and_a_truncation_that_of_its_own_last_observation(n_step):
    # After the step 1 -> 2 the episode is over; the rest is padding.
    def over(discount):
        return by_hand.sample([1, 2, 2], [2, 9], discount=[discount, 1], num_real=1)

    assert error(over(0.0), n_step=n_step) == 2 - 1
    assert error(over(1.0), n_step=n_step) == 3.75
    assert error(over(0.5), n_step=n_step) == 2 + 0.5 * 0.5 * 5.5 - 1  # the environment's own


def test_rescale():
    # h(2 + 0.5 h^-1(5.5)) - 1 for the first step of TWO.
    target = by_hand.h(2 + 0.5 * by_hand.h_inverse(5.5))
    last = by_hand.h(-4 + 0.5 * by_hand.h_inverse(3.25))
    value, priorities, metrics = loss(rescale=True, priority_eta=0.0)
    assert priorities == pytest.approx([((target - 1) + abs(last - 6)) / 2], rel=1e-3)
    # The metric is of values, not of what the network predicts.
    expected = np.mean([by_hand.h_inverse(q) for q in (1, 1, 3.5, 6)])
    assert float(metrics['q']) == pytest.approx(expected, rel=1e-3)
    assert value != pytest.approx(loss()[0])


def test_the_memory_goes_on_from_the_state_that_is_stored():
    # s = 1 more at first: 2, then 4, then 1; q = (2, 3), (4, 7), (1, 1); q' of the second (13, 6).
    sample = by_hand.sample([1, 2, 1], [2, -4], action=[0, 1], state=2.0)
    assert loss(sample, priority_eta=1.0)[1] == [max(abs(2 + 3 - 2), abs(-4 + 2 - 7))]
    first = by_hand.sample([1, 2, 1], [2, -4], action=[0, 1], state=2.0, first=True)
    assert loss(first)[1] == loss()[1]  # an episode begins: nothing is gone on from


def test_the_network_is_given_the_action_before():
    moved = {'online': {**ONLINE, 'effect': [0.0, 8.0]}, 'target': {**TARGET, 'effect': [0.0, 8.0]}}
    one = by_hand.sample([1, 2], [0], action=[0], previous_action=1)
    other = by_hand.sample([1, 2], [0], action=[0], previous_action=0)
    # s = 1, 2.5: the online choice 1 has 4.5; with 8 more before, s = 9, 6.5 and 8.5.
    assert loss(other, **moved)[1] == [0.5 * 4.5 - 1]
    assert loss(one, **moved)[1] == [abs(0.5 * 8.5 - 9)]
    begin = by_hand.sample([1, 2], [0], action=[0], previous_action=1, first=True)
    assert loss(begin, **moved)[1] == loss(other, **moved)[1]  # nothing was done before an episode
    within = by_hand.sample([1, 2], [0], action=[1], previous_action=0)
    assert loss(within, **moved)[1] == [0.5 * 12.5 - 1]  # s = 1, 10.5


def test_burn_in_steps_are_not_learned_from():
    _, priorities, metrics = loss(burn_in_length=1)
    assert priorities == [8.375]
    assert metrics['loss'] == 8.375**2 / 2
    assert metrics['absolute_error'] == 8.375
    assert metrics['q'] == (3.5 + 6) / 2


def test_a_sequence_that_begins_an_episode_needs_no_burn_in():
    sample = TWO._replace(steps=TWO.steps._replace(step_type=np.array([[0, 1, 1]], np.int32)))
    assert loss(sample, burn_in_length=1)[0] == loss(sample, burn_in_length=0)[0]


@pytest.mark.parametrize('first', [False, True])
def test_no_gradient_reaches_the_burn_in(first):
    """The loss depends on what is seen there, through the memory, but nothing is learned of that."""
    config = r2d2.R2D2Config(**{**PLAIN, 'burn_in_length': 2})
    window = by_hand.sample([1, 2, 1, 3, 2], [2, -4, 1, 1], state=1.0, first=first)
    numbers = by_hand.params(ONLINE), by_hand.params(TARGET)

    def value(seen):
        steps = window.steps._replace(observation=seen)
        return r2d2.loss(*numbers, window._replace(steps=steps), NETWORK, config)[0]

    seen = jnp.asarray(window.steps.observation)
    assert value(seen.at[0, 1].add(1.0)) != value(seen)
    slopes = jax.grad(value)(seen)[0]
    assert (slopes[2:4] != 0).all()
    assert (slopes[:2] != 0).all() == first
    assert (slopes[:2] == 0).all() != first


def test_both_networks_burn_in_with_their_own_parameters():
    sample = by_hand.sample([1, 2, 1], [2, -4], action=[0, 1], state=4.0)
    plain = loss(sample, burn_in_length=1)[1]
    for moved in ('online', 'target'):
        numbers = {'online': ONLINE, 'target': TARGET}[moved]
        # Memory that keeps more of the state that entered the burn-in.
        assert loss(sample, burn_in_length=1, **{moved: {**numbers, 'decay': 0.9}})[1] != plain


def test_padding_has_no_influence():
    def cut(rubbish):
        return by_hand.sample([1, 2, rubbish], [2, rubbish], [0, 1], [1, rubbish], num_real=1)

    alone = by_hand.sample([1, 2], [2], [0])
    assert loss(cut(0.0)) == loss(cut(77.0))
    for n_step in (1, 2):
        settings = {'priority_eta': 0.3, 'n_step': n_step}
        assert loss(cut(5.0), **settings)[:2] == loss(alone, **settings)[:2]
    # It has no part in means over a batch either: 3 learned steps.
    both = by_hand.batch(TWO, cut(5.0))
    assert loss(both)[0] == pytest.approx((3.75**2 + 8.375**2 + 3.75**2) / 2 / 3)


def test_a_window_within_the_burn_in_has_no_loss_and_no_priority():
    cut = by_hand.sample([1, 2, 0, 0], [2, 0, 0], num_real=1)
    assert loss(cut, burn_in_length=2)[:2] == (0.0, [0.0])


@pytest.mark.parametrize('eta', [0.0, 0.25, 1.0])
def test_priority_eta_mixes_the_largest_and_the_mean_error(eta):
    mean = (3.75 + 8.375) / 2
    assert loss(priority_eta=eta)[1] == pytest.approx([eta * 8.375 + (1 - eta) * mean])


def test_importance_weights():
    # Probabilities 1/2 and 1/8 of 8 items: (8 p)^-beta = 4^-beta and 1, and 1 is the largest.
    other = by_hand.sample(
        [1, 2, 1], [2, 0], action=[0, 1]
    )  # s = .., 2.75; q' of the last (9.25, 4.75)
    sample = by_hand.batch(TWO, other, probability=[0.5, 0.125])
    last = 0.5 * 4.75 - 6
    parts = np.array([3.75**2 + 8.375**2, 3.75**2 + last**2]) / 2
    for beta in (0.5, 1.0, 0.0):
        value, priorities, _ = loss(sample, importance_exponent=beta, priority_exponent=0.9)
        assert value == pytest.approx((4**-beta * parts[0] + parts[1]) / 4)
        assert priorities == [8.375, 3.75]  # priorities are not weighted
    uniform = by_hand.batch(TWO, other)
    assert loss(uniform, importance_exponent=1.0)[0] == pytest.approx(parts.sum() / 4)


@pytest.mark.parametrize('rescale', [False, True])
def test_illegal_actions_are_not_bootstrapped_from(rescale):
    # At the second observation one action alone is legal, worth 11.5 or 5.5 to the target network.
    for legal, value in (([True, False], 11.5), ([False, True], 5.5)):
        sample = by_hand.sample([1, 2], [2], legal=[[True, True], legal])
        target = by_hand.h(2 + 0.5 * by_hand.h_inverse(value)) if rescale else 2 + 0.5 * value
        assert error(sample, rescale=rescale) == pytest.approx(target - 1, rel=1e-3)
    # Nothing is legal where an episode has ended.
    over = by_hand.sample([1, 2], [2], discount=[0.0], legal=[[True, True], [False, False]])
    expected = 1 - by_hand.h(2.0) if rescale else 1.0
    assert error(over, rescale=rescale) == pytest.approx(expected, rel=1e-3)
    assert np.isfinite(loss(over, rescale=rescale)[0])


# Priorities of new sequences.


def known(q, best_q, **window):
    """A window with the values that acted in its extras."""
    given = by_hand.sample(np.zeros(len(q) + 1), **window).steps
    extras = {**given.extras, 'q': np.float32([q]), 'best_q': np.float32([best_q])}
    return given._replace(extras=extras)


def initial(steps, **settings):
    return np.asarray(
        r2d2.InitialPriority(r2d2.R2D2Config(**{**PLAIN, **settings}))(steps)
    ).tolist()


def test_new_sequences_get_the_errors_of_the_values_that_acted():
    steps = known([1.0, 2.0, 3.0], [4.0, 6.0, 8.0], reward=[1, 2, 0])
    # 1 + 3 - 1, 2 + 4 - 2, and 0 + 4 - 3: the value after the last is taken to be 8 again.
    assert initial(steps) == [4.0]
    assert initial(steps, priority_eta=0.0) == pytest.approx([(3 + 4 + 1) / 3])
    assert initial(steps, discount=0.0, priority_eta=0.0) == [1.0]  # 0, 0 and -3
    # Two steps: 1 + 0.5 * 2 + 0.25 * 8 - 1, 2 + 0.25 * 8 - 2 and 1.
    assert initial(steps, n_step=2, priority_eta=0.0) == pytest.approx([(3 + 2 + 1) / 3])
    assert initial(steps, burn_in_length=2) == [1.0]
    rescaled = by_hand.h(0.5 * by_hand.h_inverse(8.0)) - 3
    assert initial(steps, burn_in_length=2, rescale=True) == pytest.approx(
        [abs(rescaled)], rel=1e-3
    )


def test_new_sequences_that_an_end_cuts_short():
    for discount, after in ((0.0, 0.0), (1.0, 3.0)):
        steps = known([1.0, 2.0, 0.0], [4.0, 6.0, 0.0], reward=[1, 7, 0], discount=[1, discount, 0],
                      num_real=2)  # fmt: skip
        # 1 + 3 - 1, and 7 - 2 with the value of 6 again where it was truncated.
        assert initial(steps, priority_eta=0.0) == [(3 + (7 + after - 2)) / 2]
    assert initial(known([1.0] * 3, [4.0] * 3, reward=[1, 1, 1], num_real=1), burn_in_length=1) == [
        0.0
    ]
