"""Writes rows to Weights & Biases."""

import importlib.util
import os
import uuid
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from culmen.components.files import check_writable
from culmen.components.files import expanded
from culmen.components.loggers.base import steps_of
from culmen.components.loggers.service import Sent
from culmen.components.loggers.service import ServiceLog

# Columns whose names in the Open RL Benchmark differ from 'label/column' (arXiv:2402.03046).
_BENCHMARK = {
    'actor/episode_return': 'charts/episodic_return',
    'actor/episode_length': 'charts/episodic_length',
    'actor/steps_per_second': 'charts/SPS',
    'evaluator/episode_return': 'eval/episodic_return',
    'evaluator/episode_length': 'eval/episodic_length',
}


class WandbLog(ServiceLog):
    """Writes rows to a run of Weights & Biases, online or offline as WANDB_MODE and its login say.

    Keys are those of the Open RL Benchmark: `charts/episodic_return`, `charts/SPS`, `losses/<metric>`,
    `eval/episodic_return`, each against `global_step`; the config has `exp_name`, `env_id` and `seed` beside
    Culmen's fields. A run that resumes goes on as the same run, whose id is in the file `run_id`; rows
    from after its checkpoint, which it sent before, stay.
    """

    service = 'Weights & Biases'

    def __init__(
        self,
        directory: str | os.PathLike[str],
        config: Mapping[str, Any] | None = None,
        project: str = 'culmen',
        mode: str | None = None,
        close_seconds: float = 60.0,
    ) -> None:
        """Args:
        directory: of the files of wandb.
        config: of the run, as config.json has it.
        project: in which the run appears; WANDB_PROJECT takes precedence.
        mode: 'online' or 'offline'; None: as WANDB_MODE says, and offline without it.
        close_seconds: that `close` waits for the service.
        Raises: ImportError that says what to install; ValueError for another mode, and for a folder that
            can't be written.
        """
        super().__init__(close_seconds)
        if importlib.util.find_spec('wandb') is None:
            raise ImportError("Weights & Biases needs wandb: pip install 'culmen[logging]'.")
        mode = mode or os.environ.get('WANDB_MODE', 'offline')
        if mode not in ('online', 'offline'):
            raise ValueError(f"mode (WANDB_MODE) must be 'online' or 'offline', got {mode!r}.")
        self._directory = expanded(directory)
        check_writable('the folder of a WandbLog', self._directory)
        self._config = dict(config or {})
        self._project = os.environ.get('WANDB_PROJECT', project)
        self._mode: Any = mode
        self._resumes = False
        self._wandb: Any = None

    def resume(self, steps: int) -> None:
        """Goes on with the run of the folder."""
        self.close()
        self._resumes = True

    def _open(self) -> None:
        import wandb

        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / 'run_id'
        if not (self._resumes and path.exists()):
            path.write_text(uuid.uuid4().hex[:8])
        # Offline a continued run has files of its own; `wandb sync` joins them by the id.
        online: dict[str, Any] = {'resume': 'allow'} if self._mode == 'online' else {}
        self._wandb = wandb.init(
            project=self._project,
            dir=str(self._directory),
            id=path.read_text().strip(),
            mode=self._mode,
            config={**self._config, **_benchmark_config(self._config)},
            settings=wandb.Settings(silent=True, console='off', disable_git=True, save_code=False),
            **online,
        )
        self._wandb.define_metric('*', step_metric='global_step')

    def _send(self, rows: Sequence[Sent]) -> None:
        for sent in rows:
            self._wandb.log(_row(sent))

    def _finish(self) -> None:
        self._wandb.finish()


def _row(sent: Sent) -> dict[str, Any]:
    """A row with the keys of the Open RL Benchmark."""
    named = sent.row.get('environment')
    keys: dict[str, Any] = {'global_step': steps_of(sent.row)}
    for name, value in sent.row.items():
        if name in ('actor_steps', 'environment') or value is None:
            continue
        key = _BENCHMARK.get(f'{sent.label}/{name}')
        if key is None:
            label = 'losses' if sent.label == 'learner' else sent.label
            key = f'{label}/{name}'
        keys[key if named is None else f'{key}/{named}'] = float(value)
    return keys


def _benchmark_config(config: Mapping[str, Any]) -> dict[str, Any]:
    agent, environment = config.get('agent', {}), config.get('environment', {})
    several = environment if isinstance(environment, list) else [environment]
    return {
        'exp_name': agent.get('name', 'culmen'),
        'env_id': ','.join(str(each.get('name', '')) for each in several),
        'seed': config.get('seed', 0),
        'total_timesteps': config.get('max_actor_steps'),
    }
