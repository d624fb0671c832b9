"""What is asked of a Ray cluster, and what is refused. No Ray is needed: real clusters are in test_ray.py."""

import socket

import cloudpickle
import pytest

from culmen.launchers.command_line.clusters import read_resources
from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.connections import Line
from culmen.launchers.programs.connections import Service
from culmen.launchers.programs.ray import clusters
from culmen.launchers.programs.ray.actors import Directory
from culmen.launchers.programs.remote import Server
from culmen.launchers.results import Refused


class Machines(clusters.Cluster):
    """A cluster of which only the machines are there."""

    def __init__(self, *resources):
        self._resources = resources

    def machines(self):
        return [{'Resources': each, 'NodeManagerAddress': 'here'} for each in self._resources]


SMALL = Machines({'CPU': 2.0, 'memory': 9.0}, {'CPU': 4.0, 'GPU': 1.0, 'spot': 3.0})


@pytest.mark.parametrize(
    ('pydantic', 'accepted'), [('1.10.27', False), ('2.0', True), ('10.1', True)]
)
def test_ray_beside_a_pydantic_that_its_daemons_refuse_is_refused(
    tmp_path, monkeypatch, pydantic, accepted
):
    (tmp_path / 'ray.py').touch()
    found = tmp_path / f'pydantic-{pydantic}.dist-info'
    found.mkdir()
    (found / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: pydantic\nVersion: {pydantic}\n')
    monkeypatch.syspath_prepend(tmp_path)
    if accepted:
        clusters.require()
    else:
        with pytest.raises(ImportError, match=r'ray needs pydantic 2 or none, got 1\.10\.27'):
            clusters.require()


def test_resources_are_read_by_kind_and_name():
    assert read_resources(['learner.gpu=1', 'actor.cpu=0.5', 'actor.spot=2']) == {
        'learner': {'gpu': 1.0},
        'actor': {'cpu': 0.5, 'spot': 2.0},
    }


@pytest.mark.parametrize(
    'text', ['actor', 'actor.cpu', 'actor=1', 'actor.cpu=-1', 'actor.cpu=inf', 'actor.=1']
)
def test_resources_of_another_form_are_refused(text):
    with pytest.raises(Refused, match='--resources must be KIND.NAME=NUMBER'):
        read_resources([text])


def test_resources_of_unknown_nodes_and_amounts_are_refused():
    clusters.check_resources({'learner': {'gpu': 1}, 'actor': {}})
    with pytest.raises(
        ValueError, match="resources must be of the nodes counter, .*, got 'actors'"
    ):
        clusters.check_resources({'actors': {'cpu': 1}})
    for amount in (-1, float('nan'), float('inf'), True):
        with pytest.raises(ValueError, match=r"resources\['actor'\] must be numbers from 0 on"):
            clusters.check_resources({'actor': {'cpu': amount}})


def test_what_a_node_takes_is_asked_of_ray_by_its_names():
    assert clusters.as_options({'cpu': 2, 'gpu': 1, 'spot': 1}) == {
        'num_cpus': 2,
        'num_gpus': 1,
        'resources': {'spot': 1},
    }
    assert clusters.as_options({}) == {'num_cpus': 0, 'num_gpus': 0, 'resources': None}


def test_what_one_machine_or_the_cluster_does_not_have_is_refused():
    SMALL.check({'learner': {'gpu': 1}, 'actor': {'cpu': 3}, 'actor-1': {'cpu': 3}})
    with pytest.raises(
        Refused, match=r'has cpu=3, spot=4 for node learner; they have CPU=2; CPU=4, G'
    ):
        SMALL.check({'learner': {'cpu': 3, 'spot': 4}})
    with pytest.raises(Refused, match='the nodes need cpu=9 at once, and the Ray cluster has 6'):
        SMALL.check({f'actor-{i}': {'cpu': 3} for i in range(3)})
    assert SMALL.has('gpu')
    assert not Machines({'CPU': 2.0}).has('gpu')


@pytest.mark.parametrize('address', ['ray://head:10001', 'head', 'head:port', ':'])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(Refused, match='--address must be HOST:PORT of the head .*, or auto, got'):
        clusters._check_reachable(address)


def test_an_address_at_which_nobody_listens_is_refused():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        address = f'127.0.0.1:{taken.getsockname()[1]}'
        with pytest.raises(Refused, match=f'there is no Ray cluster at {address}: '):
            clusters._check_reachable(address)
        taken.listen()
        clusters._check_reachable(address)
    clusters._check_reachable('auto')


def test_a_node_is_found_again_where_it_is_started_anew():
    class Node:
        def __init__(self, number):
            self.number = number

        def get_number(self):
            return self.number

    directory = Directory('some')
    key = Key(b'secret')
    line = Line(directory.of('learner'), key)
    assert not line.listens()
    with pytest.raises(ConnectionError, match='node learner does not listen yet'):
        line.start('get_number', b'').result(5)
    for number in range(2):
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            directory.found['learner'] = probe.getsockname()
        server = Server()
        server.open(Node(number))
        service = Service(server, directory.found['learner'], key)
        assert line.listens()
        answer = Line(directory.of('learner'), key).start('get_number', cloudpickle.dumps(()))
        assert cloudpickle.loads(answer.result(5)) == (0, number)
        service.close()


def test_in_another_process_ray_is_asked_where_a_node_is():
    found = cloudpickle.loads(cloudpickle.dumps(Directory('some').of('learner')))
    assert found._directory is None
    assert (found._namespace, found._label) == ('some', 'learner')
