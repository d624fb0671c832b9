"""A node that evaluates, with variables that the learner kept at fixed counts of the training."""

import time

from culmen.components.dispatch import run_small_networks_inline
from culmen.core.experiment import Experiment
from culmen.core.specs import EnvironmentSpec
from culmen.environment_loops.evaluation import Interrupted
from culmen.launchers.building import build_agent
from culmen.launchers.building import make_evaluator
from culmen.launchers.building import trace_params
from culmen.launchers.building import with_functions
from culmen.launchers.factories import labels_of
from culmen.launchers.programs.evaluators import FurtherEvaluator
from culmen.launchers.programs.nodes.further import EVALUATOR
from culmen.launchers.programs.remote import Remote
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.stops import Stopped
from culmen.launchers.rows import evaluator_rows
from culmen.launchers.rows import say_cut
from culmen.launchers.rows import summarise
from culmen.launchers.schedule import Counts

_LOOK_SECONDS = 0.05


class EvaluatorNode:
    """Asks the learner for the next evaluation, plays it, and reports it to the counter."""

    def __init__(
        self,
        experiment: Experiment,
        spec: EnvironmentSpec,
        *,
        has_functions: bool = False,
        label: str = EVALUATOR,
        further: FurtherEvaluator | None = None,
        stop: Stop,
        counter: Remote,
        learner: Remote,
    ) -> None:
        """Args: experiment: what is run; spec: of its environments, without their functions; has_functions:
        whether there are any; label: of this node; further: what it plays; None: what the experiment says;
        stop: ends `run`; the other nodes.
        """
        spec = with_functions(experiment, spec) if has_functions else spec
        parts = build_agent(experiment.agent, spec)
        core = parts.evaluator
        if further is not None:
            experiment, core = further.applied(experiment), further.core(parts)
        run_small_networks_inline(trace_params(parts))
        self._stop = stop
        self._counter = counter
        self._learner = learner
        self._label = label
        self._evaluator = make_evaluator(
            experiment, core, spec, stop, lambda text: counter.evaluating(text, label)
        )
        self._labels = labels_of(experiment)
        self._max_steps = experiment.evaluation.max_steps

    def run(self) -> None:
        """Makes all evaluations, ending with the final variables."""
        self._learner.get_start()  # one that has been started again has told the counter where it begins
        number = self._counter.get_played(self._label)
        begin, waited, said_cut = time.perf_counter(), 0.0, False
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
                result = self._evaluator.evaluate(params, actor_steps, actor_steps, learner_steps)
            except Interrupted:
                raise Stopped from None
            rows = evaluator_rows(Counts(actor_steps, learner_steps), result, self._labels)
            self._counter.evaluated(rows, summarise(result, self._labels), self._label)
            said_cut = said_cut or say_cut(result, self._max_steps)
            number += 1
        self._counter.report(
            self._label,
            {
                'seconds': time.perf_counter() - begin,
                'waited': {'for evaluations': waited},
                'traffic': {
                    'counter': self._counter.traffic(),
                    'learner': self._learner.traffic(),
                },
            },
        )
