"""A launch of a program, whatever engine carries it: what is refused before a node is started."""

import pytest

from culmen.launchers import configs
from culmen.launchers.folders import PROGRAM
from culmen.launchers.options import RunOptions
from culmen.launchers.programs import launching
from culmen.launchers.programs.program import Program
from culmen.launchers.results import Refused
from culmen.launchers.workdir import Workdir
from culmen.launchers.workdir import write_json
from tests.launchers.run_states import EXPERIMENT
from tests.launchers.run_states import STATE


class Engine(launching.OneMachine):
    launcher = 'processes'
    in_threads = False

    def start_node(self, job, plan):
        pytest.fail('a node was started')


@pytest.mark.parametrize('name', ['table', 'actors'])
@pytest.mark.parametrize('value', [None, [1]])
def test_a_checkpoint_that_is_not_of_a_program_is_refused(tmp_path, name, value):
    config = configs.to_json(EXPERIMENT, launcher='processes', replay='reverb', num_actors=1)
    state = STATE._replace(workers=STATE.workers._replace(**{'table': {'': {}}, name: value}))
    with Workdir(tmp_path, EXPERIMENT, config) as workdir:
        workdir.begin()
        workdir.save(40, state, None, None)
        workdir.wait()
    program = Program(EXPERIMENT, tmp_path, 1, 1, 100.0, 4, RunOptions(), None, None, {})
    with pytest.raises(Refused, match=f'000000000040 does not fit .*: {name} must be a mapping'):
        launching.launch(program, Engine(), progress=False)


@pytest.mark.parametrize(
    ('saved', 'words'),
    [
        ({'lead': 100.0, 'replay': 'in_process'}, 'replay must be in_process in .*, got reverb'),
        ({'lead': 50.0}, 'lead must be 50 in .*, got 100'),
    ],
)
def test_tables_that_were_made_otherwise_are_refused(tmp_path, saved, words):
    config = configs.to_json(EXPERIMENT, launcher='processes', replay='reverb', num_actors=1)
    with Workdir(tmp_path, EXPERIMENT, config) as workdir:
        workdir.begin()
    write_json(tmp_path / PROGRAM, saved)
    program = Program(EXPERIMENT, tmp_path, 1, 1, 100.0, 4, RunOptions(), None, None, {})
    with pytest.raises(Refused, match=words):
        launching.launch(program, Engine(), progress=False)


def test_what_is_open_depends_on_what_keeps_the_tables():
    assert 'Reverb listens on all interfaces' in Engine().tell_open('reverb')
    assert 'No port is open' in Engine().tell_open('in_process')
