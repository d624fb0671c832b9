"""Several environments in one run: who has which, what is reported of each, and what is refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import culmen
from culmen.components import environments
from culmen.core.specs import make_environment_spec
from culmen.environment_loops.compiled import CompiledEvaluator
from culmen.environment_loops.compiled.lanes import LaneGroups
from culmen.environment_loops.evaluation import Evaluator
from culmen.environment_loops.evaluation import shares
from culmen.launchers import command_line
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers import configs
from culmen.launchers import launchpad
from culmen.launchers import loading
from culmen.launchers import plots
from culmen.launchers.building import build
from culmen.launchers.factories import labels_of
from culmen.launchers.results import Refused
from tests.conftest import is_installed
from tests.launchers import compiled_runs
from tests.shapes import worlds
from tests.shapes.rows.tasks import Tasks

TWO = (worlds.pays_zero, worlds.pays_one)
HAS_LAUNCHPAD = is_installed('launchpad') and is_installed('reverb')


def experiment(environment=TWO, **changes):
    settings = {
        'agent': Tasks(), 'environment': environment, 'max_actor_steps': 60, 'num_environments': 2,
        'evaluation': culmen.Evaluation(episodes=5),
    }  # fmt: skip
    return culmen.Experiment(**{**settings, **changes})


@pytest.mark.parametrize('num_environments', [1, 2, 3, 5, 20])
@pytest.mark.parametrize('episodes', [20, 33, 47])
def test_episodes_are_shared_out_evenly_among_environments(num_environments, episodes):
    of_lanes = shares(episodes, num_environments)
    assert sum(of_lanes) == episodes and min(of_lanes) >= 1
    assert len(of_lanes) % num_environments == 0
    of_environments = [sum(of_lanes[i::num_environments]) for i in range(num_environments)]
    assert max(of_environments) - min(of_environments) <= 1


@pytest.mark.parametrize('num_lanes', [4, 5])
def test_lanes_of_groups_are_stepped_in_order(num_lanes):
    """Lane i has environment i modulo their number, whatever their states look like."""
    makes = (worlds.pays_zero, worlds.pays_one, worlds.pays_zero)
    inside = [make(0).functions for make in makes]
    groups = LaneGroups(inside, num_lanes)
    keys = jax.random.key_data(jax.random.split(jax.random.key(0), num_lanes))
    lanes, _ = groups.begin(keys)
    kept = [jax.random.split(jax.random.wrap_key_data(key))[0] for key in keys]
    np.testing.assert_array_equal(groups.keys(lanes), list(map(jax.random.key_data, kept)))
    action = np.arange(num_lanes) % 2
    lanes, timestep = groups.advance(lanes, action.astype(np.int32))
    wanted = [float(action[i] == (i % 3 == 1)) for i in range(num_lanes)]
    np.testing.assert_array_equal(timestep.reward, wanted)
    np.testing.assert_array_equal(groups.measure(lanes)['right'], wanted)
    again, _ = groups.begin(keys)
    mask = np.arange(num_lanes) < 3
    selected = groups.measure(groups.select(mask, again, lanes))['right']
    np.testing.assert_array_equal(selected[3:], wanted[3:])
    assert not np.any(np.asarray(groups.keys(groups.select(mask, again, lanes)))[3:] == keys[3:])


def test_names_of_environments_tell_them_apart():
    named = lambda *several: labels_of(experiment(several))
    assert labels_of(experiment('a/b')) == named('a/b') == ()
    assert named('a/b', 'c/d', 'a/b') == ('a/b', 'c/d', 'a/b')
    ones = [culmen.environment('jax/catch', rows=rows, columns=3) for rows in (4, 5)]
    assert named(*ones, 'a/b') == (
        'jax/catch columns=3 rows=4',
        'jax/catch columns=3 rows=5',
        'a/b',
    )
    assert named(culmen.environment('a/b', of=(1, 2)), 'a/b') == ('a/b of=(1_ 2)', 'a/b')
    first, second = lambda seed: None, lambda seed: None
    assert len(set(named(first, second))) == 2
    assert len(set(named(first, first))) == 1


@pytest.mark.slow
def test_host_and_compiled_evaluations_play_the_same():
    spec = make_environment_spec(worlds.pays_zero(0))
    core = Tasks().build(spec).evaluator
    values = np.eye(2, dtype=np.float32)
    host = Evaluator(core, TWO, spec, 3, 7).evaluate(values, 1, 0, 0)
    functions = [make(0).functions for make in TWO]
    fast = CompiledEvaluator(core, functions, 7).of(3).evaluate(values, 1, 0, 0)
    for result in (host, fast):
        np.testing.assert_array_equal(np.sort(result.environments), [0] * 4 + [1] * 3)
        np.testing.assert_array_equal(result.returns, np.ones(7))
    np.testing.assert_array_equal(host.environments, fast.environments)


@pytest.mark.slow
def test_a_run_reports_each_environment_and_is_loaded_again(tmp_path):
    asked = experiment(evaluation=culmen.Evaluation(every=30, episodes=5))
    result = culmen.run(asked, tmp_path / 'run', progress=False)
    assert result.summary['environment'] == ','.join(
        f'tests.shapes.worlds:{make.__name__}' for make in TWO
    )
    stored = json.loads((tmp_path / 'run' / 'result.json').read_text())['evaluation']
    assert stored == result.summary['evaluation']
    labels = list(stored['environments'])
    assert stored['episodes'] == sum(each['episodes'] for each in stored['environments'].values())
    frame = result.logs['evaluator']
    assert list(frame['environment']) == labels * 2 and list(frame['episodes']) == [3, 2] * 2
    assert set(result.logs['actor']['environment']) == set(labels)

    config = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert configs.from_json(config, trust=True).environment[0]  # by their names
    loaded = loading.load(tmp_path / 'run', Tasks(), TWO)
    evaluated = loaded.evaluate(3)
    assert len(evaluated.returns) == 3 and set(evaluated.environments) == {0, 1}
    with pytest.raises(ValueError, match='episodes must be at least 2'):
        loaded.evaluate(1)
    legend = plots.read_curve(tmp_path / 'run')
    figure = plots.draw([legend])
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [text.rpartition(':')[2] for text in shown] == ['pays_zero', 'pays_one']


@pytest.mark.slow
def test_runs_side_by_side_have_the_same_environments(tmp_path):
    experiments = [experiment(seed=seed, num_environments=3) for seed in (0, 1)]
    alone = [compiled.run(each, progress=False) for each in experiments]
    together = compiled_many.run_many(experiments, as_one=True, progress=False)
    for one, other in zip(alone, together, strict=True):
        compiled_runs.assert_same(one, other)


@pytest.mark.slow
def test_the_command_line_takes_names_and_gives_all_of_them_each_field(tmp_path, capsys):
    folder = tmp_path / 'run'
    names = 'jax/catch,tests.launchers.test_environments:narrow'
    code = compiled_runs.train(
        '--environment',
        names,
        '--environment.rows',
        4,
        '--num-environments',
        2,
        '--workdir',
        folder,
    )
    assert code == 0
    config = json.loads((folder / 'config.json').read_text())
    assert config['environment'] == [{'name': name, 'rows': 4} for name in names.split(',')]
    with pytest.raises(SystemExit) as caught:
        command_line.main(['evaluate', str(folder), '--episodes', '4', '--trust', '--json'])
    assert caught.value.code == 0
    line = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert list(line['evaluation']['environments']) == names.split(',')
    # The same run by its config, with another value for all.
    again = ['train', '--config', str(folder / 'config.json'), '--trust', '--environment.rows', '5']
    with pytest.raises(SystemExit) as caught:
        command_line.main([*again, '--workdir', str(folder)])
    assert caught.value.code == 2
    assert 'environment differ' in capsys.readouterr().err


def narrow(seed, rows: int = 10):
    return environments.make('jax/catch', seed, rows=rows)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'num_environments': 1}, r'num_environments must give each of the 2 environments a lane, got 1:'),
        (
            {'environment': (worlds.pays_zero, worlds.signs)},
            r'same specs, got the observation .*\(1,\).* of tests.*:pays_zero and .*\(3,\).* of .*:signs',
        ),
        (
            {'evaluation': culmen.Evaluation(episodes=1)},
            'Evaluation.episodes must be at least 2, one for each environment, got 1',
        ),
        (
            {'evaluation': culmen.Evaluation(environment={'rows': 3})},
            'Evaluation.environment must hold arguments of .*pays_zero',
        ),
        ({'environment': ('jax/catch', 'jax/cach')}, "unknown environment 'jax/cach'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name_in_every_launcher(changes, words, monkeypatch):
    asked = experiment(**changes)
    for run in (culmen.run, compiled.run):
        with pytest.raises(Refused, match=words):
            run(asked, progress=False)
    # Two actors give each environment a lane.
    if 'num_environments' not in changes and HAS_LAUNCHPAD:
        with pytest.raises(Refused, match=words):
            launchpad.make_program(asked, num_actors=2)


@pytest.mark.skipif(not HAS_LAUNCHPAD, reason='needs Launchpad')
def test_a_program_needs_a_lane_for_each_environment():
    three = experiment((*TWO, worlds.pays_zero), num_environments=1)
    words = 'each of the 3 environments a lane, got 1 for each of 2 actors'
    with pytest.raises(Refused, match=words):
        launchpad.make_program(three, num_actors=2)


def test_a_compiled_program_names_the_environment_that_it_can_not_have():
    wrapped = lambda seed: environments.wrap(worlds.pays_one(seed), seed, step_limit=3)
    with pytest.raises(Refused, match=r"<lambda>'.*one of 2; use the local launcher"):
        compiled.make_plan(experiment((worlds.pays_zero, wrapped)))
    by_seed = lambda seed: TWO[seed % 2](seed)
    with pytest.raises(Refused, match='give a tuple of environments for lanes that differ'):
        for seed in range(8):
            compiled.make_plan(experiment(by_seed, seed=seed, num_environments=4))
    with pytest.raises(Refused, match='multiple of the 2 devices for each of the 2 environments'):
        compiled.run(experiment(num_environments=2), device=jax.devices() * 2)


def test_an_experiment_has_an_environment():
    with pytest.raises(
        ValueError, match=r'Experiment.environment must hold one environment at least'
    ):
        experiment(())
    with pytest.raises(TypeError, match='Experiment.environment must be'):
        experiment(('a/b', 3))
    assert experiment(('a/b',)).environments == experiment('a/b').environments == ('a/b',)


def test_no_one_environment_is_the_model_of_several():
    built = [build(experiment(each)) for each in (TWO, TWO[:1], TWO[0])]
    assert [each.spec.model is None for each in built] == [True, False, False]


@pytest.mark.parametrize('name', ['envpool/CartPole-v1', 'gymnasium_vector/CartPole-v1'])
def test_a_run_in_environments_that_are_several_lanes_by_themselves(name, tmp_path):
    pytest.importorskip(name.partition('/')[0].partition('_')[0])
    of_run = experiment(
        name,
        agent=culmen.agents.dqn.DQN(),
        num_environments=3,
        evaluation=culmen.Evaluation(episodes=3, max_steps=4),
    )
    result = culmen.run(of_run, tmp_path / 'run').summary
    assert result['actor_steps'] >= 60
    assert result['evaluation']['truncations'] == 3
    assert result['evaluation']['return_mean'] == 4
    longer = dataclasses.replace(of_run, max_actor_steps=90)
    resumed = culmen.run(longer, tmp_path / 'run').summary  # at new episodes
    assert resumed['resumed_at'] == result['actor_steps']
    assert resumed['actor_steps'] >= 90
    with pytest.raises(Refused, match='environment must be written in JAX to be compiled'):
        compiled.run(of_run)
