"""Experiments as data: round trips, refusals by name, and what makes another experiment."""

import dataclasses
import json

import numpy as np
import pytest

import culmen
from culmen.agents import AGENTS
from culmen.agents import bc
from culmen.agents import dqn
from culmen.agents import wrappers
from culmen.launchers import configs
from tests.launchers.toys import Around
from tests.launchers.toys import Corridor
from tests.launchers.toys import Toy
from tests.launchers.toys import corridor
from tests.launchers.toys import squared

CORRIDOR = 'tests.launchers.toys:corridor'


def experiment(agent=None, **changes):
    fields = {'environment': CORRIDOR, 'max_actor_steps': 1000, **changes}
    return culmen.Experiment(agent=agent or Toy(), **fields)


def round_trip(original):
    data = json.loads(json.dumps(configs.to_json(original, 'local', 'in_process')))
    return configs.from_json(data, trust=True)


@pytest.mark.parametrize(
    'original',
    [
        experiment(),
        experiment(Toy(1e-5, (8,), 2, 'sgd', 0.5, False, squared), seed=3, lag=0),
        experiment(Toy(hidden_sizes=()), max_actor_steps=None, max_learner_steps=5),
        experiment(Around(Toy(0.5), 2.0, Toy(0.25))),
        experiment(Around(Around(Toy(0.5)))),
        experiment(environment=culmen.environment(CORRIDOR, prize=2.0)),
        experiment(evaluation=culmen.Evaluation(100, 5), checkpoint=culmen.Checkpoint(7, 3)),
    ],
)
def test_an_experiment_comes_back_as_it_was(original):
    assert round_trip(original) == original


@pytest.mark.parametrize('name', AGENTS)
def test_every_agent_comes_back_as_it_was(name):
    cls = configs.agent_class(name)
    needed = {'source': 'runs/recording', 'base': dqn.DQN(learning_rate=0.5)}
    given = {
        field.name: needed[field.name]
        for field in dataclasses.fields(cls)
        if field.default is field.default_factory is dataclasses.MISSING
    }
    agent = cls(**given)
    original = experiment(agent)
    assert round_trip(original) == original
    assert configs.to_json(original, 'local', 'in_process')['agent']['name'] == name
    for preset in getattr(agent, 'presets', {}):
        agent = configs.make_agent({'name': name, **configs.preset(name, preset)})
        assert round_trip(experiment(agent)).agent == agent


def test_numbers_of_numpy_are_written_as_plain_ones():
    agent = Toy(learning_rate=np.float32(0.5), batch_size=np.int64(4))
    data = configs.to_json(experiment(agent), 'local', 'in_process')
    assert (data['agent']['learning_rate'], data['agent']['batch_size']) == (0.5, 4)
    json.dumps(data)


def test_the_fields_are_read_from_text():
    agent = configs.make_agent(
        {
            'name': 'tests.launchers.toys:Around',
            'base': {
                'name': 'tests.launchers.toys:Toy',
                'learning_rate': '3e-4',
                'hidden_sizes': '32,16',
                'batch_size': '1e2',
                'kind': 'sgd',
                'clip': 'none',
                'double': 'false',
                'loss': 'tests.launchers.toys:squared',
            },
            'other': {'batch_size': '8'},
        },
        trust=True,
    )
    assert agent.base == Toy(3e-4, (32, 16), 100, 'sgd', None, False, squared)
    assert agent.other == Toy(batch_size=8, kind='sgd')


def test_a_nested_agent_by_its_name_alone():
    agent = configs.make_agent({'name': AROUND, 'base': TOY}, trust=True)
    assert agent.base == Toy()


TOY = 'tests.launchers.toys:Toy'
AROUND = 'tests.launchers.toys:Around'


@pytest.mark.parametrize(
    ('agent', 'message'),
    [
        ({'name': 'dqm'}, "unknown agent 'dqm'; the nearest valid ones: dqn"),
        ({}, 'agent needs a name: one of .*dqn'),
        ({'name': 'no.such:Agent'}, "agent: 'no.such:Agent' can not be imported"),
        ({'name': 'tests.launchers.toys:squared'}, 'must be a dataclass with a method build'),
        ({'name': TOY, 'learning_rat': 1}, "unknown field 'learning_rat'; .* learning_rate"),
        ({'name': TOY, 'batch_size': 'many'}, r"agent\.batch_size must be an int, got 'many'"),
        ({'name': TOY, 'batch_size': 1.5}, r'agent\.batch_size must be an int, got 1\.5'),
        ({'name': TOY, 'batch_size': 0}, 'batch_size must be at least 1, got 0'),
        ({'name': TOY, 'kind': 'lbfgs'}, r"agent\.kind must be one of 'adam', 'sgd'"),
        ({'name': TOY, 'double': 'perhaps'}, r'agent\.double must be a bool'),
        ({'name': AROUND}, r'agent\.base is needed'),
        ({'name': AROUND, 'base': 'toy'}, "unknown agent 'toy'"),
        (
            {'name': AROUND, 'base': {'name': TOY, 'clup': 1}},
            r"agent\.base Toy: unknown field 'clup'; .* clip",
        ),
    ],
)
def test_a_bad_agent_is_refused_by_name(agent, message):
    with pytest.raises(ValueError, match=message):
        configs.make_agent(agent, trust=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'max_actor_step': 5}, "unknown field 'max_actor_step'; .* max_actor_steps"),
        ({'max_actor_steps': -5}, r'max_actor_steps must be at least 1, got -5'),
        ({'evaluation': {'each': 5}}, "unknown field 'each'; .* every"),
        ({'environment': {'name': CORRIDOR, 'price': 2}}, "unknown argument 'price'; .* prize"),
        ({'environment': {'name': 'bsuit/catch/0'}}, "unknown environment 'bsuit/catch/0'"),
        ({'environment': {}}, 'environment needs a name'),
        ({'agent': 3}, 'agent must be a name or a mapping with a name, got 3'),
        ({'agent': {'name': TOY, 'loss': 'tests.launchers.toys:TOYS'}}, r'agent\.loss: .*imported'),
        ({'agent': {'name': TOY, 'loss': 'os:sep'}}, r"agent\.loss must be .*, which is '/'"),
        ({'agent': {'name': TOY, 'batch_size': 'os:sep'}}, r'agent\.batch_size must be an int'),
        ({'environment': 'os:_Environ'}, r'must give a dm_env\.Environment, got .*_Environ'),
    ],
)
def test_a_bad_config_is_refused_by_name(change, message):
    data = {'agent': {'name': TOY}, 'environment': {'name': CORRIDOR}, 'max_actor_steps': 5}
    configs.from_json(data, trust=True)
    with pytest.raises(ValueError, match=message):
        configs.from_json({**data, **change}, trust=True)


def test_presets_are_known_by_name():
    assert configs.preset(TOY, 'paper', trust=True)['batch_size'] == 256
    with pytest.raises(ValueError, match=r"unknown preset 'papers'; .* paper"):
        configs.preset(TOY, 'papers', trust=True)
    with pytest.raises(ValueError, match='has no presets'):
        configs.preset(AROUND, 'paper', trust=True)


def test_what_is_no_data_is_said_so_and_can_be_given():
    @dataclasses.dataclass(frozen=True)
    class Local(Toy):
        pass

    original = experiment(Local(0.5), environment=lambda seed: Corridor(seed))
    data = json.loads(json.dumps(configs.to_json(original, 'local', 'in_process')))
    assert data['agent']['not_data'] == 'it was defined inside a function'
    assert data['agent']['learning_rate'] == 0.5
    with pytest.raises(ValueError, match=r'Local: it was defined .* culmen\.load\(workdir, agent='):
        configs.from_json(data, environment=CORRIDOR)
    assert configs.from_json(data, agent=Toy(), environment=corridor).environment is corridor
    with pytest.raises(ValueError, match=r'environment could not be written'):
        configs.from_json(data, agent=Toy())
    assert configs.from_json(data, agent=Toy(), environment=corridor).agent == Toy()
    assert configs.same_experiment(data, configs.to_json(original, 'local', 'in_process')) == []


def test_a_class_of_a_notebook_is_said_so():
    of_notebook = type('OfNotebook', (Toy,), {'__module__': '__main__'})
    data = configs.to_json(experiment(of_notebook()), 'local', 'in_process')
    assert data['agent']['not_data'] == 'it was defined in a notebook or a script'


def test_a_lambda_in_a_field_is_marked():
    data = configs.to_json(experiment(Toy(loss=lambda x: x)), 'local', 'in_process')
    assert 'defined inside a function' in data['agent']['loss']['not_data']
    with pytest.raises(ValueError, match=r'agent\.loss could not be written'):
        configs.from_json(data, trust=True)


def test_a_callable_environment_of_a_module_is_named():
    data = configs.to_json(experiment(environment=corridor), 'local', 'in_process')
    assert data['environment'] == {'name': CORRIDOR}


def test_what_makes_another_experiment():
    old = configs.to_json(experiment(Around(Toy())), 'local', 'in_process')

    def differing(agent=None, launcher='local', replay='in_process', **changes):
        new = experiment(agent or Around(Toy()), **changes)
        return configs.same_experiment(old, configs.to_json(new, launcher, replay))

    assert differing() == []
    assert differing(max_actor_steps=5000, max_learner_steps=3) == []
    assert differing(evaluation=culmen.Evaluation(9), checkpoint=culmen.Checkpoint(9)) == []
    assert differing(seed=1) == ['seed']
    assert differing(Around(Toy(hidden_sizes=(1,)), 3.0)) == [
        'agent.base.hidden_sizes',
        'agent.scale',
    ]
    assert differing(environment=culmen.environment(CORRIDOR, prize=3.0)) == ['environment.prize']
    assert differing(launcher='threads', replay='reverb') == ['launcher', 'replay']
    assert differing(num_environments=2, lag=0, updates_per_call=2) == [
        'num_environments',
        'lag',
        'updates_per_call',
    ]


def test_a_field_of_an_agent_that_came_later_has_its_default_in_an_older_config():
    agents = {'plain': dqn.DQN(), 'around': wrappers.Normalised(dqn.DQN())}
    noisy = {'plain': dqn.DQN(noise='factorised')}
    noisy['around'] = wrappers.Normalised(noisy['plain'])
    for kind, path in (('plain', 'agent'), ('around', 'agent.base')):
        old = configs.to_json(experiment(agents[kind]), 'local', 'in_process')
        of_dqn = old['agent'] if kind == 'plain' else old['agent']['base']
        del of_dqn['noise']
        for agent, different in ((agents[kind], []), (noisy[kind], [f'{path}.noise'])):
            new = configs.to_json(experiment(agent), 'local', 'in_process')
            assert configs.same_experiment(old, new) == different


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module whose import, and whose function, leave a file: its name, and the file."""
    trace, name = tmp_path / 'trace', f'mine_{tmp_path.name.strip("_").replace("-", "_")}'
    (tmp_path / f'{name}.py').write_text(
        f'open({str(trace)!r}, "a").write("imported ")\n'
        f'def make(*arguments, **options):\n    open({str(trace)!r}, "a").write("called ")\n'
        'Agent = sep = make\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return name, trace


BUILT_IN = {
    'agent': {'name': 'dqn'},
    'environment': {'name': 'bsuite/catch/0'},
    'max_actor_steps': 5,
}


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('agent', 'MINE:Agent'),
        ('agent', {'name': 'MINE:Agent', 'learning_rate': 1.0}),
        ('agent', {'name': 'normalised', 'base': 'MINE:Agent'}),
        ('agent', {'name': 'normalised', 'base': {'name': 'warmed_up', 'base': 'MINE:Agent'}}),
        ('agent', {'name': 'bc', 'source': 'MINE:make'}),
        ('agent', {'name': 'dqn', 'batch_size': 'MINE:sep'}),
        ('agent', {'name': 'dqn', 'hidden_sizes': ['MINE:sep']}),
        ('seed', 'MINE:sep'),
        ('evaluation', {'every': 'MINE:sep'}),
        ('checkpoint', 'MINE:sep'),
        ('environment', 'MINE:make'),
        ('environment', {'name': 'MINE:make', 'file': '/bin/sh'}),
        ('environment', {'name': 'gymnasium/MINE:CartPole-v1'}),
        ('environment', {'name': 'gymnasium/CartPole-v1', 'env_id': 'MINE:CartPole-v1'}),
        ('environment', {'name': 'gymnasium/CartPole-v1', 'kwargs': [{'id': 'MINE:CartPole-v1'}]}),
        ('environment', {'name': 'bsuite/MINE:make'}),
        ('environment', {'name': 'jax/MINE:make'}),
    ],
)
def test_no_field_of_a_file_has_anything_imported_without_trust(mine, field, value):
    name, trace = mine
    text = json.dumps({**BUILT_IN, field: value}).replace('MINE', name)
    with pytest.raises(ValueError):
        configs.from_json(json.loads(text))
    assert not trace.exists()


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('agent', {'name': TOY}),
        ('agent', {'name': 'normalised', 'base': {'name': TOY}}),
        ('agent', {'name': 'bc', 'source': 'tests.launchers.toys:corridor'}),
        ('environment', {'name': CORRIDOR}),
    ],
)
def test_what_is_named_by_the_caller_too_is_imported_and_the_refusal_says_how(field, value):
    config = {**BUILT_IN, field: value}
    [name] = [each for each in configs._texts(value) if ':' in each]
    with pytest.raises(
        ValueError, match=r'only with --trust \(trust=True in Python\), or where you'
    ):
        configs.from_json(config)
    with pytest.raises(ValueError, match=f'{field}.* names {name!r}'):
        configs.from_json(config, named={'tests.launchers.toys:other'})
    assert configs.from_json(config, named={name}) == configs.from_json(config, trust=True)
    with pytest.raises(ValueError, match='only with --trust'):
        configs.make_agent({'name': TOY})
    with pytest.raises(ValueError, match='only with --trust'):
        configs.preset(TOY, 'paper')


def test_a_source_of_streams_comes_back_and_a_folder_that_is_there_is_one(tmp_path, monkeypatch):
    source = bc.BC(source=corridor, batch_size=3)
    assert round_trip(experiment(source)).agent == source
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'recorded:once').mkdir()
    assert configs.make_agent({'name': 'bc', 'source': 'recorded:once'}).source == 'recorded:once'
