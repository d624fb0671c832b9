"""Checks the manifests of examples/hosts against the schemas of Kubernetes, without a cluster.

    pip install kubernetes-validate
    python benchmarks/manifests.py

Every object is checked strictly (a field that the schema does not know is an error), and the file of hosts in
it is read as a run would read it. Needs no network: the package brings the schemas.
"""

import sys
from pathlib import Path

import yaml

from culmen.launchers.programs.hosts.file import parse_hosts

MANIFEST = Path(__file__).resolve().parents[1] / 'examples' / 'hosts' / 'kubernetes.yaml'


def main() -> None:
    """Checks all of it, and ends with an error at the first that does not hold."""
    try:
        import kubernetes_validate
    except ImportError:
        sys.exit('kubernetes-validate is needed: pip install kubernetes-validate')
    version = kubernetes_validate.latest_version()
    objects = list(yaml.safe_load_all(MANIFEST.read_text()))
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)
        print(f'{each["kind"]} {each["metadata"]["name"]} holds against Kubernetes {version}.')
    (text,) = (each['data']['hosts.toml'] for each in objects if each['kind'] == 'ConfigMap')
    (job,) = (each for each in objects if each['kind'] == 'Job')
    hosts = parse_hosts(text, 'hosts.toml')
    pods = [str(i) for i in range(job['spec']['completions'])]
    if hosts.names != pods:
        sys.exit(f'the job has pods {pods}, and the file has hosts {hosts.names}.')
    print(f'hosts.toml names the pods of the job: {", ".join(hosts.names)}.')


if __name__ == '__main__':
    main()
