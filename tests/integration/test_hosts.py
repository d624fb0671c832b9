"""Programs over hosts for real: network namespaces with addresses of their own, and one command on each."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

import culmen
from tests.conftest import is_installed
from tests.integration.namespaces import ROOT
from tests.integration.namespaces import namespaces

DQN = (
    *('dqn', '--environment', 'tests.launchers.toys:corridor', '--agent.hidden_sizes', '16'),
    *('--agent.n_step', 1, '--agent.min_replay_size', 50, '--agent.batch_size', 8),
    *('--agent.samples_per_insert', 4.0, '--evaluation-episodes', 2, '--launcher', 'hosts'),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.launchpad,
    pytest.mark.skipif(
        not (is_installed('launchpad') and is_installed('reverb')),
        reason='Launchpad has wheels for Python 3.10 on Linux x86-64 alone',
    ),
]


@pytest.fixture
def two():
    with namespaces(2) as hosts:
        yield hosts


def write_file(folder, hosts, head='', first='', second='actors = 1', nodes='["learner"]'):
    key = folder / 'key'
    if not key.exists():
        key.write_text(os.urandom(32).hex() + '\n')
        key.chmod(0o600)
    path = folder / 'hosts.toml'
    path.write_text(
        f'key = "{key}"\nwait = 200\n{head}\n'
        f'[hosts.big]\naddress = "{hosts.addresses[0]}"\nnodes = {nodes}\nactors = 1\n{first}\n'
        f'[hosts.small]\naddress = "{hosts.addresses[1]}"\n{second}\n'
    )
    return path


def read(path):
    return Path(path).read_text()


def finish(process, output):
    """(exit code, standard output, standard error), once it has ended by itself."""
    return process.wait(), read(f'{output}.out'), read(f'{output}.err')


def start_both(two, tmp_path, path, *arguments):
    """The command of each host. None shares a folder with the other."""
    return [
        two.train(
            i, *DQN, *arguments, '--hosts', path, '--host', name, '--trusted-network',
            '--workdir', tmp_path / name / 'run', output=tmp_path / name,
        )
        for i, name in enumerate(('big', 'small'))
    ]  # fmt: skip


def updates_for(steps):
    return (steps - 50) * 4 // 8


def check_workdirs(tmp_path, steps):
    """What each host has at the end: the learner's the whole run, the other the output of its nodes."""
    big, small = tmp_path / 'big' / 'run', tmp_path / 'small' / 'run'
    rows = pd.concat([pd.read_csv(big / 'logs' / f'actor-{i}.csv') for i in range(2)])
    assert set(rows['episode_length']) == {4}
    assert culmen.load(big, trust=True).summary['actor_steps'] == steps
    assert {path.name for path in (big / 'logs').glob('*.log')} == {
        'counter.log', 'learner.log', 'actor-0.log'
    }  # fmt: skip
    assert {path.name for path in (small / 'logs').iterdir()} == {
        'actor-1.log', 'replay.log', 'evaluator.log'
    }  # fmt: skip
    assert {path.name for path in (big / 'logs' / 'small').iterdir()} == {
        'actor-1.log', 'replay.log', 'evaluator.log'
    }  # fmt: skip
    assert not (small / 'checkpoints').exists()


def test_two_hosts_stop_on_a_signal_of_either_and_the_same_commands_go_on(tmp_path, two):
    # The replay is not beside the learner, whose checkpoints hold its tables all the same.
    path = write_file(tmp_path, two, second='actors = 1\nnodes = ["replay", "evaluator"]')
    arguments = ('--steps', 2_000, '--checkpoint-every', 300)
    big, small = start_both(two, tmp_path, path, *arguments)
    while not list((tmp_path / 'big' / 'run').glob('checkpoints/0*/manifest.json')):
        assert big.poll() is None, read(tmp_path / 'big.err')
        time.sleep(0.05)
    small.send_signal(signal.SIGTERM)
    stopped = {}
    for name, process in (('big', big), ('small', small)):
        code, out, err = finish(process, tmp_path / name)
        assert code == 143, err
        stopped[name] = json.loads(out)
    assert 300 <= stopped['big']['actor_steps'] == stopped['small']['actor_steps'] < 2_000
    assert two.left() == {}
    err = read(tmp_path / 'big.err')
    assert 'waiting for hosts: small' in err
    assert 'Reverb listens on all interfaces of host small at port 47104' in err
    for each in ('iptables', 'ip6tables'):  # Reverb listens at addresses of both kinds
        assert f' {each} -I INPUT -p tcp --dport 47100:47104 -j DROP;' in err

    big, small = start_both(two, tmp_path, path, *arguments)
    found = {}
    for name, process in (('big', big), ('small', small)):
        code, out, err = finish(process, tmp_path / name)
        assert code == 0, err
        found[name] = json.loads(out)
    assert two.left() == {}
    result = found['big']
    assert result['resumed_at'] == stopped['big']['actor_steps']
    assert (result['actor_steps'], result['launcher']) == (2_000, 'hosts')
    assert result['learner_steps'] == updates_for(2_000)
    assert {**found['small'], 'workdir': result['workdir']} == result
    check_workdirs(tmp_path, 2_000)


@pytest.mark.deep
def test_hosts_may_have_addresses_of_ipv6(tmp_path, two):
    two.addresses = two.ipv6
    path = write_file(tmp_path, two, second='actors = 1\nnodes = ["replay"]')
    found = []
    for name, process in zip(
        ('big', 'small'), start_both(two, tmp_path, path, '--steps', 400), strict=True
    ):
        code, out, err = finish(process, tmp_path / name)
        assert code == 0, err
        found.append(json.loads(out))
    assert two.left() == {}
    assert found[0]['actor_steps'] == found[1]['actor_steps'] == 400
    assert found[0]['learner_steps'] == updates_for(400)
    assert 'joins big at [fd00:213:7::1]:47100' in read(tmp_path / 'small.err')
    err = read(tmp_path / 'big.err')
    assert 'ip6tables -I INPUT -p tcp -s fd00:213:7::2 --dport 47100:47104 -j ACCEPT' in err


class Sshd:
    """OpenSSH's server on a host, for this user and a key of the test."""

    def __init__(self, hosts, i, folder):
        server = '/usr/sbin/sshd'
        if not (os.path.exists(server) and shutil.which('ssh') and shutil.which('ssh-keygen')):
            pytest.skip('OpenSSH is not installed (Debian: openssh-server)')
        folder.mkdir()
        for name in ('user', 'host'):
            made = ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', str(folder / name)]
            subprocess.run(made, check=True)
        Path('/run/sshd').mkdir(exist_ok=True)
        config = folder / 'config'
        config.write_text(
            f'Port 2222\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nStrictModes no\n'
            'UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n'
            f'SetEnv CULMEN_TEST={hosts.mark} PYTHONPATH={ROOT}\n'
        )
        (folder / 'known').write_text(
            f'[{hosts.addresses[i]}]:2222 {" ".join(read(folder / "host.pub").split()[:2])}\n'
        )
        self.process = hosts.start(i, server, '-D', '-e', '-f', config, output=folder / 'sshd')
        self.options = json.dumps(
            ['-p', '2222', '-i', f'{folder}/user', '-o', f'UserKnownHostsFile={folder}/known',
             '-o', 'IdentitiesOnly=yes']
        )  # fmt: skip
        while b'Server listening' not in (folder / 'sshd.err').read_bytes():
            assert self.process.poll() is None, read(folder / 'sshd.err')
            time.sleep(0.05)


@pytest.mark.deep
def test_one_command_starts_all_over_ssh_and_its_tunnels_carry_the_calls(tmp_path, two):
    sshd = Sshd(two, 1, tmp_path / 'ssh')
    path = write_file(
        tmp_path, two, 'tunnel = "ssh"\n', second=f'actors = 1\nssh_options = {sshd.options}'
    )
    head = tmp_path / 'run'
    process = two.train(
        0, *DQN, '--steps', 700, '--hosts', path, '--workdir', head, output=tmp_path / 'big'
    )
    listening = {}
    while process.poll() is None:
        if (head / 'logs' / 'actor-1.log').exists():
            for i in range(2):
                listening.setdefault(i, set()).update(listeners(two, i))
        time.sleep(0.1)
    code, out, err = finish(process, tmp_path / 'big')
    assert code == 0, err
    result = json.loads(out)
    assert (result['actor_steps'], result['learner_steps']) == (700, updates_for(700))
    sshd.process.terminate()
    sshd.process.wait()
    assert two.left() == {}
    assert 'SSH carries all calls' in err
    assert '--dport 47104 ! -i lo -j DROP' in err
    assert '[small] culmen: host small joins big' in err
    # Nothing but Reverb and SSH can be reached from another host.
    everywhere = {
        i: {port for where, port in found if where != '127.0.0.1'} for i, found in listening.items()
    }
    assert everywhere[0] == {47104}
    assert everywhere[1] == {2222}


def listeners(hosts, i):
    """The (address, port) at which processes of a host listen."""
    said = subprocess.run(
        ['ip', 'netns', 'exec', hosts.names[i], 'cat', '/proc/net/tcp', '/proc/net/tcp6'],
        capture_output=True,
        text=True,
    ).stdout
    found = set()
    for line in said.splitlines():
        _, local, _, state, *_ = line.split()[:4] + ['']
        if state == '0A':
            where, _, port = local.rpartition(':')
            is_loopback = where in ('0100007F', '00000000000000000000000001000000')
            found.add(('127.0.0.1' if is_loopback else where, int(port, 16)))
    return found


@pytest.mark.deep
def test_an_actor_of_another_host_is_started_again_and_a_network_may_be_away_for_a_while(
    tmp_path, two
):
    path = write_file(tmp_path, two, 'silence = 120\n', second='actors = 2')
    arguments = ('--steps', 6_000, '--restarts', 8)
    big, small = start_both(two, tmp_path, path, *arguments)
    log = tmp_path / 'big' / 'run' / 'logs' / 'actor-2.csv'
    while not log.exists() or log.read_text().count('\n') < 20:
        assert big.poll() is None, read(tmp_path / 'big.err')
        time.sleep(0.1)
    killed = next(pid for pid, line in two.left().items() if line.endswith('=actor-1\0'))
    os.kill(killed, signal.SIGKILL)
    restarts = tmp_path / 'big' / 'run' / 'logs' / 'restarts.jsonl'
    while not restarts.exists():
        time.sleep(0.1)
    two.cut(1)
    time.sleep(30)  # longer than connections wait
    two.cut(1, away=False)
    found = {}
    for name, process in (('big', big), ('small', small)):
        code, out, err = finish(process, tmp_path / name)
        assert code == 0, err
        found[name] = json.loads(out)
    assert two.left() == {}
    assert found['big']['actor_steps'] == 6_000
    first, *others = [json.loads(line) for line in restarts.read_text().splitlines()]
    assert (first['node'], first['reason']) == ('actor-1', 'it was ended by SIGKILL')
    assert {each['node'] for each in others} <= {'actor-1', 'actor-2'}
    said = read(tmp_path / 'small' / 'run' / 'logs' / 'actor-1.log')
    assert 'Traceback' not in said
    rows = pd.concat([pd.read_csv(log.parent / f'actor-{i}.csv') for i in range(3)])
    assert set(rows['episode_length']) == {4}


@pytest.mark.deep
def test_after_a_cut_an_actor_of_another_host_is_as_fast_as_before_and_nobody_was_restarted(
    tmp_path, two
):
    path = write_file(tmp_path, two, 'silence = 120\n')
    big, small = start_both(
        two, tmp_path, path, '--environment', 'tests.launchers.ledgers:slow', '--environment.node',
        'actor-1', '--environment.seconds', 0.02, '--steps', 1_000_000, '--restarts', 8,
    )  # fmt: skip
    log = tmp_path / 'big' / 'run' / 'logs' / 'actor-1.csv'

    def rate_after(rows):
        """The median of its steps a second in 20 episodes, after so many of them."""
        while True:
            assert big.poll() is None, read(tmp_path / 'big.err')
            time.sleep(0.1)
            if log.exists() and read(log).count('\n') > rows + 21:
                return pd.read_csv(log)['steps_per_second'][-21:-1].median()

    before = rate_after(40)
    two.cut(1)
    time.sleep(30)
    two.cut(1, away=False)
    while rate_after(read(log).count('\n')) < 0.9 * before:
        pass
    small.send_signal(signal.SIGTERM)
    for name, process in (('big', big), ('small', small)):
        code, _, err = finish(process, tmp_path / name)
        assert code == 143, err
    assert two.left() == {}
    assert not (tmp_path / 'big' / 'run' / 'logs' / 'restarts.jsonl').exists()
