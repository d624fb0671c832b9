"""Puts all wrappers around an environment, in a fixed order."""

from typing import Annotated

import dm_env

from culmen.components.environments.wrappers.actions import CanonicalActions
from culmen.components.environments.wrappers.history import FrameStack
from culmen.components.environments.wrappers.history import ObservationActionReward
from culmen.components.environments.wrappers.metrics import with_metrics
from culmen.components.environments.wrappers.observations import FlattenObservation
from culmen.components.environments.wrappers.observations import HideObservation
from culmen.components.environments.wrappers.players import one_player
from culmen.components.environments.wrappers.precision import SinglePrecision
from culmen.components.environments.wrappers.rewards import ClipReward
from culmen.components.environments.wrappers.rewards import DelayedReward
from culmen.components.environments.wrappers.state import observing_state
from culmen.components.environments.wrappers.time import ActionRepeat
from culmen.components.environments.wrappers.time import NoopStarts
from culmen.components.environments.wrappers.time import StepLimit
from culmen.core.checks import Range


def wrap(
    environment: dm_env.Environment,
    seed: int,
    *,
    player: str | None = None,
    observe_state: bool = False,
    noop_starts: Annotated[int, Range(0)] = 0,
    action_repeat: Annotated[int, Range(1)] = 1,
    step_limit: Annotated[int | None, Range(1)] = None,
    clip_reward: Annotated[float | None, Range(0, open_low=True)] = None,
    delayed_reward: Annotated[int, Range(0)] = 0,
    canonical_actions: bool = False,
    hide_observation: int | str | tuple[int | str, ...] = (),
    flatten_observation: bool = False,
    single_precision: bool = False,
    frame_stack: Annotated[int, Range(1)] = 1,
    observation_action_reward: bool = False,
    metrics: str | tuple[str, ...] = (),
) -> dm_env.Environment:
    """Wraps an environment, innermost first in the order of the arguments.

    Args:
        environment: what is wrapped.
        seed: of the wrappers' draws (the number of no-ops, what opponents do).
        player: whom the agent plays in an environment of several players, by name, while the others act at
            random; None: all of them.
        observe_state: the observation holds the environment's state, as the field `environment_state`,
            for agents that search; of environments written in JAX.
        noop_starts: an episode begins with 1 to so many no-ops; 0: none.
        action_repeat: steps that an action lasts.
        step_limit: steps (of the agent) after which an episode is truncated; None: never.
        clip_reward: rewards are clipped to [-clip_reward, clip_reward].
        delayed_reward: rewards are summed and paid every so many steps and at the end; 0: at once.
        canonical_actions: continuous actions are in [-1, 1].
        hide_observation: entries to leave out: indices of the last axis, or names of a dict.
        flatten_observation: the whole observation is one vector.
        single_precision: float64 observations and actions become float32, int64 int32.
        frame_stack: number of consecutive observations that are stacked.
        observation_action_reward: the observation holds the previous action and reward.
        metrics: named numbers to log by episode, as 'distance:mean'; (): those that it names itself.
    """
    if player is not None:
        environment = one_player(environment, player, seed)
    if observe_state:
        environment = observing_state(environment)
    if noop_starts:
        environment = NoopStarts(environment, noop_starts, seed)
    if action_repeat != 1:
        environment = ActionRepeat(environment, action_repeat)
    if step_limit is not None:
        environment = StepLimit(environment, step_limit)
    if clip_reward is not None:
        environment = ClipReward(environment, clip_reward)
    if delayed_reward > 1:
        environment = DelayedReward(environment, delayed_reward)
    if canonical_actions:
        environment = CanonicalActions(environment)
    if hide_observation != ():
        environment = HideObservation(environment, hide_observation)
    if flatten_observation:
        environment = FlattenObservation(environment)
    if single_precision:
        environment = SinglePrecision(environment)
    if frame_stack != 1:
        environment = FrameStack(environment, frame_stack)
    if observation_action_reward:
        environment = ObservationActionReward(environment)
    if metrics:
        environment = with_metrics(environment, metrics)
    return environment
