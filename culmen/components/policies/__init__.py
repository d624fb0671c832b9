"""Policies: ActorCores made from networks."""

from culmen.components.policies.actor_critic import ActorCriticState
from culmen.components.policies.actor_critic import Extras
from culmen.components.policies.actor_critic import drawn_actions
from culmen.components.policies.actor_critic import entering_state
from culmen.components.policies.actor_critic import likeliest
from culmen.components.policies.actor_critic import sampling
from culmen.components.policies.epsilon_greedy import ape_x_exponents
from culmen.components.policies.epsilon_greedy import epsilon_greedy
from culmen.components.policies.epsilon_greedy import greedy
from culmen.components.policies.epsilon_greedy import recurrent_epsilon_greedy
from culmen.components.policies.legal import mask_illegal
from culmen.components.policies.schedules import Schedule
from culmen.components.policies.schedules import linear_schedule

__all__ = [
    'ActorCriticState',
    'Extras',
    'Schedule',
    'ape_x_exponents',
    'drawn_actions',
    'entering_state',
    'epsilon_greedy',
    'greedy',
    'likeliest',
    'linear_schedule',
    'mask_illegal',
    'recurrent_epsilon_greedy',
    'sampling',
]
