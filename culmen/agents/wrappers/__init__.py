"""Agents made of agents: each holds another, `base`, builds it, and transforms its parts.

- `Normalised`: observations of mean 0 and deviation 1;
- `RewardScaled`: rewards divided by the standard deviation of the return (Engstrom et al. 2020, 2005.12729);
- `WarmedUp`: uniformly random actions at first;
- `Demonstrated`: recorded streams in a share of each batch (Paine et al. 2019, 1909.01387).

    culmen.run(culmen.Experiment(agent=wrappers.Normalised(dqn.DQN()), environment='gymnasium/CartPole-v1',
                                 max_actor_steps=20_000))
"""

from culmen.agents.wrappers.demonstrated import Demonstrated
from culmen.agents.wrappers.normalised import Normalised
from culmen.agents.wrappers.reward_scaled import RewardScaled
from culmen.agents.wrappers.warmed_up import WarmedUp

__all__ = ['Demonstrated', 'Normalised', 'RewardScaled', 'WarmedUp']
