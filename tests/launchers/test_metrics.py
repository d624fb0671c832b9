"""Named numbers of environments as columns of actor.csv and evaluator.csv, in every loop."""

import os
import signal

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import culmen
from culmen.components import environments
from culmen.components.environments import functional
from culmen.core.metrics import Metric
from culmen.core.metrics import read_metrics
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import make_environment_spec
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.environment_loops.batching import batch
from culmen.launchers import compiled
from culmen.launchers.results import Refused
from tests import probes
from tests.integration import runs
from tests.launchers import compiled_runs
from tests.launchers import echo

NAMES = ('depth', 'even:mean')
METRICS = {'evaluation': culmen.Evaluation(every=40, episodes=5, max_steps=3)}


def _deep():
    def begin(key):
        return (jnp.int32(0), jax.random.randint(key, (), 2, 6)), jnp.zeros(1)

    def advance(key, state, action):
        depth, end = state[0] + 1, state[1]
        outcome = functional.Outcome(jnp.full(1, depth, jnp.float32), 0.0, depth == end)
        return (depth, end), outcome

    def measure(state):
        return {'depth': state[0], 'even': state[0] % 2 == 0}

    spec = EnvironmentSpec(echo.OBSERVATION, echo.ACTION, functional.REWARD, functional.DISCOUNT)
    return functional.Functional(spec, begin, advance, measure=measure, metrics=NAMES)


DEEP = _deep()


def deep(seed):
    """Episodes of two to five steps, whose number is `depth`."""
    return functional.DmEnvironment(DEEP, seed)


class Plain(echo.Plain):
    """The same, in Python."""

    def metric_names(self):
        return NAMES

    def metrics(self):
        return self._environment.metrics()


def plain(seed):
    return Plain(deep(seed))


def experiment(environment=deep, **changes):
    settings = {'agent': echo.Echo(), 'environment': environment, 'max_actor_steps': 90, 'lag': 0}
    return culmen.Experiment(**{**settings, **METRICS, **changes})


def check(result):
    """The numbers are those of the episodes: their lengths, and how many of their steps are even."""
    for label in ('actor', 'evaluator'):
        columns = [name for name in result.logs[label].columns if name != 'seconds']
        assert columns[-2:] == list(NAMES)
    episodes = result.logs['actor']
    assert len(episodes) > 10
    assert (episodes['depth'] == episodes['episode_length']).all()
    even = episodes['episode_length'] // 2 / episodes['episode_length']
    np.testing.assert_allclose(episodes['even:mean'], even, rtol=1e-6)
    evaluations = result.logs['evaluator']
    assert (evaluations['depth'] == evaluations['episode_length']).all()
    summary = result.summary['evaluation']
    assert summary['metrics']['depth'] == evaluations['depth'].iloc[-1]
    assert 2 <= summary['metrics']['depth'] <= 3  # longer ones are cut


@pytest.mark.slow
@pytest.mark.parametrize('lanes', [1, 3])
def test_every_loop_of_one_process_logs_the_same_numbers(lanes):
    many = {'num_environments': lanes}
    results = [
        culmen.run(experiment(**many), progress=False),
        culmen.run(experiment(plain, **many), progress=False),
        compiled.run(experiment(**many), progress=False),
    ]
    for result in results:
        check(result)
        for label in ('actor', 'evaluator'):
            np.testing.assert_array_equal(
                result.logs[label][list(NAMES)], results[0].logs[label][list(NAMES)]
            )


@pytest.mark.slow
@pytest.mark.parametrize('environment', [deep, plain])
def test_a_run_resumes_in_mid_episode_with_the_same_numbers(environment, tmp_path):
    asked = experiment(environment, num_environments=3, max_actor_steps=60)
    unbroken = culmen.run(asked, tmp_path / 'a', progress=False)
    observers = [runs.Signaller(7)]
    assert culmen.run(asked, tmp_path / 'b', progress=False, observers=observers).interrupted
    resumed = culmen.run(asked, tmp_path / 'b', progress=False, trust=True)
    check_numbers = [each.logs['actor'][list(NAMES)] for each in (unbroken, resumed)]
    if environment is deep:  # the other can not be saved, and begins new episodes
        assert check_numbers[0].equals(check_numbers[1])
    check(resumed)


@pytest.mark.slow
def test_a_compiled_run_resumes_with_the_same_numbers(tmp_path):
    asked = experiment(
        num_environments=3, max_actor_steps=60, checkpoint=culmen.Checkpoint(every=7)
    )
    unbroken = compiled.run(asked, progress=False)
    stop = lambda: os.kill(os.getpid(), signal.SIGTERM)
    loggers = [compiled_runs.StopsAt(20, stop)]
    assert compiled.run(asked, tmp_path, progress=False, loggers=loggers).interrupted
    resumed = compiled.run(asked, tmp_path, progress=False)
    assert 0 < resumed.summary['resumed_at'] < 60
    compiled_runs.assert_same(unbroken, resumed)


def last_episode(environment, steps=40):
    """The first episode of one lane."""
    lanes = batch([environment], make_environment_spec(environment))
    lanes.reset()
    for _ in range(steps):
        lanes.step(np.zeros(1, np.int32))
        if lanes.episodes:
            return lanes.episodes[0]
    raise AssertionError('no episode ended')


def test_an_argument_chooses_the_numbers():
    made = environments.wrap(deep(1), 1, metrics=('even', 'depth:mean'))
    episode = last_episode(made)
    assert set(episode.metrics) == {'even', 'depth:mean'}
    assert episode.metrics['depth:mean'] == (episode.episode_length + 1) / 2
    wrapped = environments.wrap(deep(1), 1, action_repeat=2, metrics='depth')
    assert last_episode(wrapped).metrics == {'depth': episode.episode_length}
    searched = environments.wrap(deep(1), 1, observe_state=True)
    assert set(last_episode(searched).metrics) == set(NAMES)
    assert read_metrics(['a', 'a:last', 'a:mean']) == (Metric('a'), Metric('a', 'mean'))


def test_numbers_of_gymnasium_are_those_of_its_info():
    pytest.importorskip('gymnasium')
    make = lambda names: environments.make(
        'gymnasium/FrozenLake-v1', 1, metrics=names, step_limit=5
    )
    assert 0 < last_episode(make('prob:mean')).metrics['prob:mean'] < 1
    with pytest.raises(EnvironmentFailure, match=r"lane 0: it gave no number prop .* \['prob'\]"):
        last_episode(make('prop'))


def test_lives_of_atari():
    pytest.importorskip('ale_py')
    made = environments.make('atari/breakout', 1, metrics='lives', step_limit=3)
    assert last_episode(made).metrics == {'lives': 5}


def test_what_is_not_there_is_refused_by_name():
    with pytest.raises(ValueError, match='the environment has no numbers'):
        environments.wrap(probes.ActionProbe(0), 0, metrics='success')
    with pytest.raises(ValueError, match='jax/catch: metrics must be left out: .* has no numbers'):
        environments.make('jax/catch', 0, metrics='success')
    with pytest.raises(ValueError, match="unknown number 'dept'; the nearest valid ones: depth"):
        environments.wrap(deep(0), 0, metrics='dept')
    with pytest.raises(ValueError, match=r"must end in ':last' or ':mean' .* 'depth:max'"):
        environments.wrap(deep(0), 0, metrics='depth:max')
    with pytest.raises(
        ValueError, match='the number state of an environment must be a real scalar'
    ):
        functional.Functional(
            DEEP.spec(), lambda key: (0, jnp.zeros(1)), lambda key, state, action: (
                0, functional.Outcome(jnp.zeros(1), 0.0, False)
            ), measure=lambda state: {'state': jnp.zeros(2)},
        )  # fmt: skip

    class Taken(Plain):
        def metric_names(self):
            return ('episode_return',)

    with pytest.raises(Refused, match="named as columns of the logs are, got 'episode_return'"):
        culmen.run(experiment(lambda seed: Taken(deep(seed))))
    fewer = lambda seed, metrics=NAMES: environments.wrap(deep(seed), seed, metrics=metrics)
    evaluation = culmen.Evaluation(environment={'metrics': ('depth',)})
    with pytest.raises(Refused, match=r'must leave the metrics as they are in training'):
        culmen.run(experiment(fewer, evaluation=evaluation))
    assert isinstance(fewer(0), dm_env.Environment)
