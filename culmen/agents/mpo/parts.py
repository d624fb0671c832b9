"""What agents that improve a policy on several of its actions share: networks, acting, experience."""

from typing import Any

from culmen.agents.mpo.settings import ImprovementSettings
from culmen.components import policies
from culmen.components.networks import PolicyAndCritic
from culmen.components.networks import check_reward
from culmen.components.networks import make_policy_and_critic
from culmen.core.agent import Parts
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import leaf_paths
from culmen.core.types import LearnerCore


def num_rewards(
    agent: str, spec: EnvironmentSpec, epsilons: tuple[float, ...] | None = None
) -> int:
    """The number of rewards of an environment, each float32[].

    Args: agent: its name, for errors. epsilons: a bound for each; None: there has to be one reward.
    Raises: ValueError that names the agent and the reward, or the bounds.
    """
    if epsilons is None:
        check_reward(agent, spec)
        return 1
    leaves = leaf_paths(spec.reward)
    if any(leaf.shape != () for _, leaf in leaves):
        raise ValueError(f'{agent} needs rewards that are float32[] each, got {spec.reward!r}.')
    if len(leaves) != len(epsilons):
        names = [path for path, _ in leaves]
        raise ValueError(
            f'epsilon_objectives must have a bound for each of the {len(leaves)} rewards {names}, '
            f'got {epsilons}.'
        )
    return len(leaves)


def make_networks(
    agent: str,
    spec: EnvironmentSpec,
    settings: ImprovementSettings,
    num_outputs: int,
    takes_choices: bool = True,
) -> PolicyAndCritic:
    """The networks that the settings ask for. Args: as for `make_policy_and_critic`."""
    return make_policy_and_critic(
        agent,
        spec,
        settings.hidden_sizes,
        num_outputs=num_outputs,
        takes_choices=takes_choices,
        layer_norm=settings.layer_norm,
        core=settings.core,
        core_size=settings.core_size,
        encoder_channels=settings.encoder_channels,
        initial_scale=settings.initial_scale,
        critic_observation=settings.critic_observation,
    )


def join(
    networks: PolicyAndCritic,
    learner: LearnerCore,
    spec: EnvironmentSpec,
    settings: ImprovementSettings,
) -> Parts:
    """Joins networks and an update to an agent that draws from its policy, and evaluates its mode."""
    corrected = settings.targets == 'retrace'

    def extras(policy: Any, drawn: Any) -> dict[str, Any]:
        return {'log_prob': policy.log_prob(drawn)} if corrected else {}

    acting = networks.acting()
    return Parts(
        actor=policies.sampling(acting, spec, extras, keeps_draws=corrected),
        evaluator=policies.likeliest(acting, spec),
        learner=learner,
        experience=experience(settings),
    )


def experience(settings: ImprovementSettings) -> Experience:
    """Transitions or sequences, replayed, or new ones beside replayed ones."""
    if settings.sequence_length is None:
        window = Window(length=settings.n_step, ends=('observation',))
    else:
        first = () if settings.core == 'none' else ('extras/core_state',)
        window = Window(settings.sequence_length, settings.sequence_period, first=first)
    online = settings.online_batch_size
    replay = Replay(
        window=window,
        capacity=settings.replay_capacity,
        min_size=settings.min_replay_size,
        batch_size=settings.batch_size - online,
        # A new window's first draw is from the queue.
        samples_per_insert=settings.samples_per_insert - (1 if online else 0),
    )
    return {'online': Queue(window, online), 'replay': replay} if online else replay
