"""What an agent is: the types, the specs, experience, experiments, and the interfaces of the workers.

Reading order: types, experience, specs, actions, agent, rules, experiment, workers. It imports nothing else
of Culmen.
"""

from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.checks import check_range
from culmen.core.checks import check_types
from culmen.core.environments import JaxEnvironment
from culmen.core.environments import environment_state
from culmen.core.environments import without_environment_state
from culmen.core.errors import AgentFailure
from culmen.core.errors import SettingError
from culmen.core.errors import SettingTypeError
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.experiment import Checkpoint
from culmen.core.experiment import Evaluation
from culmen.core.experiment import Experiment
from culmen.core.experiment import NamedEnvironment
from culmen.core.experiment import environment
from culmen.core.goals import Goals
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import StackedArray
from culmen.core.specs import legal_actions
from culmen.core.specs import make_environment_spec
from culmen.core.specs import validate_timestep
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MAX_COUNT
from culmen.core.types import MID
from culmen.core.types import ActorCore
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import LearnerCore
from culmen.core.types import Sample
from culmen.core.types import Steps
from culmen.core.types import Stream
from culmen.core.types import TimeStep
from culmen.core.types import where_first

__all__ = [
    'FIRST',
    'LAST',
    'MAX_COUNT',
    'MID',
    'ActorCore',
    'Agent',
    'AgentFailure',
    'Checkpoint',
    'Context',
    'Dataset',
    'EnvironmentSpec',
    'Evaluation',
    'Experience',
    'Experiment',
    'Goals',
    'JaxEnvironment',
    'Lanes',
    'LearnerCore',
    'NamedEnvironment',
    'Parts',
    'Queue',
    'Range',
    'Replay',
    'Sample',
    'SettingError',
    'SettingTypeError',
    'StackedArray',
    'Steps',
    'Stream',
    'TimeStep',
    'Window',
    'check_fields',
    'check_range',
    'check_types',
    'environment',
    'environment_state',
    'legal_actions',
    'make_environment_spec',
    'validate_timestep',
    'where_first',
    'without_environment_state',
]
