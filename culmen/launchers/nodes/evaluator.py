"""The node that evaluates: at counted places of the training, with the variables kept there."""

import time

import numpy as np

from culmen.core.experiment import Experiment
from culmen.core.specs import EnvironmentSpec
from culmen.environment_loops.evaluation import Evaluator
from culmen.environment_loops.evaluation import Interrupted
from culmen.launchers.building import build_agent
from culmen.launchers.building import environment_factory
from culmen.launchers.building import prepare_jax
from culmen.launchers.remote import Remote
from culmen.launchers.remote import Stop
from culmen.launchers.remote import Stopped
from culmen.launchers.training import summarise

_LOOK_SECONDS = 0.05


class EvaluatorNode:
    """Asks the learner for the next evaluation, plays it, and tells the counter."""

    def __init__(
        self,
        experiment: Experiment,
        spec: EnvironmentSpec,
        *,
        stop: Stop,
        counter: Remote,
        learner: Remote,
    ) -> None:
        """Args: experiment: what is run; spec: of its environments; stop: ends `run`; the others."""
        parts = build_agent(experiment.agent, spec)
        prepare_jax(parts)
        self._stop = stop
        self._counter = counter
        self._learner = learner
        self._evaluator = Evaluator(
            parts.evaluator,
            environment_factory(experiment.environment),
            spec,
            experiment.seed,
            experiment.evaluation.episodes,
            stop=stop,
        )

    def run(self) -> None:
        """Evaluates up to the final variables."""
        number = self._learner.get_start()['evaluations']
        begin, waited = time.perf_counter(), 0.0
        while True:
            work = self._learner.get_evaluation(number)
            if work is None:
                idle = time.perf_counter()
                self._stop.sleep(_LOOK_SECONDS)
                waited += time.perf_counter() - idle
                continue
            if work == 'none':
                break
            actor_steps, learner_steps, params = work
            try:
                result = self._evaluator.evaluate(params, actor_steps, actor_steps)
            except Interrupted:
                raise Stopped from None
            summary = summarise(result)
            row = {
                'actor_steps': actor_steps,
                'learner_steps': learner_steps,
                'episode_return': summary['return_mean'],
                'episode_length': float(np.mean(result.lengths)),
                'episode_return_std': summary['return_std'],
                'episodes': summary['episodes'],
            }
            self._counter.evaluated(row, summary)
            number += 1
        self._counter.report(
            'evaluator',
            {
                'seconds': time.perf_counter() - begin,
                'waited': {'for evaluations': waited},
                'traffic': {
                    'counter': self._counter.traffic(),
                    'learner': self._learner.traffic(),
                },
            },
        )
