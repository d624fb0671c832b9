"""WPO: a stochastic policy that follows the critic's gradient in the action, without reparameterised draws.

Pfau et al. 2025, "Wasserstein Policy Optimization" (2505.00663): the Wasserstein gradient flow of the
expected return, projected onto the parameters of the policy, within bounds on the policy's change. Critic
and experience are those of MPO.

    culmen.run(
        culmen.Experiment(agent=wpo.WPO(), environment='gymnasium/Pendulum-v1', max_actor_steps=50_000)
    )
"""

from culmen.agents.wpo.agent import WPO
from culmen.agents.wpo.config import WPOConfig
from culmen.agents.wpo.learning import policy_loss

__all__ = ['WPO', 'WPOConfig', 'policy_loss']
