"""What `culmen list agents` says of each agent, and the names that users of other frameworks look for."""

from typing import Literal
from typing import NamedTuple

Group = Literal['values', 'policies', 'continuous control', 'recorded data', 'around an agent']


class Entry(NamedTuple):
    """An agent in the list."""

    group: Group
    paper: str
    actions: str
    learns: Literal['on-policy', 'off-policy', 'from recordings', 'as its base']
    example: str  # a command that runs


_TRAIN = 'culmen train'
_CATCH = '--environment bsuite/catch/0 --steps 20000'
_PENDULUM = '--environment gymnasium/Pendulum-v1 --steps 20000'

ENTRIES: dict[str, Entry] = {
    'dqn': Entry(
        'values', 'Mnih et al. 2015 (Nature 518)', 'choices', 'off-policy', f'{_TRAIN} dqn {_CATCH}'
    ),
    'ape_x': Entry(
        'values', 'Horgan et al. 2018 (1803.00933)', 'one choice', 'off-policy',
        f'{_TRAIN} ape_x {_CATCH} --num-environments 4',
    ),
    'c51': Entry(
        'values', 'Bellemare et al. 2017 (1707.06887)', 'one choice', 'off-policy',
        f'{_TRAIN} c51 {_CATCH} --preset unit',
    ),
    'qr_dqn': Entry(
        'values', 'Dabney et al. 2018 (1710.10044)', 'one choice', 'off-policy',
        f'{_TRAIN} qr_dqn {_CATCH}',
    ),
    'iqn': Entry(
        'values', 'Dabney et al. 2018 (1806.06923)', 'one choice', 'off-policy',
        f'{_TRAIN} iqn {_CATCH}',
    ),
    'rainbow': Entry(
        'values', 'Hessel et al. 2018 (1710.02298)', 'one choice', 'off-policy',
        f'{_TRAIN} rainbow {_CATCH} --preset unit',
    ),
    'r2d2': Entry(
        'values', 'Kapturowski et al. 2019 (ICLR)', 'one choice', 'off-policy',
        f'{_TRAIN} r2d2 --environment bsuite/memory_len/9 --steps 60000',
    ),
    'pqn': Entry(
        'values', 'Gallici et al. 2024 (2407.04811)', 'one choice', 'on-policy',
        f'{_TRAIN} pqn {_CATCH} --num-environments 8',
    ),
    'a2c': Entry(
        'policies', 'Mnih et al. 2016 (1602.01783)', 'choices and boxes', 'on-policy',
        f'{_TRAIN} a2c {_CATCH} --num-environments 8',
    ),
    'impala': Entry(
        'policies', 'Espeholt et al. 2018 (1802.01561)', 'choices and boxes', 'on-policy',
        f'{_TRAIN} impala {_CATCH} --num-environments 8',
    ),
    'ppo': Entry(
        'policies', 'Schulman et al. 2017 (1707.06347)', 'choices and boxes', 'on-policy',
        f'{_TRAIN} ppo {_CATCH} --num-environments 8',
    ),
    'reinforce': Entry(
        'policies', 'Williams 1992 (Machine Learning 8)', 'choices and boxes', 'on-policy',
        f'{_TRAIN} reinforce {_CATCH}',
    ),
    'vmpo': Entry(
        'policies', 'Song et al. 2019 (1909.12238)', 'choices and boxes', 'on-policy',
        f'{_TRAIN} vmpo {_CATCH} --num-environments 8',
    ),
    'ddpg': Entry(
        'continuous control', 'Lillicrap et al. 2015 (1509.02971)', 'a bounded box', 'off-policy',
        f'{_TRAIN} ddpg {_PENDULUM}',
    ),
    'td3': Entry(
        'continuous control', 'Fujimoto et al. 2018 (1802.09477)', 'a bounded box', 'off-policy',
        f'{_TRAIN} td3 {_PENDULUM}',
    ),
    'd4pg': Entry(
        'continuous control', 'Barth-Maron et al. 2018 (1804.08617)', 'a bounded box', 'off-policy',
        f'{_TRAIN} d4pg --environment dm_control/cartpole/swingup --steps 50000',
    ),
    'sac': Entry(
        'continuous control', 'Haarnoja et al. 2018 (1812.05905)', 'a bounded box or one choice',
        'off-policy', f'{_TRAIN} sac {_PENDULUM}',
    ),
    'crossq': Entry(
        'continuous control', 'Bhatt et al. 2024 (1902.05605)', 'a bounded box', 'off-policy',
        f'{_TRAIN} crossq {_PENDULUM}',
    ),
    'mpo': Entry(
        'continuous control', 'Abdolmaleki et al. 2018 (1806.06920)', 'a choice or a bounded box',
        'off-policy', f'{_TRAIN} mpo {_PENDULUM}',
    ),
    'dmpo': Entry(
        'continuous control', 'Abdolmaleki et al. 2018 (1806.06920), Hoffman et al. 2020 (2006.00979)',
        'a choice or a bounded box', 'off-policy', f'{_TRAIN} dmpo {_PENDULUM}',
    ),
    'wpo': Entry(
        'continuous control', 'Pfau et al. 2025 (2505.00663)', 'a bounded box', 'off-policy',
        f'{_TRAIN} wpo {_PENDULUM}',
    ),
    'bc': Entry(
        'recorded data', 'Pomerleau 1989 (NIPS 1)', 'choices and bounded boxes', 'from recordings',
        f'{_TRAIN} bc --agent.source runs/recording --launcher offline --learner-steps 2000 '
        '--environment bsuite/catch/0',
    ),
    'demonstrated': Entry(
        'around an agent', 'Gulcehre et al. 2020 (1909.01387), replay of demonstrations',
        "those of its base", 'as its base',
        f'{_TRAIN} demonstrated --agent.base dqn --agent.source runs/recording {_CATCH}',
    ),
    'normalised': Entry(
        'around an agent', 'running statistics of observations', "those of its base", 'as its base',
        f'{_TRAIN} normalised --agent.base ppo {_PENDULUM}',
    ),
    'reward_scaled': Entry(
        'around an agent', 'running deviation of returns', "those of its base", 'as its base',
        f'{_TRAIN} reward_scaled --agent.base ppo {_PENDULUM}',
    ),
    'warmed_up': Entry(
        'around an agent', 'uniformly random first actions', "those of its base", 'as its base',
        f'{_TRAIN} warmed_up --agent.base dqn --agent.steps 1000 {_CATCH}',
    ),
}  # fmt: skip

# Names in JORLDY, Acme and stable-baselines3, in small letters, and what they are here.
ELSEWHERE: dict[str, str] = {
    'double': 'dqn --agent.double true',
    'double_dqn': 'dqn --agent.double true',
    'dueling': 'dqn --agent.dueling true',
    'dueling_dqn': 'dqn --agent.dueling true',
    'multistep': 'dqn --agent.n_step 3',
    'per': 'dqn --agent.priority_exponent 0.6',
    'noisy': 'dqn --preset noisy',
    'noisy_dqn': 'dqn --preset noisy',
    'm_dqn': 'dqn --preset munchausen',
    'munchausen_dqn': 'dqn --preset munchausen',
    'm_iqn': 'iqn --preset munchausen',
    'rainbow_iqn': 'rainbow --agent.head iqn',
    'der': 'rainbow --preset atari_100k',
    'drq_eps': 'dqn --preset atari_100k',
    'apex': 'ape_x',
    'ape-x': 'ape_x',
    'apex_dqn': 'ape_x',
    'qrdqn': 'qr_dqn',
    'drqn': 'r2d2',
    'a3c': 'a2c',
    'vpg': 'reinforce',
    'v-mpo': 'vmpo',
    'v_mpo': 'vmpo',
    'recurrentppo': 'ppo --agent.core lstm',
    'recurrent_ppo': 'ppo --agent.core lstm',
    'maskableppo': 'ppo, which keeps to legal actions',
    'maskable_ppo': 'ppo, which keeps to legal actions',
    'mo_mpo': 'mpo, with a bound for each of several rewards',
    'mog_mpo': 'dmpo --agent.critic gaussians',
    'discrete_sac': 'sac, which takes one choice, too',
    'sac_discrete': 'sac, which takes one choice, too',
    'drq': 'sac --agent.augmentation_pad 4',
    'redq': 'sac --preset redq',
    'droq': 'sac --preset droq',
    'tqc': 'sac --preset tqc',
    'simba': 'sac --preset simba',
    'svg0': 'sac --agent.temperature 0 --agent.num_critics 1',
    'vecnormalize': 'normalised --agent.base ppo',
}


def elsewhere(name: str) -> str | None:
    """What an agent with another framework's name is here; None if it is not known."""
    small = name.lower()
    return small if small in ENTRIES and small != name else ELSEWHERE.get(small)
