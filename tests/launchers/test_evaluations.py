"""Evaluations are the same in every launcher: what they are told, where they are cut, what they play."""

import functools
import json
import re

import dm_env
import numpy as np
import pytest

import culmen
from culmen.agents import dqn
from culmen.components.environments import functional
from culmen.components.environments import own
from culmen.components.environments.alike import are_alike
from culmen.components.loggers import LineDisplay
from culmen.core.specs import make_environment_spec
from culmen.environment_loops import evaluation
from culmen.launchers import building
from culmen.launchers import command_line
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers import configs
from culmen.launchers import factories
from culmen.launchers.programs.evaluators import FurtherEvaluator
from culmen.launchers.programs.nodes.evaluator import EvaluatorNode
from culmen.launchers.programs.stops import Stop
from culmen.launchers.results import Refused
from tests.launchers import echo

CATCH = 'jax/catch'


def experiment(**changes):
    settings = {
        'agent': echo.Echo(),
        'environment': 'tests.launchers.echo:endless',
        'max_actor_steps': 30,
        'evaluation': culmen.Evaluation(every=10, episodes=3, max_steps=2),
    }
    return culmen.Experiment(**{**settings, **changes})


def run_two(experiment, workdir, **options):
    return compiled_many.run_many([experiment] * 2, [workdir, None], as_one=True, **options)[0]


LAUNCHERS = {'local': culmen.run, 'compiled': compiled.run, 'many': run_two}


@pytest.mark.parametrize(
    'launcher', ['local', 'compiled', pytest.param('many', marks=pytest.mark.slow)]
)
def test_evaluators_hear_the_counts_and_cut_what_does_not_end(tmp_path, capfd, launcher):
    result = LAUNCHERS[launcher](experiment(), tmp_path, progress=False)
    rows = result.logs['evaluator']
    assert rows.actor_steps.tolist() == [10, 20, 30]
    assert rows.learner_steps.min() > 0
    expected = [2 * echo.told(*at) for at in zip(rows.actor_steps, rows.learner_steps, strict=True)]
    assert rows.episode_return.tolist() == expected
    assert rows.episode_length.tolist() == [2.0] * 3
    assert rows.truncations.tolist() == [3] * 3
    summary = json.loads((tmp_path / 'result.json').read_text())['evaluation']
    assert summary == dict(result.summary['evaluation'])
    assert (summary['episodes'], summary['truncations']) == (3, 3)
    said = capfd.readouterr().err
    runs = 2 if launcher == 'many' else 1
    words = r'3 of 3 episodes of an evaluation did not end in 2 steps .* \(Evaluation.max_steps'
    assert len(re.findall(words, said)) == runs
    assert said.count('no episode ended in the 30 steps of training') == runs
    # What was saved hears them too.
    loaded = culmen.load(tmp_path, trust=True)
    played = loaded.evaluate(2, progress=False)
    assert played.returns.tolist() == expected[-1:] * 2
    assert played.truncated.all()
    assert loaded.evaluate(1, max_steps=5, progress=False).lengths.tolist() == [5]
    for policy in (loaded.policy(), result.policy(), loaded.policy().batched(1)):
        first = dm_env.restart(np.zeros(1, np.float32))
        if policy is not None and 'unbatched' not in repr(policy):
            first = dm_env.TimeStep(*(np.asarray([each], np.float32) for each in (0, 0, 1, [0])))
        assert np.ravel(policy(first)).tolist() == [expected[-1] // 2]


class Learner:
    """The learner of a program, as its evaluator has it: two evaluations."""

    work = ((10, 4, np.float32(4)), (30, 7, np.float32(7)))

    def get_start(self):
        return {}

    def get_evaluation(self, number):
        return self.work[number] if number < len(self.work) else 'none'

    def traffic(self):
        return {}


class Counter:
    """The counter of a program: keeps what it is told."""

    def __init__(self, played=0):
        self.rows, self.told, self.played, self.labels = [], [], played, set()

    def get_played(self, label):
        self.labels.add(label)
        return self.played

    def evaluated(self, rows, summary, label):
        self.labels.add(label)
        self.rows.extend((row, summary) for row in rows)

    def evaluating(self, text, label):
        self.labels.add(label)
        self.told.append(text)

    def report(self, name, timings):
        pass

    def traffic(self):
        return {}


def test_so_does_the_evaluator_of_a_program(monkeypatch, capfd):
    monkeypatch.setattr(evaluation, 'LONG_SECONDS', 0.0)
    monkeypatch.setattr(evaluation, '_TELL_SECONDS', 0.0)
    counter, asked = Counter(), experiment()
    spec = make_environment_spec(echo.endless(0))
    EvaluatorNode(asked, spec, stop=Stop(), counter=counter, learner=Learner()).run()
    for (row, summary), (actor_steps, learner_steps, _) in zip(
        counter.rows, Learner.work, strict=True
    ):
        assert row['episode_return'] == 2 * echo.told(actor_steps, learner_steps)
        assert row['truncations'] == summary['truncations'] == 3
    assert counter.labels == {'evaluator'}
    assert counter.told[0] == 'evaluating: 0 of 3 episodes, 1 steps each'
    assert capfd.readouterr().err.count('were cut there') == 1


def test_a_further_evaluator_of_a_program_plays_its_own_environment_and_policy_from_its_own_number():
    counter, asked = Counter(played=1), experiment()
    spec = make_environment_spec(echo.endless(0))

    def policy(parts):
        core = parts.evaluator

        def act(params, timestep, state, context):
            action, state, extras = core.select_action(params, timestep, state, context)
            return action + 1, state, extras

        return core._replace(select_action=act)

    further = FurtherEvaluator('tests.launchers.echo:twice', policy, episodes=5)
    EvaluatorNode(
        asked, spec, label='evaluator-mine', further=further, stop=Stop(), counter=counter,
        learner=Learner(),
    ).run()  # fmt: skip
    [(row, summary)] = counter.rows
    assert row['episode_return'] == 2 * 2 * (echo.told(30, 7) + 1)
    assert (summary['episodes'], counter.labels) == (5, {'evaluator-mine'})


@pytest.mark.parametrize('run', [culmen.run, compiled.run])
def test_a_long_evaluation_shows_how_far_it_is(monkeypatch, capfd, run):
    monkeypatch.setattr(evaluation, 'LONG_SECONDS', 0.0)
    monkeypatch.setattr(LineDisplay, 'seconds', 0.0)
    run(experiment(max_actor_steps=4), progress=True)
    assert re.search(r'evaluating: \d of 3 episodes, \d steps each', capfd.readouterr().err)


def test_evaluations_play_whole_games():
    pytest.importorskip('ale_py')
    training = culmen.environment('atari/breakout', terminal_on_life_loss=True)
    asked = functools.partial(culmen.Experiment, echo.Echo(), max_actor_steps=1)

    def length(make):
        game = make(3)
        actions = np.random.default_rng(0).integers(0, game.action_spec().num_values, 10_000)
        game.reset()
        return next(i for i, action in enumerate(actions) if game.step(action).last())

    whole = length(factories.environment_factory('atari/breakout'))
    assert length(factories.environment_factory(training)) < whole
    assert length(factories.evaluation_factories(asked(training))[0]) == whole
    # Whoever asks for it has the other.
    one_life = culmen.Evaluation(environment={'terminal_on_life_loss': True})
    assert (
        length(factories.evaluation_factories(asked('atari/breakout', evaluation=one_life))[0])
        < whole
    )


def corridor(**changes):
    small = dqn.DQN(hidden_sizes=(4,), min_replay_size=5, batch_size=2, samples_per_insert=0.1)
    settings = {'environment': 'tests.launchers.toys:corridor', 'agent': small}
    return experiment(**{**settings, **changes})


def test_evaluations_have_arguments_of_their_own(tmp_path, capsys):
    settings = {'max_actor_steps': 30}
    plain = culmen.run(corridor(**settings, evaluation=culmen.Evaluation(episodes=2)))
    prized = culmen.Evaluation(episodes=2, environment={'prize': 5.0})
    result = culmen.run(corridor(**settings, evaluation=prized), tmp_path / 'run')
    best = plain.summary['evaluation']['return_mean']
    assert result.summary['evaluation']['return_mean'] == pytest.approx(5 * best)
    assert result.logs['actor'].episode_return.max() <= 1.0
    config = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert config['evaluation']['environment'] == {'prize': 5.0}
    assert configs.from_json(config, trust=True).evaluation == prized
    assert np.mean(culmen.load(tmp_path / 'run', trust=True).evaluate(2).returns) == pytest.approx(
        5 * best
    )
    # A function that is no name, too.
    factory = lambda seed, prize=1.0: factories.environment_factory(corridor().environment)(seed)
    assert factories.evaluation_factories(corridor(environment=factory, evaluation=prized))[0](1)


def test_they_are_options_and_old_configs_still_load(tmp_path, capsys):
    command = ['train', 'dqn', '--environment', 'tests.launchers.toys:corridor', '--steps', '8',
               '--evaluation-environment.prize', '3', '--evaluation-max-steps', 'none',
               '--workdir', str(tmp_path / 'run')]  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        command_line.main(command)
    assert not caught.value.code
    config = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert config['evaluation'] == {
        'every': None, 'episodes': 20, 'max_steps': None, 'environment': {'prize': 3.0},
    }  # fmt: skip
    config['evaluation'] = {'every': 5, 'episodes': 2}
    assert configs.from_json(config, trust=True).evaluation == culmen.Evaluation(
        every=5, episodes=2
    )
    with pytest.raises(SystemExit) as caught:
        command_line.main(
            [*command[:-1], str(tmp_path / 'other'), '--evaluation-environment.prise=2']
        )
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "evaluation.environment: tests.launchers.toys:corridor: unknown argument 'prise'" in said
    assert not (tmp_path / 'other').exists()


@pytest.mark.parametrize(
    ('run', 'environment', 'changes', 'said'),
    [
        (culmen.run, CATCH, {'frame_stack': 2}, 'must leave the observation as it is in training'),
        (culmen.run, CATCH, {'frame_stck': 2}, "unknown argument 'frame_stck'"),
        (culmen.run, echo.endless, {'size': 2}, "must hold arguments of .*unexpected keyword .*'size'"),
        (compiled.run, CATCH, {'step_limit': 2}, 'environment must be written in JAX'),
    ],
)  # fmt: skip
def test_evaluations_in_what_can_not_be_are_refused(run, environment, changes, said):
    with pytest.raises(Refused, match=said):
        run(experiment(environment=environment, evaluation=culmen.Evaluation(environment=changes)))


def test_each_number_of_a_nest_of_rewards_has_its_column(tmp_path):
    result = culmen.run(
        experiment(environment=echo.game, num_environments=2, max_actor_steps=20), tmp_path
    )
    returns = {'black': -2.0, 'judges/0': 4.0, 'judges/1': -4.0, 'white': 2.0}
    for label in ('actor', 'evaluator'):
        row = result.logs[label].iloc[-1]
        assert row.episode_return == 0.0
        assert {name: row[f'episode_return/{name}'] for name in returns} == returns
    assert result.logs['evaluator']['episode_return_std/white'].tolist() == [0.0, 0.0]
    summary = result.summary['evaluation']
    assert summary['return_mean'] == 0.0
    assert {name: summary[f'return_mean/{name}'] for name in returns} == returns
    assert summary['return_std/white'] == 0.0


@pytest.mark.slow
class TestLanesOfACompiledRun:
    """A function makes the environments of a compiled run: the same for every seed, or none runs."""

    def refused(self, environment, said, **changes):
        with pytest.raises(Refused, match=said):
            compiled.make_plan(experiment(environment=environment, **changes))

    def test_others_are_refused(self):
        def scaled(seed):
            return functional.DmEnvironment(catch(1.0 + seed % 2), seed)

        self.refused(
            scaled, r'the same JAX environment for every seed .* lane \d', num_environments=6
        )
        self.refused(scaled, r'another one for lane \d+ of evaluations', seed=1,
                     evaluation=culmen.Evaluation(episodes=16))  # fmt: skip
        other = lambda seed: functional.DmEnvironment(CATCH_ONCE, seed + 1)
        self.refused(other, r'of the seed that it is given .* for lane 0')

    def test_other_objects_that_are_alike_run(self):
        alike = lambda seed: functional.DmEnvironment(catch(2.0), seed)
        plan = compiled.make_plan(experiment(environment=alike, num_environments=2))
        assert are_alike(plan.environments[0], catch(2.0))
        assert not are_alike(plan.environments[0], catch(3.0))
        assert not are_alike(plan.environments[0], own.catch(rows=3, columns=3))

    def test_a_run_that_joins_a_plan_is_looked_at_too(self):
        first = experiment(environment=by_seed, seed=0)
        seeds = [building.fold_seed(seed, 'environment', 0) for seed in (0, 1)]
        SCALES.update({seeds[0]: 1.0, seeds[1]: 5.0})
        plan = compiled.make_plan(first)
        joining = experiment(environment=by_seed, seed=1)
        with pytest.raises(Refused, match=r'another one for lane 0 \('):
            compiled.run(joining, plan=plan)
        with pytest.raises(Refused, match=r'another one for lane 0 \('):
            compiled_many.run_many([first, joining])


SCALES = {}


def catch(scale):
    """Catch whose rewards are scaled by a constant of its own."""
    inner = own.catch(rows=4, columns=3)
    weights = np.asarray([scale, 1.0], np.float32)

    def advance(key, state, action):
        state, outcome = inner._advance(key, state, action)
        return state, outcome._replace(reward=outcome.reward * weights[0] + weights[1])

    return functional.Functional(inner.spec(), inner._begin, advance)


CATCH_ONCE = catch(1.0)


def by_seed(seed):
    return functional.DmEnvironment(catch(SCALES.get(seed, 1.0)), seed)
