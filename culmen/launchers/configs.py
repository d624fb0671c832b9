"""Experiments as data: the config.json of a workdir, and the configs that the command line makes.

    {'agent': {'name': 'dqn', 'learning_rate': 0.001, ...},
     'environment': {'name': 'atari/pong', 'frame_stack': 4},  (a list of such for several)
     'seed': 1, 'max_actor_steps': 20000, 'evaluation': {'every': 5000, 'episodes': 20, ...}, ...,
     'launcher': 'local', 'replay': 'in_process'}

An agent is a name of `culmen.agents.AGENTS` or `module:Class`; fields that are agents themselves
(an agent made of another) are written the same way. What can't be written as data carries the key
'not_data' with the reason.

A name of the form `module:name` is imported only where that is safe (culmen.launchers.module_names).
"""

import dataclasses
import json
import typing
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from culmen.agents import AGENTS
from culmen.agents.catalogue import elsewhere
from culmen.components import environments
from culmen.core import checks
from culmen.core.agent import Agent
from culmen.core.errors import failing_at
from culmen.core.experiment import Evaluation
from culmen.core.experiment import Experiment
from culmen.core.experiment import NamedEnvironment
from culmen.launchers.module_names import MODULE_NAME
from culmen.launchers.module_names import Trust
from culmen.launchers.module_names import is_code
from culmen.launchers.module_names import resolve
from culmen.launchers.module_names import resolve_or_none
from culmen.launchers.module_names import whereabouts

NOT_DATA = 'not_data'

# Fields that may change when a run is resumed: its budgets, evaluations and checkpoints.
_BUDGETS = ('max_actor_steps', 'max_learner_steps', 'evaluation', 'checkpoint')
# Keys of config.json that are not fields of the Experiment.
_LAUNCHER = ('launcher', 'replay', 'num_actors')


def to_json(
    experiment: Experiment, launcher: str, replay: str, num_actors: int | None = None
) -> dict[str, Any]:
    """An experiment as plain data, for config.json.

    Args:
        experiment: any; parts that can't be written are marked.
        launcher, replay: the ones that run it.
        num_actors: of a program; None for one process.
    """
    fields = {field.name: getattr(experiment, field.name) for field in _fields(Experiment)}
    return {
        **{
            name: _plain_fields(value) if name in ('evaluation', 'checkpoint') else _data(value)
            for name, value in fields.items()
            if name != 'environment'
        },
        'environment': _environments_data(experiment.environment),
        'launcher': launcher,
        'replay': replay,
        **({} if num_actors is None else {'num_actors': num_actors}),
    }


def from_json(
    config: Mapping[str, Any],
    agent: Agent | None = None,
    environment: Any = None,
    *,
    trust: bool = False,
    named: Collection[str] = (),
) -> Experiment:
    """Reads an experiment that `to_json` or a user wrote. Texts are converted to the types of the fields.

    Args:
        config: the Experiment's fields; those left out have their defaults.
        agent, environment: replace those of the config, for ones that it could not hold.
        trust: whether all names of the form `module:name` in the config are imported.
        named: names that are imported in any case, since the caller gave them itself.
    Raises: ValueError that names what is unknown, missing or of a wrong type, or a name that needs
        `trust` to be imported.
    """
    vouched = Trust(trust, named)
    hints = checks.field_types(Experiment)
    values: dict[str, Any] = {}
    for name, value in config.items():
        if name in _LAUNCHER:
            continue
        if name not in hints:
            raise ValueError(f'config: {checks.unknown_name("field", name, (*hints, *_LAUNCHER))}')
        if name not in ('agent', 'environment'):
            values[name] = _read(name, hints[name], value, vouched)
    if agent is None:
        agent = _make_agent(_mapping('agent', config.get('agent')), 'agent', vouched)
    if environment is None:
        environment = _make_environments(config.get('environment'), vouched)
    if 'evaluation' in values:
        values['evaluation'] = _read_evaluation(values['evaluation'], environment)
    return Experiment(agent=agent, environment=environment, **values)


def same_experiment(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The paths of the fields in which two configs differ, except budgets, evaluations and checkpoints.

    If the list is empty, the second run continues the first.
    """
    # An earlier version did not write fields that came later: it ran with their defaults.
    whole = [
        _filled({**config, 'agent': _whole_agent(config.get('agent'))}, Experiment)
        for config in (old, new)
    ]
    flat = [dict(_leaves(json.loads(json.dumps(config)))) for config in whole]
    missing = object()
    paths = dict.fromkeys([*flat[0], *flat[1]])
    return [
        path
        for path in paths
        if path.partition('.')[0] not in _BUDGETS
        and flat[0].get(path, missing) != flat[1].get(path, missing)
    ]


def agent_class(name: str) -> type[Any]:
    """The class of an agent by its name or as `module:Class`.

    Raises: ValueError that names the nearest known agents, or says why the module can't be imported.
    """
    target = AGENTS.get(name, name)
    if ':' not in target:
        here = elsewhere(name)
        if here is not None:
            raise ValueError(f'unknown agent {name!r}; did you mean {here}?')
        raise ValueError(checks.unknown_name('agent', name, AGENTS))
    cls = resolve('agent', target)
    builds = callable(getattr(cls, 'build', None))
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and builds):
        raise ValueError(f'agent {name!r} must be a dataclass with a method build, got {cls!r}.')
    return cls


def preset(
    name: str, choice: str, *, trust: bool = False, named: Collection[str] = ()
) -> dict[str, Any]:
    """The fields that an agent's preset sets, from its class attribute `presets`.

    Args: name: of the agent; choice: of the preset; trust, named: as in `from_json`.
    Raises: ValueError that lists the existing presets.
    """
    Trust(trust, named).check('agent', name)
    presets = getattr(agent_class(name), 'presets', {})
    if choice not in presets:
        if not presets:
            raise ValueError(f'agent {name} has no presets, got {choice!r}.')
        raise ValueError(f'agent {name}: {checks.unknown_name("preset", choice, presets)}')
    return dict(presets[choice])


def make_agent(
    config: Mapping[str, Any], *, trust: bool = False, named: Collection[str] = ()
) -> Agent:
    """Makes an agent from its name and fields (texts or values); `trust` and `named` as in `from_json`.

    Raises: ValueError that names the field, what it accepts and the nearest valid names.
    """
    return _make_agent(config, 'agent', Trust(trust, named))


def _make_agent(config: Mapping[str, Any], path: str, trust: Trust) -> Agent:
    if not isinstance(config.get('name'), str):
        raise ValueError(f'{path} needs a name: one of {", ".join(sorted(AGENTS))}.')
    _refuse_marked(path, config)
    trust.check(path, config['name'])
    fields = {key: value for key, value in config.items() if key != 'name'}
    return typing.cast(Agent, _make(agent_class(config['name']), fields, path, trust))


def agent_fields(name: str) -> dict[str, str]:
    """What each field of an agent accepts, and its default, in words."""
    cls = agent_class(name)
    hints = checks.field_types(cls)
    return {
        field.name: checks.describe(hints[field.name])
        + ('' if _default(field) is dataclasses.MISSING else f'  [default: {_default(field)}]')
        for field in _fields(cls)
    }


def _make(
    cls: type[Any], values: Mapping[str, Any], path: str, trust: Trust, base: Any = None
) -> Any:
    """Makes a dataclass instance from texts and values, or changes fields of `base`."""
    hints = checks.field_types(cls)
    defaults = {field.name: _default(field) for field in _fields(cls)}
    for name in values:
        if name not in defaults:
            raise ValueError(
                f'{path} {cls.__name__}: {checks.unknown_name("field", name, defaults)}'
            )
    read = {
        name: _read(
            f'{path}.{name}', hints[name], value, trust, getattr(base, name, defaults[name])
        )
        for name, value in values.items()
    }
    if base is not None:
        with failing_at(f'making {cls.__name__} raised', ValueError):
            return dataclasses.replace(base, **read)
    for name, default in defaults.items():
        if default is dataclasses.MISSING and name not in read:
            raise ValueError(f'{path}.{name} is needed: {checks.describe(hints[name])}.')
    with failing_at(f'making {cls.__name__} raised', ValueError):
        return cls(**read)


def _read(path: str, annotation: Any, value: Any, trust: Trust, default: Any = None) -> Any:
    if isinstance(value, Mapping):
        _refuse_marked(path, value)
        if 'name' in value and _takes_agents(annotation):
            return _make_agent(value, path, trust)
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            return _make(type(default), value, path, trust, base=default)
        for option in typing.get_args(annotation) or (annotation,):
            if dataclasses.is_dataclass(option):
                return _make(typing.cast('type[Any]', option), value, path, trust)
        return checks.parse(path, annotation, dict(value))
    if isinstance(value, str):
        # A text may also be the name of an agent, or the `module:name` of a function.
        if not checks.accepts(annotation, value) and _takes_agents(annotation):
            return _make_agent({'name': value}, path, trust)
        if is_code(annotation, value):
            trust.check(path, value)
            found = resolve(path, value)
            if not checks.accepts(annotation, found):
                raise ValueError(
                    f'{path} must be {checks.describe(annotation)}, got {value!r}, which is {found!r}.'
                )
            return found
    return checks.parse(path, annotation, value)


def _takes_agents(annotation: Any) -> bool:
    options = typing.get_args(annotation) or (annotation,)
    return any(option is Any or hasattr(option, 'build') for option in options)


def _make_environments(config: Any, trust: Trust) -> Any:
    """One environment, or a tuple of those of a list."""
    if isinstance(config, list | tuple):
        return tuple(_make_environment(_mapping('environment', each), trust) for each in config)
    return _make_environment(_mapping('environment', config), trust)


def _make_environment(config: Mapping[str, Any], trust: Trust) -> str | NamedEnvironment:
    _refuse_marked('environment', config)
    if not isinstance(config.get('name'), str):
        raise ValueError("environment needs a name: 'bsuite/catch/0', or module:function.")
    name = config['name']
    trust.check('environment', name)
    for argument, value in config.items():
        # Some of Gymnasium's constructors take the name of another environment.
        for text in filter(MODULE_NAME.fullmatch, _texts(value)):
            trust.check(f'environment.{argument}', text)
    arguments = environments.check(name, {k: v for k, v in config.items() if k != 'name'})
    return NamedEnvironment(name, arguments) if arguments else name


def _read_evaluation(evaluation: Evaluation, environment: Any) -> Evaluation:
    """Converts an evaluation's environment arguments to the types that the environment declares."""
    for each in environment if isinstance(environment, tuple) else (environment,):
        if not evaluation.environment or not isinstance(each, str | NamedEnvironment):
            continue
        name = each if isinstance(each, str) else each.name
        try:
            arguments = environments.check(name, evaluation.environment)
        except ValueError as error:
            raise ValueError(f'evaluation.environment: {error}') from error
        evaluation = dataclasses.replace(evaluation, environment=arguments)
    return evaluation


def _environments_data(environment: Any) -> Any:
    if isinstance(environment, tuple):
        return [environment_data(each) for each in environment]
    return environment_data(environment)


def environment_data(environment: Any) -> dict[str, Any]:
    """One environment as plain data."""
    if isinstance(environment, str):
        return {'name': environment}
    if isinstance(environment, NamedEnvironment):
        arguments = {name: _data(value) for name, value in environment.arguments.items()}
        return {'name': environment.name, **arguments}
    where, reason = whereabouts(environment)
    return {'name': where} if reason is None else {'name': where, NOT_DATA: reason}


def _data(value: Any) -> Any:
    """A value as plain data for JSON."""
    value = value.item() if getattr(value, 'ndim', None) == 0 else value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [_data(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _data(item) for key, item in value.items()}
    if hasattr(value, 'build') and not isinstance(value, type):
        return _agent_data(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain_fields(value)
    where, reason = whereabouts(value)
    return where if reason is None else {NOT_DATA: f'{where}: {reason}'}


def _agent_data(agent: Any) -> dict[str, Any]:
    cls = type(agent)
    for name, target in AGENTS.items():
        if cls.__name__ == target.partition(':')[2] and resolve_or_none(target) is cls:
            return {'name': name, **_plain_fields(agent)}
    where, reason = whereabouts(cls)
    if reason is None and not dataclasses.is_dataclass(cls):
        reason = 'it is no dataclass'
    data: dict[str, Any] = {'name': where} if reason is None else {'name': where, NOT_DATA: reason}
    return {**data, **(_plain_fields(agent) if dataclasses.is_dataclass(cls) else {})}


def _plain_fields(instance: Any) -> dict[str, Any]:
    return {field.name: _data(getattr(instance, field.name)) for field in _fields(type(instance))}


def _refuse_marked(path: str, value: Mapping[str, Any]) -> None:
    if NOT_DATA in value:
        name = value.get('name')
        what = value[NOT_DATA] if name is None else f'{name}: {value[NOT_DATA]}'
        kind = path.partition('.')[0]
        raise ValueError(
            f'{path} could not be written to config.json ({what}); '
            f'give it: culmen.load(workdir, {kind}=...).'
        )


def _mapping(path: str, value: Any) -> Mapping[str, Any]:
    """The name alone is a short way to write an agent or an environment with its defaults."""
    if isinstance(value, str):
        return {'name': value}
    if value is None or isinstance(value, Mapping):
        return value or {}
    raise ValueError(f'{path} must be a name or a mapping with a name, got {value!r}.')


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _leaves(value: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f'{path}.{key}' if path else key)
    else:
        yield path, value


def _fields(cls: type[Any]) -> list['dataclasses.Field[Any]']:
    return [field for field in dataclasses.fields(cls) if field.init]


def _filled(data: Mapping[str, Any], cls: type[Any]) -> dict[str, Any]:
    """The config of a dataclass, and after it the defaults of fields that it does not have."""
    defaults = {field.name: _default(field) for field in _fields(cls) if field.name not in data}
    known = {k: _data(value) for k, value in defaults.items() if value is not dataclasses.MISSING}
    return {**data, **known}


def _whole_agent(agent: Any) -> Any:
    """The config of one of Culmen's agents with the defaults of fields that it does not have."""
    if not isinstance(agent, Mapping):
        return agent
    said = {name: _whole_agent(value) for name, value in agent.items()}
    name = agent.get('name')
    return _filled(said, agent_class(name)) if name in AGENTS else said


def _default(field: 'dataclasses.Field[Any]') -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
