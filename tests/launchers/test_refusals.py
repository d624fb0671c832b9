"""What is refused before a run begins and what fails: which error, which exit code, which place."""

import dataclasses
import traceback

import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.core import AgentFailure
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.launchers import command_line
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers import launchpad
from culmen.launchers import local
from culmen.launchers import offline
from culmen.launchers.results import Refused
from tests.conftest import is_installed
from tests.launchers import faulty
from tests.launchers.faulty import Faulty
from tests.launchers.toys import Corridor
from tests.launchers.toys import corridor

PROGRAM = pytest.param(
    launchpad.make_program,
    marks=pytest.mark.skipif(
        not (is_installed('launchpad') and is_installed('reverb')), reason='needs Launchpad'
    ),
    id='program',
)
LAUNCHERS = [
    pytest.param(local.run, id='local'),
    pytest.param(offline.run, id='offline'),
    pytest.param(compiled.run, id='compiled'),
    pytest.param(
        lambda experiment, workdir: compiled_many.run_many([experiment], [workdir]), id='many'
    ),
    PROGRAM,
]


def experiment(launcher, agent, **changes):
    settings = {'environment': 'jax/catch', 'max_actor_steps': 20}
    if launcher is offline.run:
        agent = dataclasses.replace(agent, recorded=True)
        settings = {'environment': 'jax/catch', 'max_learner_steps': 2}
    settings['evaluation'] = culmen.Evaluation(episodes=1)
    return culmen.Experiment(agent, **{**settings, **changes})


@pytest.mark.parametrize('launcher', LAUNCHERS)
@pytest.mark.parametrize(
    ('place', 'said'),
    [
        ('build', 'while building Faulty'),
        ('init', 'while tracing Faulty.learner.init'),
        ('select_action', 'while tracing Faulty.select_action'),
        ('evaluator', 'while tracing Faulty.evaluator.select_action'),
        ('update', 'while tracing Faulty.update'),
    ],
)
def test_a_slip_in_an_agent_fails_with_its_place_and_leaves_nothing(
    launcher, place, said, tmp_path
):
    with pytest.raises(AgentFailure) as caught:
        launcher(experiment(launcher, Faulty(place)), tmp_path / 'run')
    assert str(caught.value) == f"{said}: KeyError: 'q'"
    assert "{}['q']" in ''.join(traceback.format_exception(caught.value))
    assert not (tmp_path / 'run').exists()


def as_floats(action):
    return action.astype(jnp.float32)


def of_a_pair(action):
    return jnp.stack([action, action], axis=1)


def in_a_dict(action):
    return {'move': action}


@pytest.mark.parametrize('launcher', LAUNCHERS)
@pytest.mark.parametrize(
    ('place', 'made', 'said'),
    [
        ('select_action', as_floats, r"the actor's action must be int32\[\] .* got float32\[\]"),
        ('evaluator', of_a_pair, r"the evaluator's action must be int32\[\] .* got int32\[2\]"),
        ('select_action', in_a_dict, r"the actor's action must have the leaves .*/move"),
    ],
)
def test_an_action_that_is_not_of_its_spec_is_refused_by_name(
    launcher, place, made, said, tmp_path
):
    agent = Faulty(misfit=(place, made))
    with pytest.raises(Refused, match=said):
        launcher(experiment(launcher, agent), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('slip', faulty.slips())
@pytest.mark.parametrize('place', ['select_action', 'build'])
def test_whatever_a_slip_raises_it_is_none_of_the_settings(slip, place):
    refused = place == 'build' and slip in ('ValueError', 'ImportError')  # how `build` refuses
    with pytest.raises(Refused if refused else AgentFailure):
        local.run(experiment(local.run, Faulty(place, slip)))


@pytest.mark.parametrize(
    ('arguments', 'code', 'said'),
    [
        (('--agent.place', 'select_action', '--agent.slip', 'TypeError'), 1,
         'AgentFailure: while tracing Faulty.select_action: TypeError: object of type'),
        (('--agent.place', 'build', '--agent.slip', 'SystemExit'), 1,
         'AgentFailure: while building Faulty: SystemExit: 0'),
        (('--agent.place', 'build', '--agent.slip', 'ValueError'), 2, 'invalid literal'),
        (('--agent.typed_key', 'extras'), 2, 'extras/inner must be a plain array'),
        (('--agent.recorded', '3'), 2, 'agent.recorded must be a bool'),
    ],
)  # fmt: skip
def test_the_command_line_tells_them_apart(arguments, code, said, tmp_path, capfd):
    command = ['train', 'tests.launchers.faulty:Faulty', '--environment', 'jax/catch']
    command += ['--steps', '20', '--workdir', str(tmp_path / 'run'), *arguments]
    for more in ([], ['--debug']):
        with pytest.raises(SystemExit) as caught:
            command_line.main([*command, *more])
        err = capfd.readouterr().err
        assert caught.value.code == code
        assert err.splitlines()[-1].startswith(f'culmen: error: {said}')
        assert ('Traceback' in err) == bool(more)
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('launcher', LAUNCHERS)
@pytest.mark.parametrize('nest', ['actor_state', 'extras', 'training_state', 'params'])
def test_a_typed_key_that_would_have_to_be_saved_is_refused_by_leaf(launcher, nest, tmp_path):
    with pytest.raises(Refused, match=rf'^{nest}/inner must be a plain array, got a typed PRNG'):
        launcher(experiment(launcher, Faulty(typed_key=nest)), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('launcher', LAUNCHERS)
@pytest.mark.parametrize(
    ('metrics', 'said'),
    [
        (lambda errors: {'td': errors}, r"metrics\['td'\] of float32\[4\]"),
        (lambda errors: {'td': {'mean': errors[0]}}, r"metrics\['td'\]/mean of float32\[\]"),
        (lambda errors: {'loss': errors[:1]}, r"metrics\['loss'\] of float32\[1\]"),
        (lambda errors: {'td': errors[0] * 1j}, r"metrics\['td'\] of complex64\[\]"),
    ],
    ids=['a vector', 'a nest', 'the loss', 'complex'],
)
def test_a_metric_that_is_no_scalar_is_refused_by_name(launcher, metrics, said, tmp_path):
    with pytest.raises(Refused, match=f"an update's metrics must be real scalars, got {said}"):
        launcher(experiment(launcher, Faulty(metrics=metrics)), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


class Complex(Corridor):
    def observation_spec(self):
        return {'signal': specs.Array((2,), np.complex64), 'cell': super().observation_spec()}


@pytest.mark.parametrize('launcher', [local.run, PROGRAM])
def test_complex_observations_are_refused_by_leaf(launcher, tmp_path):
    asked = experiment(launcher, Faulty(), environment=lambda seed: Complex(seed))
    with pytest.raises(Refused, match=r'^observation/signal must be of .* got complex64'):
        launcher(asked, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def refusing(seed):
    raise ValueError('there is no such maze')


def slipping(seed):
    return corridor(seed, wrong=3)


@pytest.mark.parametrize(
    ('make', 'error', 'said'),
    [
        (refusing, Refused, '^there is no such maze'),
        (slipping, EnvironmentFailure, 'making slipping raised TypeError: .*wrong'),
        (lambda seed: None, Refused, 'must make a dm_env.Environment, got None'),
        (lambda seed: faulty.sys.exit(0), EnvironmentFailure, 'making .* raised SystemExit: 0'),
    ],
)
def test_what_an_environment_refuses_is_told_from_its_slips(make, error, said):
    with pytest.raises(error, match=said):
        local.run(experiment(local.run, Faulty(), environment=make))


def test_a_module_that_fails_as_it_is_imported_is_no_setting(tmp_path, monkeypatch, capfd):
    (tmp_path / 'broken_module.py').write_text('number = len(3)\n')
    monkeypatch.syspath_prepend(tmp_path)
    for agent, environment in (
        ('broken_module:Agent', 'jax/catch'),
        ('tests.launchers.faulty:Faulty', 'broken_module:make'),
    ):
        with pytest.raises(SystemExit) as caught:
            command_line.main(['train', agent, '--environment', environment, '--steps', '20'])
        assert caught.value.code == 1
        assert 'importing broken_module raised TypeError: object of' in capfd.readouterr().err


# Whoever calls sys.exit ends no run quietly.


@dataclasses.dataclass(frozen=True)
class Leaves:
    """Observes, and leaves."""

    def observe(self, timestep, action):
        faulty.sys.exit(0)

    def get_metrics(self, lane):
        return {}


def exiting_later():
    """Environments of which the third, of an evaluation's second lane, exits."""
    made = []

    def make(seed):
        made.append(seed)
        return faulty.exiting(seed, after=0 if len(made) == 3 else 10_000)

    return make


@pytest.mark.parametrize(
    ('changes', 'options', 'error', 'said'),
    [
        ({'environment': faulty.exiting, 'max_actor_steps': 40}, {}, EnvironmentFailure,
         'the environment of lane 0 raised SystemExit: 0'),
        ({'environment': exiting_later()}, {}, EnvironmentFailure, 'lane 1 raised SystemExit: 0'),
        ({}, {'observers': [Leaves()]}, RuntimeError,
         r'sys.exit\(0\) was called within the run, at line \d+ of .*test_refusals.py, in observe'),
    ],
    ids=['environment', 'evaluation', 'observer'],
)  # fmt: skip
def test_an_exit_fails_a_run_and_says_where(changes, options, error, said, tmp_path):
    with pytest.raises(error, match=said):
        changes = {'evaluation': culmen.Evaluation(episodes=2), **changes}
        asked = experiment(local.run, Faulty(), **changes)
        local.run(asked, tmp_path / 'run', progress=False, **options)
    assert not (tmp_path / 'run' / 'result.json').exists()


def test_a_checker_hears_of_an_exit():
    with pytest.raises(ValueError, match=r'step 30: step\(\) raised SystemExit: 0'):
        culmen.check_environment(faulty.exiting)


def test_what_a_function_gives_must_be_arrays():
    agent = Faulty(metrics=lambda errors: {'name': 'text'})
    with pytest.raises(AgentFailure, match=r"update: TypeError: .* got 'text' \(1/name\)"):
        local.run(experiment(local.run, agent))


def test_an_integer_or_a_bool_is_a_fine_metric():
    agent = Faulty(metrics=lambda errors: {'n': jnp.int32(3), 'any': jnp.any(errors > 0)})
    result = local.run(experiment(local.run, agent, max_actor_steps=1_001), progress=False)
    row = result.logs['learner'].iloc[-1]
    assert (row['n'], row['any']) in ((3.0, 0.0), (3.0, 1.0))
