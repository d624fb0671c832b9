"""Checks an environment and lists all that is wrong with it at once."""

import collections
import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import dm_env
import numpy as np
import tree
from dm_env import specs

from culmen.components.environments import registry
from culmen.components.environments import saving
from culmen.components.environments.random_actions import random_action
from culmen.components.environments.traces import difference
from culmen.components.environments.traces import goal_problems
from culmen.components.environments.traces import same
from culmen.core import checks
from culmen.core import ranges
from culmen.core import specs as core_specs
from culmen.core.actions import check_legal_actions
from culmen.core.goals import check_goals
from culmen.core.goals import goals_of
from culmen.core.players import check_players

# How many past observations are held, to see whether they change.
_HELD = 8


@dataclasses.dataclass(frozen=True)
class Report:
    """What happened while an environment without problems was checked."""

    steps: int  # time steps that are not FIRST
    episodes: int  # that ended
    terminations: int
    truncations: int
    restorable: bool
    deterministic: bool | None  # None: unknown, as for a built environment

    def __str__(self) -> str:
        ends = f'{self.terminations} terminations, {self.truncations} truncations'
        saved = 'restorable' if self.restorable else 'not restorable in mid-episode'
        return f'no problem in {self.steps} steps, {self.episodes} episodes ({ends}); {saved}'


def check_environment(
    environment: dm_env.Environment | Callable[[int], dm_env.Environment] | str,
    num_steps: int = 1_000,
    seed: int = 0,
) -> Report:
    """Steps an environment with random actions and says what is wrong with it.

    Checked: the specs, and the fields of players, legal actions and goals; the order of FIRST, MID, LAST;
    None for reward and discount at FIRST; structure, shape, dtype, bounds, NaN of observations, rewards and
    discounts, and that JAX holds them (finite in float32, within int32); observations that change after they
    were returned; that goals give the reward of each step, and end episodes as they say; FIRST after LAST, on
    a fresh environment and after `reset`. Where a callable or a name is
    given, also: that one seed gives the same bits twice, and that a saved state goes on as the environment it
    was taken from.

    Args:
        environment: an environment, a callable seed -> environment, or a name.
        num_steps: time steps to take. If no episode ends among them, ends are not checked.
        seed: of the actions, and of the environments built.
    Returns: a Report.
    Raises: ValueError that lists every problem, each with the first step at which it appeared;
        TypeError for something that is no environment.
    """
    checks.check_range('num_steps', num_steps, 1)
    factory = _factory(environment)
    subject: Any = environment if factory is None else factory(seed)
    if not isinstance(subject, dm_env.Environment):
        raise TypeError(
            'check_environment takes a dm_env.Environment, a callable seed -> environment or a '
            f'name, got {type(subject).__name__}.'
        )
    problems = _Problems()
    trace = _Trace()
    _check_specs(subject, problems)
    if not problems:
        _check_fields(subject, problems)
    if not problems:
        _check_steps(subject, num_steps, seed, problems, trace)
    if not problems:
        for problem in goal_problems(goals_of(subject), trace.timesteps):
            problems.add(*problem)
    restorable = deterministic = None
    if not problems:
        restorable = saving.is_restorable(subject)
    if not problems and factory is not None:
        deterministic = _check_seed(factory, seed, trace, problems)
        if restorable and deterministic:
            _check_saving(factory, seed, trace, problems)
    if factory is not None:
        subject.close()
    if problems:
        raise ValueError(problems.message(type(subject).__name__))
    return Report(
        steps=trace.steps,
        episodes=trace.terminations + trace.truncations,
        terminations=trace.terminations,
        truncations=trace.truncations,
        restorable=bool(restorable),
        deterministic=deterministic,
    )


class _Problems:
    """Problems by their texts; each is listed once, with the first step at which it appeared."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def add(self, kind: str, text: str) -> None:
        text, count = self._found.get(kind, (text, 0))
        self._found[kind] = text, count + 1

    def __bool__(self) -> bool:
        return bool(self._found)

    def message(self, name: str) -> str:
        lines = [
            text + (f' (and {count - 1} times more)' if count > 1 else '')
            for text, count in self._found.values()
        ]
        count = f'{len(lines)} problem' + ('s' if len(lines) > 1 else '')
        return f'{name} has {count}:\n' + '\n'.join(f'  - {line}' for line in lines)


@dataclasses.dataclass
class _Trace:
    actions: list[Any] = dataclasses.field(default_factory=list)
    timesteps: list[dm_env.TimeStep] = dataclasses.field(default_factory=list)
    steps: int = 0
    terminations: int = 0
    truncations: int = 0


def _factory(environment: Any) -> Callable[[int], Any] | None:
    if isinstance(environment, str):
        name = environment
        registry.check(name)
        return lambda seed: registry.make(name, seed)
    if isinstance(environment, dm_env.Environment) or not callable(environment):
        return None
    return environment


def _check_specs(environment: dm_env.Environment, problems: _Problems) -> None:
    for name in ('observation', 'action', 'reward', 'discount'):
        try:
            spec = getattr(environment, f'{name}_spec')()
        except (Exception, SystemExit) as error:
            problems.add(f'{name}_spec', f'{name}_spec() raised {type(error).__name__}: {error}')
            continue
        leaves = core_specs.leaf_paths(spec, name)
        try:
            core_specs.check_paths([path for path, _ in leaves])
        except ValueError as error:
            problems.add(f'{name}_spec', f'{name}_spec(): {error}')
        if not leaves:
            problems.add(f'{name}_spec', f'{name}_spec() has no leaves: {spec!r}')
        for path, leaf in leaves:
            if not isinstance(leaf, specs.Array):
                problems.add(path, f'{path}: its spec must be a dm_env.specs.Array, got {leaf!r}')
            elif not core_specs.is_real(leaf.dtype):
                problems.add(
                    path,
                    f'{path}: its spec has dtype {leaf.dtype}; bools, integers and floats are taken',
                )


def _check_fields(environment: dm_env.Environment, problems: _Problems) -> None:
    """The fields of players, of legal actions and of goals."""
    try:
        spec = core_specs.make_environment_spec(environment)
    except ValueError as error:
        problems.add('fields', str(error))
        return
    for check in (check_players, check_legal_actions, check_goals):
        try:
            check(spec)
        except ValueError as error:
            problems.add('fields', str(error))


def _check_steps(
    environment: dm_env.Environment, num_steps: int, seed: int, problems: _Problems, trace: _Trace
) -> None:
    generator = np.random.default_rng(seed)
    action_spec = environment.action_spec()
    held: collections.deque[tuple[int, Any, Any]] = collections.deque(maxlen=_HELD)
    previous: dm_env.StepType | None = None
    observation: Any = None
    for step in range(num_steps):
        # A fresh environment begins at its first step; one `reset` comes in the middle of an episode.
        reset = step == num_steps // 2 and step > 0
        action = None if reset else random_action(action_spec, observation, generator)
        call = 'reset()' if reset else 'step()'
        try:
            timestep = environment.reset() if reset else environment.step(action)
        except (Exception, SystemExit) as error:
            problems.add(
                'raised',
                f'step {step}: {call} raised {type(error).__name__}: {error} (action {action!r})',
            )
            return
        if not isinstance(timestep, dm_env.TimeStep):
            problems.add(
                'timestep',
                f'step {step}: {call} must return a dm_env.TimeStep, got {type(timestep).__name__}',
            )
            return
        trace.actions.append(action)
        trace.timesteps.append(copy.deepcopy(timestep))
        _check_order(step, previous, timestep, reset, problems)
        _check_values(step, environment, timestep, problems)
        for old_step, old, old_copy in held:
            for (path, now), (_, then) in zip(
                core_specs.leaf_paths(old, 'observation'),
                core_specs.leaf_paths(old_copy, 'observation'),
            ):
                if not same(now, then):
                    problems.add(
                        f'{path} reused',
                        f'{path}: the array of step {old_step} changed at step {step}: the '
                        'environment writes into an array that it has returned; return a copy',
                    )
        held.append((step, timestep.observation, trace.timesteps[-1].observation))
        previous, observation = timestep.step_type, timestep.observation
        trace.steps += previous != dm_env.StepType.FIRST
        if previous == dm_env.StepType.LAST:
            ended = not any(np.any(leaf) for leaf in tree.flatten(timestep.discount))
            trace.terminations += ended
            trace.truncations += not ended


def _check_order(
    step: int, previous: Any, timestep: dm_env.TimeStep, reset: bool, problems: _Problems
) -> None:
    step_type = timestep.step_type
    if step_type not in tuple(dm_env.StepType):
        problems.add(
            'step_type', f'step {step}: step_type must be a dm_env.StepType, got {step_type!r}'
        )
        return
    first = dm_env.StepType.FIRST
    if reset and step_type != first:
        problems.add('reset', f'step {step}: reset() must give FIRST, got {_name(step_type)}')
    elif previous is None and step_type != first:
        problems.add(
            'fresh',
            f'step {step}: step() on a fresh environment must give FIRST, got {_name(step_type)}',
        )
    elif not reset and previous == dm_env.StepType.LAST and step_type != first:
        problems.add(
            'after LAST',
            f'step {step}: a step after LAST must ignore its action and give FIRST, '
            f'got {_name(step_type)}',
        )
    elif (
        not reset
        and previous is not None
        and previous != dm_env.StepType.LAST
        and step_type == first
    ):
        problems.add(
            'FIRST',
            f'step {step}: FIRST must come after LAST only, it came after {_name(previous)}',
        )


def _check_values(
    step: int, environment: dm_env.Environment, timestep: dm_env.TimeStep, problems: _Problems
) -> None:
    _check_nest(step, 'observation', environment.observation_spec(), timestep.observation, problems)
    for name in ('reward', 'discount'):
        value, spec = getattr(timestep, name), getattr(environment, f'{name}_spec')()
        if timestep.first():
            if any(leaf is not None for leaf in tree.flatten(value)):
                problems.add(
                    f'{name} at FIRST',
                    f'step {step}: {name} must be None at FIRST, got {value!r}; '
                    'dm_env.restart does so',
                )
        elif value is None:
            problems.add(f'{name} None', f'step {step}: {name} must be None at FIRST only')
        else:
            _check_nest(step, name, spec, value, problems)
            if name == 'discount':
                for path, leaf in core_specs.leaf_paths(value, name):
                    if not (np.all(np.asarray(leaf) >= 0) and np.all(np.asarray(leaf) <= 1)):
                        problems.add(
                            f'{path} range', f'step {step}: {path} must be in [0, 1], got {leaf}'
                        )


def _check_nest(step: int, name: str, spec: Any, value: Any, problems: _Problems) -> None:
    wanted = core_specs.leaf_paths(spec, name)
    try:
        given = core_specs.leaf_paths(core_specs.conform(name, spec, value), name)
    except ValueError as error:
        problems.add(f'{name} structure', f'step {step}: {error}')
        return
    for (path, leaf_spec), (_, leaf) in zip(wanted, given):
        array = np.asarray(leaf)
        if array.shape != leaf_spec.shape:
            problems.add(
                f'{path} shape',
                f'step {step}: {path} must have shape {leaf_spec.shape}, got {array.shape}',
            )
        elif array.dtype != leaf_spec.dtype:
            problems.add(
                f'{path} dtype',
                f'step {step}: {path} must have dtype {leaf_spec.dtype}, got {array.dtype}',
            )
        elif array.dtype.kind == 'f' and np.isnan(array).any():
            problems.add(f'{path} NaN', f'step {step}: {path} is NaN')
        else:
            try:
                ranges.check_values(path, array)
                leaf_spec.validate(array)
            except ranges.SpecError as error:
                problems.add(f'{path} value', f'step {step}: {error}')
            except ValueError as error:
                problems.add(f'{path} value', f'step {step}: {path} breaks its spec: {error}')


def _check_seed(
    factory: Callable[[int], Any], seed: int, trace: _Trace, problems: _Problems
) -> bool:
    again = factory(seed)
    try:
        for step, (action, timestep) in enumerate(zip(trace.actions, trace.timesteps)):
            path = difference(timestep, _advance(again, action))
            if path is not None:
                problems.add(
                    'seed',
                    f'step {step}: {path} differs between two environments with seed {seed} and '
                    'the same actions: something is drawn that the seed does not reach',
                )
                return False
        return True
    finally:
        again.close()


def _check_saving(
    factory: Callable[[int], Any], seed: int, trace: _Trace, problems: _Problems
) -> None:
    """Saves twice: early, and in mid-episode near the middle of the trace."""
    for start in sorted({min(3, len(trace.actions) - 1), (2 * len(trace.actions)) // 3}):
        saved, fresh = factory(seed), factory(seed)
        try:
            for action in trace.actions[:start]:
                _advance(saved, action)
            fresh.set_state(pickle.loads(pickle.dumps(saved.get_state())))
            for step in range(start, len(trace.actions)):
                path = difference(trace.timesteps[step], _advance(fresh, trace.actions[step]))
                if path is not None:
                    problems.add(
                        'saving',
                        f'step {step}: {path} differs from the unbroken run in an environment that '
                        f'was given the state of step {start}: get_state() leaves something out',
                    )
                    return
        except (Exception, SystemExit) as error:
            problems.add(
                'saving',
                f'saving at step {start} and going on raised {type(error).__name__}: {error}',
            )
            return
        finally:
            saved.close()
            fresh.close()


def _advance(environment: dm_env.Environment, action: Any) -> dm_env.TimeStep:
    return environment.reset() if action is None else environment.step(action)


def _name(step_type: Any) -> str:
    return str(getattr(step_type, 'name', step_type))
