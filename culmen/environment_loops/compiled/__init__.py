"""The loop and the evaluator as compiled functions: environments written in JAX, actor, tables and learner.

`plan` holds what is fixed before a run begins, `carry` the state of a run; `ticks` and `playing` are the
functions of both that are compiled. `loop` and `evaluation` call them from the host, and `report` says what
happened in a call.
"""

from culmen.environment_loops.compiled.carry import Carry
from culmen.environment_loops.compiled.evaluation import CompiledEvaluator
from culmen.environment_loops.compiled.evaluation import EvaluationRequest
from culmen.environment_loops.compiled.loop import CompiledLoop
from culmen.environment_loops.compiled.plan import Settings
from culmen.environment_loops.compiled.report import Report

__all__ = [
    'Carry',
    'CompiledEvaluator',
    'CompiledLoop',
    'EvaluationRequest',
    'Report',
    'Settings',
]
