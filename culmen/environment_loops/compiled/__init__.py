"""The loop and the evaluator as compiled functions, for environments written in JAX.

`plan` holds what is fixed before a run begins, and `carry` the state of a run. The compiled functions, in
`ticks` and `playing`, take both. `loop` and `evaluation` call them from the host, and `report` tells the
host what happened in a call.
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
