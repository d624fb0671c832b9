"""A run and its state at a checkpoint, for tests of folders and launches."""

import numpy as np

import culmen
from culmen.agents import dqn
from culmen.launchers.schedule import Counts
from culmen.launchers.schedule import RowState
from culmen.launchers.schedule import ScheduleState
from culmen.launchers.workdir import RunState
from culmen.launchers.workdir import WorkerState

EXPERIMENT = culmen.Experiment(dqn.DQN(), 'jax/catch', max_actor_steps=100)
STATE = RunState(
    Counts(40, 7),
    {'actor_steps': 40, 'learner_steps': 7, 'episodes': 3, 'evaluations': 1},
    ScheduleState(50, 60, RowState(1_000, 5), Counts(20, 2)),
    {'return_mean': 0.5},
    {'positions': {}},
    WorkerState({'newest': {'w': np.ones(2)}, 'updates': 7}, table={'n': 1}, actors={'0': {}}),
)
