"""Loops that run workers and environments together in one process."""

from culmen.environment_loops.batched import BatchedEnvironment
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Evaluator
from culmen.environment_loops.host import EnvironmentLoop
from culmen.environment_loops.observers import Observer

__all__ = [
    'BatchedEnvironment',
    'EnvironmentLoop',
    'Episode',
    'EvaluationResult',
    'Evaluator',
    'Observer',
]
