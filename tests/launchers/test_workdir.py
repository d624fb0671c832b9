"""The folder of a run: whose it is, and what a checkpoint in it holds."""

import json

import numpy as np
import pytest

from culmen.components.checkpointing import DamagedCheckpointError
from culmen.launchers import configs
from culmen.launchers.locking import Locks
from culmen.launchers.results import Refused
from culmen.launchers.schedule import Counts
from culmen.launchers.workdir import RunState
from culmen.launchers.workdir import Workdir
from culmen.launchers.workdir import make_summary
from tests.launchers.run_states import EXPERIMENT
from tests.launchers.run_states import STATE

CONFIG = configs.to_json(EXPERIMENT, launcher='local', replay='in_process')


def test_a_state_comes_back_through_a_checkpoint(tmp_path):
    with Workdir(tmp_path, EXPERIMENT, CONFIG) as workdir:
        assert workdir.restore() is None
        assert not workdir.has_checkpoint
        workdir.begin()
        workdir.save(40, STATE, None, None)
        workdir.wait()
        restored = workdir.restore()
    assert restored.path == tmp_path / 'checkpoints' / '000000000040'
    back, learner = restored.state, restored.state.workers.learner
    np.testing.assert_array_equal(learner['newest']['w'], STATE.variables['w'])
    assert back._replace(workers=back.workers._replace(learner={})) == STATE._replace(
        workers=STATE.workers._replace(learner={})
    )


def test_a_state_without_a_version_is_of_the_first():
    content = STATE.as_dict()
    assert content.pop('version') == 1
    assert RunState.from_dict(content).counts == (40, 7)


def test_a_state_of_another_version_is_refused_by_it():
    with pytest.raises(
        DamagedCheckpointError, match='a run of version 2; this version of Culmen reads version 1'
    ):
        RunState.from_dict({**STATE.as_dict(), 'version': 2})


@pytest.mark.parametrize('name', ['loop', 'learner', 'counter', 'logs', 'events'])
def test_a_state_without_a_part_is_refused_with_the_checkpoint(tmp_path, name):
    with Workdir(tmp_path, EXPERIMENT, CONFIG) as workdir:
        workdir.begin()
        state = STATE._replace(logs=[]) if name == 'logs' else STATE
        content = {**state.as_dict(), name: [1]}
        workdir.save(40, _Content(content), None, None)
        workdir.wait()
        with pytest.raises(Refused, match=f'000000000040 does not fit .* {name} must be a mapping'):
            workdir.restore()


class _Content:
    """A state as a damaged checkpoint would hold it."""

    def __init__(self, content):
        self._content = content

    def as_dict(self):
        return self._content


def test_a_run_that_ended_while_its_folder_was_waited_for_is_found(tmp_path):
    def finish(folder):
        (folder / 'config.json').write_text(json.dumps(CONFIG))
        summary = make_summary(CONFIG, str(folder), Counts(100, 9), 4, resumed_at=0)
        (folder / 'result.json').write_text(json.dumps(summary))

    class Slow(Locks):
        """Another run ends just before this one has the folder."""

        def take(self, *folders):
            super().take(*folders)
            finish(tmp_path)

    assert Workdir(tmp_path, EXPERIMENT, CONFIG, Slow()).summary['actor_steps'] == 100
    with Workdir(tmp_path / 'other', EXPERIMENT, CONFIG, record=tmp_path):
        pass  # nobody holds it


@pytest.mark.parametrize(('steps', 'finished'), [(100, True), (99, False)])
def test_a_finished_run_is_found_and_its_folder_is_free(tmp_path, steps, finished):
    with Workdir(tmp_path, EXPERIMENT, CONFIG) as workdir:
        workdir.begin()
        summary = make_summary(CONFIG, str(tmp_path), Counts(steps, 9), 4, resumed_at=0)
        workdir.finish(summary)
    again = Workdir(tmp_path, EXPERIMENT, CONFIG)
    if finished:
        assert again.summary == {**json.loads(json.dumps(summary)), 'resumed_at': steps}
        with Workdir(tmp_path / 'other', EXPERIMENT, CONFIG, record=tmp_path):
            pass  # nobody holds it
    else:
        assert again.summary is None
        with pytest.raises(Refused, match='in use'):
            Workdir(tmp_path, EXPERIMENT, CONFIG)
        with again:
            pass
