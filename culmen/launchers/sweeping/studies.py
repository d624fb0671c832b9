"""Optuna's studies: where they are kept and what draws their trials.

This file and `pruning.py` alone know Optuna, which the extra `tuning` brings. It imports no JAX.
"""

import json
import logging
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.launchers.results import Refused
from culmen.launchers.sweeping.files import Range

FILE = 'study.sqlite3'  # in the folder of a search
SAMPLERS: Mapping[str, str] = {
    'tpe': 'TPESampler',
    'random': 'RandomSampler',
    'qmc': 'QMCSampler',
    'grid': 'BruteForceSampler',
}
PRUNERS: Mapping[str, str] = {
    'median': 'MedianPruner',
    'halving': 'SuccessiveHalvingPruner',
    'hyperband': 'HyperbandPruner',
}
_KEY = 'culmen'  # of the study's attribute that says what it searches
_FOLDER = 'workdir'  # of the trial's attribute


def require_optuna() -> Any:
    """Optuna. Raises: ImportError that says what to install."""
    try:
        import optuna
    except ImportError as error:
        raise ImportError("--tune needs optuna: pip install 'culmen[tuning]'.") from error
    logging.getLogger('optuna').setLevel(logging.WARNING)
    return optuna


class Place(NamedTuple):
    """Where a study is kept."""

    url: str  # of a database, as SQLAlchemy names it
    name: str  # of the study in it

    @classmethod
    def of(cls, folder: Path, url: str | None) -> 'Place':
        """The place of a search. Args: folder: its workdir; url: of a database; None: in the folder."""
        if url is None:
            return cls(f'sqlite:///{(folder / FILE).absolute()}', 'culmen')
        return cls(url, folder.name)

    def storage(self) -> Any:
        """The database. No connection to it stays open between two calls."""
        from sqlalchemy.pool import NullPool

        kwargs = {'poolclass': NullPool}
        return require_optuna().storages.RDBStorage(self.url, engine_kwargs=kwargs)

    def open(self, **options: Any) -> Any:
        """The study. Raises: KeyError if there is none; Refused for a database that can't be opened."""
        optuna = require_optuna()
        try:
            return optuna.load_study(study_name=self.name, storage=self.storage(), **options)
        except KeyError:
            raise
        except Exception as error:
            raise Refused(f'--storage {self.url} can not be opened: {error}') from error


class Study:
    """A search for the settings with the best score. Trials are numbered; each has a folder."""

    def __init__(
        self,
        folder: Path,
        url: str | None,
        ranges: Mapping[str, Range],
        searched: Mapping[str, Any],
        *,
        sampler: str,
        pruner: str,
        seed: int,
    ) -> None:
        """Checks the place, and writes nothing.

        Args:
            folder: of the search.
            url: of a database that keeps the study; None: a file in the folder.
            ranges: of the fields.
            searched: what else tells one search from another, as JSON.
            sampler, pruner: names of SAMPLERS and PRUNERS, or 'none'.
            seed: of the sampler.
        Raises: ImportError without Optuna; Refused for the place of another study.
        """
        require_optuna()
        self.place = Place.of(folder, url)
        self.folder = folder
        self._ranges = ranges
        self._told = json.loads(json.dumps({'ranges': ranges, **searched}))
        self._names = sampler, pruner
        self._seed = seed
        if url is not None or (folder / FILE).exists():
            try:
                self._check(self.place.open())
            except KeyError:
                pass  # the database has no study of this name yet

    def _check(self, study: Any) -> None:
        old = study.user_attrs.get(_KEY)
        if old == self._told:
            return
        keys = [key for key in self._told if not old or old.get(key) != self._told[key]]
        raise Refused(
            f'{self.folder} is of another study: {", ".join(keys)} differ; choose another --workdir.'
        )

    def begin(self) -> list[Any]:
        """Makes the study, or goes on with it. Returns: trials in our folder that were interrupted."""
        optuna = require_optuna()
        optuna.create_study(
            study_name=self.place.name,
            storage=self.place.storage(),
            direction='maximize',
            load_if_exists=True,
        )
        fresh = self.place.open()
        if _KEY not in fresh.user_attrs:
            fresh.set_user_attr(_KEY, self._told)
        self._study = self.place.open(
            sampler=self._make_sampler(len(fresh.trials)), pruner=make_pruner(self._names[1])
        )
        left = self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
        return [
            optuna.trial.Trial(self._study, each._trial_id)
            for each in left
            if each.user_attrs.get(_FOLDER) == str(self.trial_folder(each.number).absolute())
        ]

    def _make_sampler(self, trials: int) -> Any:
        """The sampler; its draws do not repeat those of the trials so far."""
        name = SAMPLERS[self._names[0]]
        return getattr(require_optuna().samplers, name)(seed=self._seed + trials)

    def trial_folder(self, number: int) -> Path:
        """The folder of a trial."""
        return self.folder / f'trial-{number:04d}'

    @property
    def ended(self) -> int:
        """The trials that have ended, whatever became of them."""
        return sum(each.state.is_finished() for each in self._study.get_trials(deepcopy=False))

    def ask(self) -> Any:
        """A new trial."""
        trial = self._study.ask()
        trial.set_user_attr(_FOLDER, str(self.trial_folder(trial.number).absolute()))
        return trial

    def values(self, trial: Any) -> dict[str, str]:
        """The values of a trial by field, as typed."""
        return {name: _suggest(trial, name, each) for name, each in self._ranges.items()}

    def tell(self, trial: Any, score: float | None, pruned: bool = False) -> None:
        """Ends a trial. Args: score: None: it failed; pruned: whether it ended early."""
        states = require_optuna().trial.TrialState
        if score is None:
            self._study.tell(trial.number, state=states.FAIL)
        elif pruned:
            self._study.tell(trial.number, state=states.PRUNED)
        else:
            self._study.tell(trial.number, score)

    def trials(self) -> Iterator[tuple[int, str, Mapping[str, Any], Path]]:
        """(number, state, values, folder) of each trial of this folder."""
        for each in self._study.get_trials(deepcopy=False):
            folder = self.trial_folder(each.number)
            if each.user_attrs.get(_FOLDER) == str(folder.absolute()):
                yield each.number, each.state.name.lower(), each.params, folder

    def best(self) -> tuple[int, float] | None:
        """(number, score) of the best trial that was complete; None: there is none."""
        states = require_optuna().trial.TrialState
        if not self._study.get_trials(deepcopy=False, states=(states.COMPLETE,)):
            return None
        best = self._study.best_trial
        return best.number, best.value


def _suggest(trial: Any, name: str, given: Range) -> str:
    if given.choices:
        return str(trial.suggest_categorical(name, given.choices))
    if isinstance(given.low, int) and isinstance(given.high, int):
        step = 1 if given.step is None else given.step
        return str(trial.suggest_int(name, given.low, given.high, log=given.log, step=step))
    return repr(
        float(trial.suggest_float(name, given.low, given.high, log=given.log, step=given.step))
    )


def make_pruner(name: str) -> Any:
    """A pruner by its name; 'none': one that ends no trial."""
    pruners = require_optuna().pruners
    return getattr(pruners, PRUNERS.get(name, 'NopPruner'))()
