"""Policies: ActorCores made from networks."""

from culmen.components.counts.schedules import Schedule
from culmen.components.counts.schedules import linear_schedule
from culmen.components.policies.actor_critic import ActorCriticState
from culmen.components.policies.actor_critic import Extras
from culmen.components.policies.actor_critic import drawn_actions
from culmen.components.policies.actor_critic import entering_state
from culmen.components.policies.actor_critic import likeliest
from culmen.components.policies.actor_critic import network_inputs
from culmen.components.policies.actor_critic import sampling
from culmen.components.policies.actor_critic import tasks_of
from culmen.components.policies.actor_critic import unroll_window
from culmen.components.policies.actor_critic import unrolled
from culmen.components.policies.around_mode import around_mode
from culmen.components.policies.around_mode import at_mode
from culmen.components.policies.continuous import Behaviour
from culmen.components.policies.continuous import Policy
from culmen.components.policies.continuous import choosing
from culmen.components.policies.continuous import deterministic
from culmen.components.policies.continuous import exploring
from culmen.components.policies.continuous import exploring_choices
from culmen.components.policies.continuous import with_gaussian_noise
from culmen.components.policies.epsilon_greedy import ActionValues
from culmen.components.policies.epsilon_greedy import ValueExtras
from culmen.components.policies.epsilon_greedy import ape_x_exponents
from culmen.components.policies.epsilon_greedy import epsilon_greedy
from culmen.components.policies.epsilon_greedy import greedy
from culmen.components.policies.epsilon_greedy import recurrent_epsilon_greedy
from culmen.components.policies.epsilon_greedy import values_that_acted
from culmen.components.policies.lanes import episode_return
from culmen.components.policies.lanes import in_each_lane
from culmen.components.policies.lanes import keyed
from culmen.components.policies.lanes import lane_index
from culmen.components.policies.lanes import lane_keys
from culmen.components.policies.legal import mask_illegal
from culmen.components.policies.uniform import uniform_actions

__all__ = [
    'ActionValues',
    'ActorCriticState',
    'Behaviour',
    'Extras',
    'Policy',
    'Schedule',
    'ValueExtras',
    'ape_x_exponents',
    'around_mode',
    'at_mode',
    'choosing',
    'deterministic',
    'drawn_actions',
    'entering_state',
    'episode_return',
    'epsilon_greedy',
    'exploring',
    'exploring_choices',
    'greedy',
    'in_each_lane',
    'keyed',
    'lane_index',
    'lane_keys',
    'likeliest',
    'linear_schedule',
    'mask_illegal',
    'network_inputs',
    'recurrent_epsilon_greedy',
    'sampling',
    'tasks_of',
    'uniform_actions',
    'unroll_window',
    'unrolled',
    'values_that_acted',
    'with_gaussian_noise',
]
