"""Which fields of an observation a policy sees, and which only its critics do.

Critics help to learn and are not needed to act, so they may see what an actor will not have: the state behind
its pixels, the wind, another's hand (asymmetric actor-critic, Pinto et al. 2018, 1710.06542).
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax

from culmen.core.checks import unknown_name
from culmen.core.errors import SettingError
from culmen.core.specs import without_legal_actions
from culmen.core.types import Nest


class Observed(NamedTuple):
    """The parts of an observation, or of its spec. A part with one field is that field itself."""

    of_critic: tuple[str, ...]  # the fields that only critics see; (): all see the same

    def by_actor(self, observation: Nest) -> Nest:
        """What the policy sees: the observation without legal actions and without the critics' fields."""
        if not self.of_critic:
            return without_legal_actions(observation)
        hidden = (*self.of_critic, 'legal_actions')
        return _lone_or_all({k: v for k, v in observation.items() if k not in hidden})

    def by_critic_alone(self, observation: Nest) -> Nest:
        """What only critics see."""
        return _lone_or_all({name: observation[name] for name in self.of_critic})


def observed(observation_spec: Any, critic_observation: Sequence[str] = ()) -> Observed:
    """The parts of an agent's observations.

    Args:
        observation_spec: of the environment.
        critic_observation: names of fields that only critics see.
    Raises: ValueError that names `critic_observation` where there is no such field, or where nothing is left
        for the policy to see.
    """
    parts = Observed(tuple(dict.fromkeys(critic_observation)))
    if parts.of_critic:
        if not isinstance(observation_spec, Mapping):
            raise SettingError(
                f'critic_observation must be () where no dict is observed, got {parts.of_critic} of '
                f'{observation_spec!r}.'
            )
        fields = [name for name in observation_spec if name != 'legal_actions']
        for name in parts.of_critic:
            if name not in fields:
                raise SettingError(f'critic_observation: {unknown_name("field", name, fields)}')
    if jax.tree_util.tree_leaves(parts.by_actor(observation_spec)):
        return parts
    if parts.of_critic:
        raise SettingError(
            f'critic_observation must leave the policy something to see, got {parts.of_critic} of the '
            f'fields {fields}.'
        )
    raise SettingError(f'the policy needs something to observe, got {observation_spec!r}.')


def _lone_or_all(fields: dict[str, Any]) -> Nest:
    return next(iter(fields.values())) if len(fields) == 1 else fields
