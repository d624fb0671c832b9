"""The nodes of a program: the workers of a run, each in a place of its own, with handles to the others.

    counter     keeps budgets, counts and logs; tells the others of checkpoints and of the end
    replay      serves the tables
    learner     makes updates and checkpoints, serves variables
    actor-0 ... act in lanes of environments
    evaluator   plays with the variables that the learner kept for it

A node is made and run in its own process or thread, and does not depend on the engine: a handle is a
`Remote`, or anything with the same methods.
"""

from culmen.launchers.programs.nodes.actor import ActorNode
from culmen.launchers.programs.nodes.counter import CounterNode
from culmen.launchers.programs.nodes.evaluator import EvaluatorNode
from culmen.launchers.programs.nodes.learner import LearnerNode
from culmen.launchers.programs.nodes.replay import ReplayNode

__all__ = ['ActorNode', 'CounterNode', 'EvaluatorNode', 'LearnerNode', 'ReplayNode']
