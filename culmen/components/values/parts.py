"""What agents of action values with a replay have in common: how they act, and what they keep."""

from collections.abc import Callable

from culmen.components import policies
from culmen.components.networks import Branches
from culmen.components.values.settings import ValueSettings
from culmen.core.agent import Parts
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.types import Array
from culmen.core.types import LearnerCore
from culmen.core.types import Steps


def join(
    settings: ValueSettings,
    action_values: policies.ActionValues,
    learner: LearnerCore,
    *,
    branches: Branches | None = None,
    draws: bool = False,
    evaluation_values: policies.ActionValues | None = None,
    extras: policies.ValueExtras | None = None,
    priority: Callable[[Steps], Array] | None = None,
) -> Parts:
    """Joins action values and an update to an agent that explores and keeps windows of n steps.

    Args:
        settings: of the agent.
        action_values: (params, observation [B, ...]) -> float32[B, num_actions], for any parameters, with
            keys where the network draws.
        learner: its update.
        branches: of an action of several choices; None: it is one choice.
        draws: whether action values draw in evaluations, whatever the noise.
        evaluation_values: of evaluations; None: the same.
        extras, priority: of new windows, as for `epsilon_greedy` and `Replay`.
    """
    epsilon = policies.linear_schedule(
        settings.epsilon_initial, settings.epsilon, settings.epsilon_decay_steps
    )
    by_lane = policies.ape_x_exponents(settings.epsilon_lane_alpha)  # 0: the same for all lanes
    actor = policies.epsilon_greedy(action_values, epsilon, by_lane, branches, extras)
    evaluator = policies.epsilon_greedy(
        evaluation_values or action_values, settings.evaluation_epsilon, branches=branches
    )
    if draws or settings.noise != 'none':
        actor = policies.keyed(actor)
    if draws or settings.evaluation_noise:
        evaluator = policies.keyed(evaluator)
    experience = Replay(
        window=Window(length=settings.n_step, ends=('observation',)),
        capacity=settings.replay_capacity,
        min_size=settings.min_replay_size,
        batch_size=settings.batch_size,
        samples_per_insert=settings.samples_per_insert,
        priority_exponent=settings.priority_exponent,
        priority=priority,
    )
    return Parts(actor, evaluator, learner, experience)
