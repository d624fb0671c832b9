"""Environments of gymnasium, as dm_env: `gymnasium/CartPole-v1`, `gymnasium/ALE/Pong-v5`.

Terminations have discount 0, truncations keep it at 1, and both end with LAST. The generator is
seeded once, at the first reset, and goes on from episode to episode. gymnasium's own checkers are
left out, since they cost more than the steps of many environments.
"""

import pickle
from collections.abc import Callable
from typing import Annotated
from typing import Any

import dm_env
import numpy as np

from culmen.components.environments import arguments
from culmen.components.environments import saving
from culmen.components.environments.arguments import Argument
from culmen.components.environments.families.gymnasium_spaces import action_writer
from culmen.components.environments.families.gymnasium_spaces import mask_reader
from culmen.components.environments.families.gymnasium_spaces import observation_reader
from culmen.core import checks
from culmen.core.checks import Range
from culmen.core.metrics import is_number
from culmen.core.ranges import as_float32
from culmen.core.specs import DISCOUNT
from culmen.core.specs import REWARD

# The modules that register the ids of a namespace. For others gymnasium takes `module:id`.
_NAMESPACES = {'ALE': ('ale_py', 'ale-py'), 'MinAtar': ('minatar.gym', 'minatar')}
_DRAWN_WITH_PYGAME = (
    'gymnasium.envs.box2d',
    'gymnasium.envs.classic_control',
    'gymnasium.envs.toy_text',
)
# Registered, and refused by gymnasium itself beside the versions of MuJoCo that it needs elsewhere.
_LEFT_OUT = {'Pusher-v4': 'it needs mujoco below 3; gymnasium/Pusher-v5 is the same task'}
_FIRST, _MID, _LAST = dm_env.StepType
_ENDED, _GOES_ON = np.float32(0), np.float32(1)  # discounts


def names() -> list[str]:
    """Every id of gymnasium's own that can be built, as 'CartPole-v1'.

    What other packages register with gymnasium depends on which of them have been imported.
    """
    registry = _gymnasium('gymnasium').registry
    known = (name for name, spec in registry.items() if _is_of_gymnasium(spec))
    return sorted(name for name in known if name not in _LEFT_OUT)


def check(identity: str) -> None:
    """Raises ValueError with the nearest ids where there is no such environment."""
    registered(identity)


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The arguments of the environment's own constructor, and whether it takes others besides."""
    return arguments.foreign_arguments(_creator(registered(identity)), skip=('render_mode',))


def make(
    identity: str,
    seed: int,
    *,
    max_episode_steps: Annotated[int | None, Range(1)] = None,
    legal_actions: bool = False,
    **options: Any,
) -> dm_env.Environment:
    """Builds an environment by its id.

    Args:
        max_episode_steps: steps after which an episode is truncated; None: as registered.
        legal_actions: whether `info['action_mask']` joins the observation, which becomes
            {'observation': ..., 'legal_actions': bool[num_actions]}, or a nest of masks where the
            action has several leaves.
        **options: arguments of the environment's constructor.
    """
    build, limit = builder(registered(identity), max_episode_steps, options)
    return GymnasiumEnvironment(build, seed, limit, legal_actions, f'gymnasium/{identity}')


def builder(
    spec: Any, max_episode_steps: int | None, options: dict[str, Any]
) -> tuple[Callable[[], Any], int | None]:
    """A function that builds a gymnasium.Env, and the steps after which the caller truncates an episode.

    Args: spec: of gymnasium's registry; max_episode_steps, options: as for `make`.
    """
    gymnasium = _gymnasium(spec.id)
    metadata = getattr(_creator(spec), 'metadata', None) or {}
    is_drawn = 'rgb_array' in metadata.get('render_modes', ())
    if max_episode_steps is None:
        max_episode_steps = spec.max_episode_steps
    # Registered wrappers may read the remaining time from gymnasium's own limit.
    inner_limit = max_episode_steps if spec.additional_wrappers else None
    options = {'max_episode_steps': inner_limit or -1, 'disable_env_checker': True, **options}

    def build() -> Any:
        nonlocal is_drawn
        environment = None
        if is_drawn:
            try:
                environment = gymnasium.make(spec, render_mode='rgb_array', **options)
            except TypeError as error:
                if "unexpected keyword argument 'render_mode'" not in str(error):
                    raise
                is_drawn = False  # its constructor does not take the render mode of its metadata
        if environment is None:
            environment = gymnasium.make(spec, **options)
        # Nothing calls step before reset here.
        while type(environment) is gymnasium.wrappers.OrderEnforcing:
            environment = environment.env
        return environment

    return build, None if inner_limit else max_episode_steps


class GymnasiumEnvironment(dm_env.Environment):
    """A gymnasium environment as dm_env."""

    def __init__(
        self,
        build: Callable[[], Any],
        seed: int,
        max_episode_steps: int | None = None,
        legal_actions: bool = False,
        name: str = 'environment',
    ) -> None:
        """Builds and adapts an environment.

        Args:
            build: makes a gymnasium.Env, without a time limit of its own where there is one here.
            seed: given to its first reset.
            max_episode_steps: steps after which an episode is truncated; None: never.
            legal_actions: whether `info['action_mask']` joins the observation.
            name: what errors call it.
        Raises: ValueError where a space has no counterpart among specs.
        """
        self._build = build
        self._name = name
        self._legal_actions = legal_actions
        self._limit = float('inf') if max_episode_steps is None else max_episode_steps
        self._reset_next_step = True
        self._elapsed = 0
        self._seed: int | None = seed
        self._set_environment(build())
        # Some environments draw from their spaces.
        self._environment.action_space.seed(seed)
        self._environment.observation_space.seed(seed)
        # These can't be saved by their state, so the episode is played again from its beginning:
        # Box2D's worlds can't be copied, and the state of ALE lacks the sticky action.
        module = type(self._environment.unwrapped).__module__
        self._in_new_worlds = module.startswith('gymnasium.envs.box2d')
        self._replayed = self._in_new_worlds or module.startswith('ale_py')
        self._start: Any = None
        self._actions: list[Any] = []
        self._info: Any = {}  # of the last time step

        self._observation_spec, self._read = observation_reader(
            self._environment.observation_space, 'observation', name
        )
        self._action_spec, self._write = action_writer(
            self._environment.action_space, 'action', name
        )
        if legal_actions:
            reader = mask_reader(
                self._environment.action_space, self._action_spec, 'legal_actions', name
            )
            if reader is None:
                raise ValueError(f'{name}: legal_actions=True needs a discrete action space.')
            masks, self._read_mask = reader
            self._observation_spec = {'observation': self._observation_spec, 'legal_actions': masks}

    def _set_environment(self, environment: Any) -> None:
        self._environment = environment
        self._step = environment.step

    def reset(self) -> dm_env.TimeStep:
        if self._in_new_worlds:
            self._new_world()
        observation, info = self._environment.reset(seed=self._seed)
        self._info = info
        self._seed = None
        self._elapsed = 0
        self._reset_next_step = False
        self._actions = []
        if self._replayed and not self._in_new_worlds:
            self._start = saving.capture(self._layers())
        observation = self._read(observation)
        if self._legal_actions:
            observation = self._with_mask(observation, info)
        return dm_env.TimeStep(_FIRST, None, None, observation)

    def step(self, action: Any) -> dm_env.TimeStep:
        if self._reset_next_step:
            return self.reset()
        action = self._write(action)
        if self._replayed:
            self._actions.append(action)
        observation, reward, terminated, truncated, info = self._step(action)
        self._info = info
        observation = self._read(observation)
        reward = as_float32('reward', reward)
        self._elapsed += 1
        if self._legal_actions:
            observation = self._with_mask(observation, info, terminated or truncated)
        if terminated:
            self._reset_next_step = True
            return dm_env.TimeStep(_LAST, reward, _ENDED, observation)
        if truncated or self._elapsed >= self._limit:
            self._reset_next_step = True
            return dm_env.TimeStep(_LAST, reward, _GOES_ON, observation)
        return dm_env.TimeStep(_MID, reward, _GOES_ON, observation)

    def _with_mask(self, observation: Any, info: Any, ended: bool = False) -> Any:
        mask = info.get('action_mask')
        if mask is None and not ended:
            raise ValueError(
                f"{self._name} gives no info['action_mask'], which legal_actions=True needs."
            )
        return {'observation': observation, 'legal_actions': self._read_mask(mask)}

    def observation_spec(self) -> Any:
        return self._observation_spec

    def action_spec(self) -> Any:
        return self._action_spec

    def reward_spec(self) -> Any:
        return REWARD

    def discount_spec(self) -> Any:
        return DISCOUNT

    def metrics(self) -> dict[str, Any]:
        """The numbers in `info` of the last time step."""
        return {name: value for name, value in self._info.items() if is_number(value)}

    @property
    def unwrapped(self) -> Any:
        """The environment itself, below all wrappers."""
        return self._environment.unwrapped

    def render(self) -> np.ndarray[Any, Any]:
        """A frame, where the environment knows the render mode 'rgb_array'."""
        if self._seed is not None:
            self.reset()
        return draw(self._environment, self._name)

    def close(self) -> None:
        self._environment.close()

    @property
    def restorable(self) -> bool:
        """Whether it can be saved: by replaying the episode, or by copying its attributes."""
        try:
            self.get_state()
        except ValueError:
            return False
        return True

    def get_state(self) -> object:
        """The state in the middle of an episode. Raises ValueError where it can't be copied."""
        if self._replayed:
            inner: Any = self._start, list(self._actions)
        else:
            try:
                inner = saving.capture(self._layers())
            except (TypeError, AttributeError, ValueError, pickle.PicklingError) as error:
                raise ValueError(
                    f'{self._name} can not be saved in mid-episode: {error}'
                ) from error
        return self._seed, self._elapsed, self._reset_next_step, inner

    def set_state(self, state: Any) -> None:
        seed, elapsed, reset_next_step, inner = state
        if self._replayed:
            self._start, actions = inner
            self._actions = list(actions)
            if self._start is not None:
                if self._in_new_worlds:
                    self._new_world(self._start)
                self._environment.reset()
                if not self._in_new_worlds:
                    saving.restore(self._layers(), self._start)
                for action in actions:
                    self._step(action)
        else:
            saving.restore(self._layers(), inner)
            self._step = self._environment.step
        self._seed, self._elapsed, self._reset_next_step = seed, elapsed, reset_next_step

    def _layers(self) -> list[Any]:
        return saving.layers_of(self._environment, _gymnasium(self._name).Env)

    def _new_world(self, generator: bytes | None = None) -> None:
        """Makes a new world, so that an episode depends on its generator and not on earlier episodes."""
        if generator is None:
            if self._seed is None:
                source = self._environment.unwrapped.np_random
            else:  # as its first reset would seed it
                source, _ = arguments.load('gymnasium.utils.seeding', self._name).np_random(
                    self._seed
                )
                self._seed = None
            generator = pickle.dumps(source)
        self._set_environment(self._build())
        self._environment.unwrapped.np_random = pickle.loads(generator)
        self._start = generator


def draw(environment: Any, name: str) -> np.ndarray[Any, Any]:
    """A frame of a gymnasium.Env. Raises: ValueError where it doesn't know the render mode 'rgb_array'."""
    if getattr(environment, 'render_mode', None) != 'rgb_array':
        raise ValueError(f"{name} has no render mode 'rgb_array'.")
    if type(environment.unwrapped).__module__.startswith(_DRAWN_WITH_PYGAME):
        arguments.load('pygame', name, 'pygame-ce')
    return np.asarray(environment.render())


def registered(identity: str) -> Any:
    """gymnasium's spec of an id.

    Raises: ValueError with the nearest ids, or with the reason why it is left out; MissingPackage.
    """
    name = f'gymnasium/{identity}'
    gymnasium = _gymnasium(name)
    if identity in _LEFT_OUT:
        arguments.check_name('gymnasium', identity, (), _LEFT_OUT)
    module, _, registered = identity.rpartition(':')
    namespace = registered.partition('/')[0] if '/' in registered else ''
    if module:
        try:
            arguments.load(module, name)
        except arguments.MissingPackage as error:
            raise ValueError(f'{name}: module {module} can not be imported.') from error
    elif namespace in _NAMESPACES:
        loaded = arguments.load(_NAMESPACES[namespace][0], name, _NAMESPACES[namespace][1])
        if namespace == 'ALE':
            loaded.ALEInterface.setLoggerMode(loaded.LoggerMode.Error)  # no banner
        if namespace == 'MinAtar' and 'MinAtar/Breakout-v0' not in gymnasium.registry:
            loaded.register_envs()
    if registered not in gymnasium.registry:
        known = [f'gymnasium/{each}' for each in gymnasium.registry]
        raise ValueError(checks.unknown_name('environment', name, known))
    return gymnasium.registry[registered]


def _is_of_gymnasium(spec: Any) -> bool:
    return isinstance(spec.entry_point, str) and spec.entry_point.startswith('gymnasium.')


def _creator(spec: Any) -> Callable[..., Any]:
    if not isinstance(spec.entry_point, str):
        return spec.entry_point
    module, _, attribute = spec.entry_point.partition(':')
    return getattr(_load_entry(module, spec.id), attribute)


def _load_entry(module: str, identity: str) -> Any:
    # These modules report a missing package by gymnasium's own exception, not by an ImportError.
    if module.startswith('gymnasium.envs.box2d'):
        arguments.load('Box2D', f'gymnasium/{identity}', 'box2d')
    if module.startswith('gymnasium.envs.mujoco'):
        arguments.load('mujoco', f'gymnasium/{identity}', 'mujoco')
    return arguments.load(module, f'gymnasium/{identity}')


def _gymnasium(environment: str) -> Any:
    return arguments.load('gymnasium', environment)
