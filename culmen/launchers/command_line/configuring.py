"""Turns options into a config: the data of a config.json."""

import json
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from culmen.launchers.command_line.parameters import split_values
from culmen.launchers.results import Refused


def read_config(file: Path | None) -> dict[str, Any]:
    """Reads a config from its file; without a file, an empty one. Raises: Refused if it is not a config."""
    if file is None:
        return {}
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refused(f'{file} is no JSON: {error}.') from error
    if not isinstance(config, dict):
        raise Refused(f'{file} must hold a mapping of fields, got {config!r:.40}.')
    for kind in ('agent', 'environment'):
        several = config.setdefault(kind, {})
        if kind == 'agent' or not isinstance(several, list):
            several = [several]
        read = [{'name': each} if isinstance(each, str) else each for each in several]
        if not read or not all(isinstance(each, dict) for each in read):
            raise Refused(f'{file}: {kind} must be a name or a mapping, got {config[kind]!r}.')
        config[kind] = read if isinstance(config[kind], list) else read[0]
    return config


# The paths of the options in a config.
_PATHS = {
    'steps': 'max_actor_steps',
    'learner_steps': 'max_learner_steps',
    'evaluate_every': 'evaluation.every',
    'evaluation_episodes': 'evaluation.episodes',
    'evaluation_max_steps': 'evaluation.max_steps',
    'checkpoint_every': 'checkpoint.every',
    'actors': 'num_actors',
}


def typed_names(
    options: Mapping[str, Any], fields: Sequence[tuple[str, str, str]], sweep: Sequence[str]
) -> set[str]:
    """The names that were typed, which may therefore be imported even if a file holds them too."""
    typed = (options['environment'] or '').split(',')
    names = {options['agent'], *typed, *(text for _, _, text in fields)} - {None}
    return names.union(*(split_values(text.partition('=')[2]) for text in sweep))


def apply_options(
    config: dict[str, Any],
    options: dict[str, Any],
    fields: Sequence[tuple[str, str, str]],
    vouched: Mapping[str, Any],
) -> None:
    """Writes the options into the config: the agent, its preset, then the typed fields."""
    name, preset = options.pop('agent'), options.pop('preset')
    agent = config.setdefault('agent', {})
    if name is not None and agent.setdefault('name', name) != name:
        raise Refused(f'AGENT is {name}, but the config is for {agent["name"]}.')
    if preset is not None and 'name' in agent:
        from culmen.launchers import configs

        agent.update(configs.preset(agent['name'], preset, **vouched))
    environment = options.pop('environment')
    if environment is not None and environment_names(config) != environment.split(','):
        read = [{'name': name} for name in environment.split(',')]
        config['environment'] = read if len(read) > 1 else read[0]
    for option, value in options.items():
        if value is not None:
            put(config, _PATHS.get(option, option), value)
    _apply_launcher(config, options)
    # Shorter paths first: `base` sets an agent before `base.learning_rate` changes it.
    for kind, field, text in sorted(fields, key=lambda each: each[1].count('.')):
        if field == 'name':
            raise Refused(f'--{kind}.name is no field: give the name as in culmen train --help.')
        put(config, f'{kind.replace("-", ".")}.{field}', text)


def _apply_launcher(config: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Sets a typed launcher with the options that belong to it, replacing those of the config."""
    if config.get('launcher', 'local') in ('local', 'compiled', 'offline'):
        if options['actors'] is not None:
            raise Refused('--actors is for --launcher threads, processes, hosts or ray.')
        config.pop('num_actors', None)
        if config.get('launcher') == 'offline':
            if options['replay'] == 'reverb':
                raise Refused('--replay must be in_process with --launcher offline.')
            config['replay'] = 'in_process'
        elif config.get('launcher') == 'compiled':
            if options['replay'] is not None:
                raise Refused(
                    '--replay is not for --launcher compiled, which has tables of its own.'
                )
            config['replay'] = 'device'
        elif config.get('replay') == 'device':
            config['replay'] = 'in_process'
        return
    if options['replay'] is not None:
        config['replay'] = options['replay']
    elif options['launcher'] is not None or config.get('replay') not in ('in_process', 'reverb'):
        config['replay'] = 'in_process' if config['launcher'] == 'ray' else 'reverb'
    config.setdefault('num_actors', 1)


def environment_names(config: Mapping[str, Any]) -> list[str | None]:
    """The names of a config's environments; None for one that has none."""
    environment = config.get('environment', {})
    several = environment if isinstance(environment, list) else [environment]
    return [each.get('name') for each in several]


def put(config: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a path such as 'evaluation.every'; a field of the environment in all of several."""
    *parents, last = path.split('.')
    if parents and isinstance(config.get(parents[0]), list):
        for each in config[parents[0]]:
            put(each, '.'.join([*parents[1:], last]), value)
        return
    for parent in parents:
        if not isinstance(config.get(parent), dict):
            config[parent] = {'name': config[parent]} if config.get(parent) else {}
        config = config[parent]
    config[last] = value


def check_complete(config: Mapping[str, Any]) -> None:
    """Refuses a config that lacks a field that every run needs."""
    if 'name' not in config['agent']:
        from culmen.agents import AGENTS

        raise Refused(f'AGENT is needed, one of {", ".join(sorted(AGENTS))}, or module:Class.')
    if None in environment_names(config):
        raise Refused('--environment is needed: see culmen list environments.')
    if config.get('max_actor_steps') is None and config.get('max_learner_steps') is None:
        raise Refused('--steps or --learner-steps is needed.')
    launchers = ('local', 'compiled', 'threads', 'processes', 'hosts', 'ray', 'offline')
    if config.get('launcher', 'local') not in launchers:
        raise Refused(f'the config must have a launcher of {", ".join(launchers)}.')
    if config.get('replay', 'in_process') not in ('in_process', 'reverb', 'device'):
        raise Refused("the config must have replay 'in_process', 'reverb' or 'device'.")
    if not isinstance(config['seed'], int) or isinstance(config['seed'], bool):
        raise Refused(f'seed must be an int, got {config["seed"]!r}.')
