"""The nodes of a program: the workers of one process, each at its place, with handles to the others.

    counter     budgets, counts and logs; where everybody hears of checkpoints and of the end
    replay      the tables' server
    learner     updates, variables, checkpoints
    actor-0 ... lanes of environments
    evaluator   plays with the variables that the learner kept for it

A node is made and run in its own process or thread, and knows no engine: a handle is a `Remote`, or
anything with the same methods.
"""

from culmen.launchers.programs.nodes.actor import ActorNode
from culmen.launchers.programs.nodes.counter import CounterNode
from culmen.launchers.programs.nodes.evaluator import EvaluatorNode
from culmen.launchers.programs.nodes.learner import LearnerNode
from culmen.launchers.programs.nodes.replay import ReplayNode

__all__ = ['ActorNode', 'CounterNode', 'EvaluatorNode', 'LearnerNode', 'ReplayNode']
