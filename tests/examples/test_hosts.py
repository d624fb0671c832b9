"""The recipes for several machines: what they run, and that the files of hosts in them are ones."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from culmen.launchers.programs.hosts.file import parse_hosts
from culmen.launchers.programs.hosts.file import read_hosts
from culmen.launchers.programs.hosts.key import read_key

FOLDER = Path(__file__).parents[2] / 'examples' / 'hosts'


def test_the_file_of_the_page_is_one():
    hosts = read_hosts(FOLDER / 'hosts.toml')
    assert (hosts.head.name, hosts.num_actors) == ('big', 8)


@pytest.fixture
def slurm(tmp_path):
    """Runs slurm.sh beside commands that only look like those of SLURM."""
    commands = tmp_path / 'bin'
    commands.mkdir()

    def command(name, text):
        (commands / name).write_text(f'#!/bin/bash\n{text}\n')
        (commands / name).chmod(0o755)

    command(
        'scontrol',
        f'echo "$@" >>{tmp_path}/scontrol\nif [ "$1" = show ]; then echo node-1; echo node-2.lan; fi',
    )
    # One command on each node, as srun makes them; here one after another.
    command(
        'srun',
        'shift\ncode=0\nfor node in node-1 node-2.lan; do SLURMD_NODENAME=$node "$@"; code=$?; done\n'
        'exit $code',
    )

    def run(code):
        command('culmen', f'echo "$@" >>{tmp_path}/culmen\nexit {code}')
        environment = {
            'PATH': f'{commands}:{os.environ["PATH"]}', 'SLURM_JOB_ID': '7', 'ACTORS': '3',
            'SLURM_JOB_NODELIST': 'node-1,node-2.lan', 'CULMEN_RUNS': str(tmp_path / 'runs'),
        }  # fmt: skip
        script = [str(FOLDER / 'slurm.sh'), 'dqn', '--steps', '5']
        return subprocess.run(script, env=environment, capture_output=True, text=True)

    return run


def test_slurms_script_starts_a_host_on_each_node(slurm, tmp_path):
    done = slurm(0)
    assert (done.returncode, done.stderr) == (0, '')
    folder = tmp_path / 'runs' / 'slurm-7'
    hosts = read_hosts(folder / 'hosts.toml')
    assert (hosts.names, hosts.head.name) == (['node-1', 'node-2.lan'], 'node-1')
    assert [host.actors for host in hosts.hosts] == [0, 3]
    key = read_key(hosts.key).value
    assert stat.S_IMODE((folder / 'key').stat().st_mode) == 0o600
    first, second = (tmp_path / 'culmen').read_text().splitlines()
    assert first == (
        f'train dqn --steps 5 --launcher hosts --hosts {folder}/hosts.toml --trusted-network '
        f'--workdir {folder}/run --host node-1'
    )
    assert second == first.replace('--host node-1', '--host node-2.lan')
    assert 'requeue' not in (tmp_path / 'scontrol').read_text()
    # A run that SIGTERM has ended goes on in the next allocation, with the same key.
    assert slurm(143).returncode == 143
    assert (tmp_path / 'scontrol').read_text().splitlines()[-1] == 'requeue 7'
    assert read_key(hosts.key).value == key
    assert slurm(1).returncode == 1
    assert (tmp_path / 'scontrol').read_text().count('requeue') == 1


def test_kubernetes_pods_are_the_hosts_of_its_file():
    yaml = pytest.importorskip('yaml')
    objects = list(yaml.safe_load_all((FOLDER / 'kubernetes.yaml').read_text()))
    by_kind = {each['kind']: each for each in objects}
    hosts = parse_hosts(by_kind['ConfigMap']['data']['hosts.toml'], 'hosts.toml')
    job, service = by_kind['Job']['spec'], by_kind['Service']
    assert hosts.names == [str(i) for i in range(job['completions'])]
    pod = job['template']['spec']
    assert pod['subdomain'] == service['metadata']['name']
    name = by_kind['Job']['metadata']['name']
    assert [host.address for host in hosts.hosts] == [
        f'{name}-{host.name}.{pod["subdomain"]}' for host in hosts.hosts
    ]
    (rule,) = by_kind['NetworkPolicy']['spec']['ingress']
    (ports,) = rule['ports']
    assert list(range(ports['port'], ports['endPort'] + 1)) == [
        port for _, port in hosts.addresses(hosts.head).values()
    ]
    assert pod['volumes'][1]['secret']['defaultMode'] == 0o400
    mounts = {each['name']: each['mountPath'] for each in pod['containers'][0]['volumeMounts']}
    assert hosts.key.startswith(mounts['key'])
