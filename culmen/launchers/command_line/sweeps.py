"""Makes a config and a folder for each run of several seeds and swept values."""

import copy
import itertools
import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

from culmen.launchers.command_line.configuring import environment_names
from culmen.launchers.command_line.configuring import put
from culmen.launchers.command_line.configuring import read_config
from culmen.launchers.command_line.parameters import split_values
from culmen.launchers.results import Refused
from culmen.launchers.sweeping.files import SweepFile

# Identifies one of many runs: the values of swept fields, and the seed.
RunKey: TypeAlias = tuple[tuple[str, ...], int]


class Variant(NamedTuple):
    """One combination of swept values."""

    config: dict[str, Any]
    fields: Mapping[str, str]  # the values as typed, by 'agent.FIELD'


def make_variants(
    config: dict[str, Any], axes: Mapping[str, Sequence[str]], vouched: Mapping[str, Any]
) -> dict[tuple[str, ...], Variant]:
    """A config for each combination of swept values, by its name: ('learning_rate=0.001', ...)."""
    variants: dict[tuple[str, ...], Variant] = {}
    for texts in itertools.product(*axes.values()):
        fields = dict(zip(axes, texts, strict=True))
        variant = make_variant(config, fields)
        # Two spellings of a value are one run, which is named by the value as read.
        names = [
            f'{field.partition(".")[2]}={value}'
            for field, value in zip(fields, _as_read(variant, fields, texts, vouched), strict=True)
        ]
        variants.setdefault(tuple(names), Variant(variant, fields))
    return variants


def make_variant(config: dict[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """A config with other values, which are given as typed. Shorter paths are set first."""
    variant = copy.deepcopy(config)
    for field, value in sorted(fields.items(), key=lambda each: each[0].count('.')):
        put(variant, field, value)
    return variant


def read_axes(sweep: Sequence[str], file: SweepFile | None) -> dict[str, list[str]]:
    """The swept fields with their values as typed: those of the file, then those of the command."""
    fields: dict[str, list[str]] = {} if file is None else dict(file.axes)
    for text in sweep:
        match = re.fullmatch(r'((?:agent|environment)\.[^=]+)=(.+)', text)
        if match is None:
            raise Refused(
                f'--sweep must be agent.FIELD=V1,V2 or environment.FIELD=V1,V2, or FILE.toml, got {text}.'
            )
        field, values = match[1].replace('-', '_'), split_values(match[2])
        if field in fields or field.endswith('.name') or len(set(values)) != len(values):
            raise Refused(f'--sweep takes a field once, and each value once, got {text}.')
        fields[field] = values
    return fields


def _as_read(
    variant: Mapping[str, Any],
    fields: Iterable[str],
    texts: Iterable[str],
    vouched: Mapping[str, Any],
) -> Iterator[str]:
    """The values of swept fields as Culmen writes them."""
    from culmen.launchers import configs

    read = configs.to_json(configs.from_json(variant, **vouched), 'local', 'in_process')
    for field, text in zip(fields, texts, strict=True):
        value: Any = read
        for name in field.split('.'):
            value = value[0] if isinstance(value, list) else value  # all environments have the same
            value = value.get(name) if isinstance(value, dict) else None
        yield text if isinstance(value, dict) else _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ','.join(map(_as_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def folder_names(key: RunKey) -> list[str]:
    """The nested folders of one of many runs, the outermost first."""
    values, seed = key
    names = [','.join(values)] if values else []
    return [*(re.sub(r'[^\w.,=+-]+', '-', name) for name in names), f'seed-{seed}']


def default_workdir(config: Mapping[str, Any]) -> Path:
    """The folder of runs of an agent in an environment."""
    names = [config['agent']['name'], ','.join(map(str, environment_names(config)))]
    return Path('runs', *[re.sub(r'[^\w.]+', '-', name) for name in names])


def run_folders(
    config: Mapping[str, Any], workdir: Path | None, many: bool, runs: Sequence[RunKey]
) -> dict[RunKey, Path]:
    """The workdir of each run. Many runs have folders in the given workdir, which then holds no run."""
    if workdir is not None and not many:
        return {runs[0]: workdir}
    workdir = default_workdir(config) if workdir is None else workdir
    if (workdir / 'config.json').exists():
        raise Refused(
            f'{workdir} holds a run; with --seeds or --sweep it must be a folder of runs.'
        )
    folders = {run: workdir.joinpath(*folder_names(run)) for run in runs}
    shared = [run for run, folder in folders.items() if list(folders.values()).count(folder) > 1]
    if shared:
        raise Refused(
            f'--sweep has values of one folder name, {folders[shared[0]]}: sweep them apart.'
        )
    return folders


def check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses the workdir of another experiment, or one that can't be made, before the first run."""
    from culmen.components.files import check_writable
    from culmen.launchers import configs

    if not (folder / 'config.json').exists():
        check_writable('--workdir', folder)
        return
    old = read_config(folder / 'config.json')
    different = configs.same_experiment(old, config)
    if different:
        raise Refused(
            f'{folder} holds another experiment: {", ".join(different)} differ; '
            'choose another --workdir.'
        )
