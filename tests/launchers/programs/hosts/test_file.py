"""The file of hosts: what it says, and the one clear error for what is wrong in it."""

import pytest

from culmen.launchers.programs.hosts.file import parse_hosts
from culmen.launchers.programs.hosts.file import read_hosts
from culmen.launchers.programs.topology import NodePlan

GOOD = """
key = "key"
port = 5000

[hosts.big]
address = "10.0.0.1"
nodes = ["learner"]
actors = 2

[hosts.small]
address = "small.lan"
listen = "0.0.0.0"
nodes = ["replay", "evaluator"]
actors = 4
"""


def test_nodes_run_where_the_file_says_and_the_others_beside_the_learner():
    hosts = parse_hosts(GOOD, 'hosts.toml')
    assert (hosts.head.name, [host.name for host in hosts.others]) == ('big', ['small'])
    assert hosts.num_actors == 6
    actors = [NodePlan(f'actor-{i}', (), (), (f'actor-{i}',)) for i in range(6)]
    singles = [NodePlan(label, ()) for label in ('counter', 'learner', 'replay', 'evaluator')]
    assert [hosts.place(plan).name for plan in actors] == ['big'] * 2 + ['small'] * 4
    assert [hosts.place(plan).name for plan in singles] == ['big', 'big', 'small', 'small']
    assert hosts.place(NodePlan('evaluator-hard', ())).name == 'small'


def test_each_host_reaches_the_others_by_their_addresses_and_listens_where_it_can():
    hosts = parse_hosts(GOOD, 'hosts.toml')
    big, small = (hosts.addresses(host) for host in hosts.hosts)
    assert big['learner'] == small['learner'] == ('10.0.0.1', 5002)
    assert (big['tables'], small['tables']) == (('small.lan', 5004), ('0.0.0.0', 5004))
    assert hosts.served_on(hosts.head) == {'gathering': 5000, 'counter': 5001, 'learner': 5002}
    assert hosts.served_on(hosts.find('small')) == {'replay': 5003, 'tables': 5004}


def test_addresses_may_be_of_ipv6():
    hosts = parse_hosts(GOOD.replace('small.lan', 'fd00::2'), 'hosts.toml')
    assert hosts.addresses(hosts.head)['tables'] == ('fd00::2', 5004)


def test_through_tunnels_every_port_is_at_the_loopback():
    hosts = parse_hosts('tunnel = "ssh"\n' + GOOD, 'hosts.toml')
    for host in hosts.hosts:
        assert {where for where, _ in hosts.addresses(host).values()} == {'127.0.0.1'}


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('"replay"', '"learner"', 'a program has one learner, but hosts big and small have it'),
        ('["learner"]', '["learner", "learner"]', 'but host big names it twice'),
        ('["learner"]', '[]', 'no host has the learner'),
        ('["learner"]', '["lerner"]', "host big: unknown node 'lerner'; the nearest .* learner"),
        ('"replay"', '"counter"', 'counter has to run on the host of the learner'),
        ('"small.lan"', '"10.0.0.1"', 'hosts big and small have the same address 10.0.0.1'),
        ('"small.lan"', '"small.lan:22"', 'host small: address must be .* without a port'),
        ('"small.lan"', '"[fd00::2]"', 'host small: address must be .* without brackets'),
        ('"small.lan"', '"fd00::2::1"', 'host small: address must be .* an IP address'),
        ('listen', 'lissen', "host small: unknown field 'lissen'; the nearest .* listen"),
        ('actors = 4', 'actors = "4"', "host small: actors must be an int, got '4'"),
        ('actors = 4', 'actors = -4', 'host small: actors must be at least 0, got -4'),
        ('port = 5000', 'port = 80', r'port must be in \[1024, 65531\], got 80'),
        ('port = 5000', 'tunnel = "shs"', "tunnel must be one of 'none', 'ssh', got 'shs'"),
        ('port = 5000', 'name = "me"', "unknown field 'name'"),
        ('[hosts.small]', '[hosts.big]', 'big'),  # the parser's own words
        ('address = "small.lan"', '', 'host small: address is needed'),
        ('port = 5000', 'port = ', 'at line 3'),
        (GOOD, '', r'\[hosts.NAME\] is needed'),
        (GOOD, 'hosts = 3', r'hosts must be tables \[hosts.NAME\]'),
    ],
)
def test_what_is_wrong_is_told_in_one_error(old, new, said):
    assert old in GOOD
    with pytest.raises(ValueError, match=f'^hosts.toml: (?s:.*){said}'):
        parse_hosts(GOOD.replace(old, new), 'hosts.toml')


def test_actors_are_needed_and_a_process_of_them_is_on_one_host():
    none = GOOD.replace('actors = 4', '').replace('actors = 2', '')
    with pytest.raises(ValueError, match='no host has actors'):
        parse_hosts(none, 'hosts.toml')
    hosts = parse_hosts(GOOD, 'hosts.toml')
    hosts.check_processes(2)
    with pytest.raises(ValueError, match=r'host big must be a multiple of .*\(4\), got 2'):
        hosts.check_processes(4)


def test_an_unknown_host_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(ValueError, match="unknown host 'smal'; the nearest valid ones: small"):
        parse_hosts(GOOD, 'hosts.toml').find('smal')
    with pytest.raises(ValueError, match=r'none.toml does not exist'):
        read_hosts(tmp_path / 'none.toml')
    (tmp_path / 'hosts.toml').write_text(GOOD)
    assert read_hosts(tmp_path / 'hosts.toml') == parse_hosts(GOOD, 'hosts.toml')
