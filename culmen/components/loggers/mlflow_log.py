"""Writes rows to MLflow."""

import importlib.util
import math
import os
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from culmen.components.files import check_writable
from culmen.components.files import expanded
from culmen.components.loggers.base import steps_of
from culmen.components.loggers.service import Sent
from culmen.components.loggers.service import ServiceLog

_MOST = 1000  # metrics that MLflow takes in a call
_MOST_PARAMS = 100
_PARAM_LENGTH = 6000


class MlflowLog(ServiceLog):
    """Writes rows to a run of MLflow as metrics `<label>/<column>` at their steps, and the config as params.

    MLFLOW_TRACKING_URI names the server; without it, runs lie in a folder. A run that resumes goes on as the
    same run, whose id is in the file `run_id`; rows from after its checkpoint, which it sent before, stay.
    """

    service = 'MLflow'

    def __init__(
        self,
        directory: str | os.PathLike[str],
        config: Mapping[str, Any] | None = None,
        experiment: str = 'culmen',
        tracking_uri: str | None = None,
        close_seconds: float = 60.0,
    ) -> None:
        """Args:
        directory: of the file `run_id`, and of the runs where there is no server.
        config: of the run, as config.json has it.
        experiment: of MLflow in which the run appears.
        tracking_uri: of the server; None: MLFLOW_TRACKING_URI, and the folder without it.
        close_seconds: that `close` waits for the service.
        Raises: ImportError that says what to install; ValueError if the folder can't be written.
        """
        super().__init__(close_seconds)
        if importlib.util.find_spec('mlflow') is None:
            raise ImportError("MLflow logs need mlflow-skinny: pip install 'culmen[logging]'.")
        self._directory = expanded(directory)
        check_writable('the folder of an MlflowLog', self._directory)
        self._config = dict(config or {})
        self._experiment = experiment
        self._uri = tracking_uri or os.environ.get('MLFLOW_TRACKING_URI')
        self._resumes = False
        self._client: Any = None
        self._run_id = ''

    def resume(self, steps: int) -> None:
        """Goes on with the run of the folder."""
        self.close()
        self._resumes = True

    def _open(self) -> None:
        from mlflow.tracking import MlflowClient

        self._directory.mkdir(parents=True, exist_ok=True)
        uri = self._uri or (self._directory / 'runs').absolute().as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        path = self._directory / 'run_id'
        if self._resumes and path.exists():
            self._run_id = path.read_text().strip()
            self._client.update_run(self._run_id, status='RUNNING')
            return
        known = self._client.get_experiment_by_name(self._experiment)
        number = known.experiment_id if known else self._client.create_experiment(self._experiment)
        self._run_id = self._client.create_run(number).info.run_id
        path.write_text(self._run_id)
        self._send_config()

    def _send_config(self) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in _flat(self._config)]
        for begin in range(0, len(params), _MOST_PARAMS):
            part = params[begin : begin + _MOST_PARAMS]
            self._client.log_batch(self._run_id, params=part)

    def _send(self, rows: Sequence[Sent]) -> None:
        metrics = [metric for sent in rows for metric in _metrics(sent)]
        for begin in range(0, len(metrics), _MOST):
            self._client.log_batch(self._run_id, metrics=metrics[begin : begin + _MOST])

    def _finish(self) -> None:
        if self._run_id:
            self._client.set_terminated(self._run_id)


def _metrics(sent: Sent) -> Iterator[Any]:
    from mlflow.entities import Metric

    named = sent.row.get('environment')
    label = sent.label if named is None else f'{sent.label}/{named}'
    for name, value in sent.row.items():
        if name in ('actor_steps', 'environment') or value is None:
            continue
        if math.isfinite(float(value)):  # a database of MLflow takes no others
            yield Metric(f'{label}/{name}', float(value), int(sent.time * 1000), steps_of(sent.row))


def _flat(config: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from _flat(value, f'{name}.{key}' if name else key)
    else:
        yield name, config
