"""The package itself: what importing it loads, what it shows, what it ships, what it needs."""

import configparser
import importlib
import importlib.metadata
import importlib.util
import os
import pathlib
import pkgutil
import re
import shutil
import subprocess
import sys
import types
import zipfile

import pytest

import culmen

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = sorted((ROOT / 'culmen').rglob('*.py'))

# Loaded on use, never by `import culmen`.
HEAVY = [
    'ale_py',
    'brax',
    'bsuite',
    'cv2',
    'distrax',
    'dm_control',
    'envpool',
    'evosax',
    'gym_super_mario_bros',
    'gymnasium',
    'gymnasium_robotics',
    'gymnax',
    'imageio',
    'jumanji',
    'launchpad',
    'matplotlib',
    'mctx',
    'minatar',
    'minigrid',
    'mlflow',
    'mujoco',
    'navix',
    'optuna',
    'pandas',
    'pettingzoo',
    'pgx',
    'pygame',
    'pyspiel',
    'ray',
    'reverb',
    'tensorboardX',
    'tensorflow',
    'tensorflow_probability',
    'tinygp',
    'wandb',
    'xminigrid',
]

# The modules of every optional dependency, by the extra it comes with.
OPTIONAL = {
    'base': [
        'cloudpickle',
        'click',
        'matplotlib.pyplot',
        'packaging.requirements',
        'pandas',
        'rich.progress',
    ],
    'launchpad': ['launchpad', 'reverb', 'tensorflow', 'tensorboard', 'pkg_resources'],
    'ray': ['ray'],
    'gymnasium': ['gymnasium', 'gymnasium.wrappers', 'pygame', 'Box2D', 'ale_py', 'cv2'],
    'environments': [
        'bsuite',
        'bsuite.sweep',
        'minatar',
        'envpool',
        'imageio.v3',
        'imageio_ffmpeg',
    ],
    'dm_control': ['dm_control.suite', 'mujoco'],
    'consoles': ['gym_super_mario_bros', 'nes_py'],
    'players': ['pettingzoo', 'pyspiel', 'pgx', 'rlcard'],
    'jax environments': ['gymnax', 'brax.envs', 'jumanji', 'navix', 'xminigrid'],
    'grids': ['minigrid', 'minigrid.wrappers'],
    'robotics': ['gymnasium_robotics'],
    'logging': ['tensorboardX', 'crc32c', 'wandb', 'mlflow'],
    'compare': ['rliable.library', 'rliable.metrics'],
    'tuning': ['optuna', 'sqlalchemy'],
    'search, models, populations': ['mctx', 'tinygp', 'evosax'],
    'dev': [
        'hypothesis',
        'importlinter.cli',
        'mypy',
        'nbclient',
        'nbconvert',
        'ipykernel',
        'build',
    ],
}

# An agent is made of these alone (which parts of the components, the import contracts say).
AGENT_IMPORTS = {'culmen', 'haiku', 'jax', 'optax', *sys.stdlib_module_names}


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs code in a fresh interpreter, from the root of the checkout."""
    return subprocess.run(
        [sys.executable, '-c', code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def modules() -> list[str]:
    """The name of every module of the package that can be imported here."""
    names = [module.name for module in pkgutil.walk_packages(culmen.__path__, 'culmen.')]
    return ['culmen', *(name for name in names if not name.endswith('__main__'))]


def import_module(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if name.split('.')[-1] in ('launchpad', 'reverb'):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize(
    'code',
    [
        'import culmen',
        'import culmen.core, culmen.agents.dqn, culmen.environment_loops, culmen.launchers.local',
        'import culmen; [getattr(culmen, name) for name in culmen.__all__]',
        'import culmen; culmen.launchers.launchpad.make_program',
    ],
)
def test_import_loads_nothing_heavy(code):
    """Neither the package nor any part of the path of one process."""
    run = run_python(f'{code}\nimport sys; print("\\n".join(sys.modules))')
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert 'culmen' in loaded
    assert loaded.isdisjoint(HEAVY), loaded.intersection(HEAVY)


def test_the_list_of_heavy_modules_names_real_ones():
    """A module that is misspelt above would never be found loaded."""
    installed = [name for name in HEAVY if importlib.util.find_spec(name.split('.')[0])]
    run = run_python(
        'import importlib, sys\n'
        'for name in sys.argv[1:]: importlib.import_module(name); assert name in sys.modules',
        *(name for name in installed if name in ('pandas', 'matplotlib', 'bsuite', 'gymnasium')),
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize('name', modules())
def test_public_names_are_those_of_all(name):
    module = import_module(name)
    defined = {
        key
        for key, value in vars(module).items()
        if not key.startswith('_') and getattr(value, '__module__', None) == name
    }
    if hasattr(module, '__all__'):
        assert len(set(module.__all__)) == len(module.__all__)
        missing = [key for key in module.__all__ if not hasattr(module, key)]
        assert not missing, f'{name}.__all__ names what is not there: {missing}'
        unlisted = sorted(defined - set(module.__all__))
        assert not unlisted, f'public in {name} but not in its __all__: {unlisted}'


def test_every_name_of_the_public_face_resolves():
    for name in culmen.__all__:
        assert getattr(culmen, name) is not None
    assert set(culmen.__all__) <= set(dir(culmen))
    with pytest.raises(AttributeError, match='no_such_name'):
        culmen.no_such_name  # noqa: B018


def test_every_folder_is_a_package():
    """import-linter, setuptools and mypy pass over a folder of modules that has no __init__.py."""
    folders = {path.parent for path in SOURCES}
    assert not [str(folder) for folder in folders if not (folder / '__init__.py').exists()]


def test_the_package_holds_its_five_folders_alone():
    found = {path.name for path in (ROOT / 'culmen').iterdir()} - {'__pycache__'}
    folders = {'agents', 'components', 'core', 'environment_loops', 'launchers'}
    assert found == {*folders, '__init__.py', '__main__.py', 'py.typed'}


def test_the_installed_version_is_this_one():
    assert re.fullmatch(r'\d+\.\d+\.\d+(\.dev\d+|rc\d+)?', culmen.__version__)
    try:
        installed = importlib.metadata.version('culmen')
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('culmen runs from its checkout and is not installed')
    assert installed == culmen.__version__


@pytest.mark.slow
def test_a_wheel_ships_the_types_and_the_licence(tmp_path):
    """Built with what is installed, from a copy: a build leaves folders in the tree."""
    pytest.importorskip('build')
    setuptools = pytest.importorskip('setuptools')
    if int(setuptools.__version__.split('.')[0]) < 61:
        pytest.skip('setuptools is older than the build system asks for')
    tree = tmp_path / 'tree'
    shutil.copytree(ROOT / 'culmen', tree / 'culmen', ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, tree)
    command = [
        sys.executable,
        '-m',
        'build',
        '--wheel',
        '--no-isolation',
        '--outdir',
        tmp_path,
        tree,
    ]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob('*.whl')
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith(f'culmen-{culmen.__version__}-')
    assert 'culmen/py.typed' in names
    assert any(name.endswith('LICENSE') for name in names)
    metadata = next(name for name in names if name.endswith('.dist-info/METADATA'))
    assert f'\nVersion: {culmen.__version__}\n' in zipfile.ZipFile(wheel).read(metadata).decode()
    shipped = {name for name in names if name.endswith('.py')}
    assert shipped == {path.relative_to(ROOT).as_posix() for path in SOURCES}


@pytest.mark.slow
@pytest.mark.parametrize('group', OPTIONAL)
def test_what_is_installed_imports(group):
    """A set of versions may resolve and yet not import. Each group has a process of its own."""
    found = [name for name in OPTIONAL[group] if importlib.util.find_spec(name.split('.')[0])]
    if not found:
        pytest.skip(f'nothing of {group} is installed')
    run = run_python(
        'import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)',
        *found,
        SDL_VIDEODRIVER='dummy',
        SDL_AUDIODRIVER='dummy',
        MUJOCO_GL='disable',
        TF_CPP_MIN_LOG_LEVEL='3',
    )
    assert run.returncode == 0, run.stderr


def test_the_optional_dependencies_are_all_imported_above():
    """A dependency that joins setup.cfg joins the list: modules by distribution, or a reason."""
    without_a_module = {
        'jax', 'jaxlib', 'dm-haiku', 'optax', 'dm-env', 'dm-tree', 'numpy', 'tomli',  # Culmen imports them.
        'pytest', 'pytest-timeout', 'pytest-xdist', 'psutil', 'ruff', 'ipython',  # The tests run on them.
        'tyro',  # Another package asks for it, and may not have the newest.
    }  # fmt: skip
    modules_of = {
        'ale-py': 'ale_py',
        'box2d': 'Box2D',
        'dm-control': 'dm_control',
        'dm-launchpad-nightly': 'launchpad',
        'dm-reverb': 'reverb',
        'gym-super-mario-bros': 'gym_super_mario_bros',
        'gymnasium-robotics': 'gymnasium_robotics',
        'import-linter': 'importlinter',
        'mlflow-skinny': 'mlflow',
        'open-spiel': 'pyspiel',
        'opencv-python-headless': 'cv2',
        'pygame-ce': 'pygame',
        'setuptools': 'pkg_resources',
        'tensorflow-cpu': 'tensorflow',
    }
    imported = {name.split('.')[0] for names in OPTIONAL.values() for name in names}
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    texts = [config['options']['install_requires'], *config['options.extras_require'].values()]
    for line in '\n'.join(texts).splitlines():
        if not line.strip():
            continue
        name = re.match(r'[A-Za-z0-9-]+', line.strip())[0]
        assert name in without_a_module or modules_of.get(name, name) in imported, name


@pytest.mark.parametrize('name', [name for name in modules() if '.agents' in name])
def test_agents_are_made_of_jax_haiku_and_optax_alone(name):
    """Of what a module has, modules and what was defined elsewhere. `lint-imports` has the rest."""
    for key, value in vars(import_module(name)).items():
        if not key.startswith('__'):
            home = value.__name__ if isinstance(value, types.ModuleType) else type(value).__module__
            home = getattr(value, '__module__', None) or home
            assert home.partition('.')[0] in AGENT_IMPORTS, key


HIDE = """
import sys

class Hide:
    hidden = ('launchpad', 'reverb', 'tensorflow', 'tensorflow_probability')

    def find_spec(self, name, path=None, target=None):
        if name.startswith(tuple(f'{module}.' for module in self.hidden)) or name in self.hidden:
            raise ModuleNotFoundError(f'No module named {name!r} (hidden by a test)', name=name)

sys.meta_path.insert(0, Hide())
"""


def run_hidden(*arguments):
    """Runs pytest with Reverb, Launchpad and TensorFlow out of sight."""
    main = f'{HIDE}\nimport pytest\nsys.exit(pytest.main(sys.argv[1:]))'
    options = ['-q', '-n', '0', '-p', 'no:cacheprovider', *arguments]
    # Where JAX keeps compiled programs in files it asks after TensorFlow.
    return run_python(main, *options, JAX_ENABLE_COMPILATION_CACHE='false')


@pytest.mark.deep
@pytest.mark.slow
def test_every_test_is_found_without_launchpad():
    found = run_hidden('--collect-only', 'tests')
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]


@pytest.mark.deep
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_suite_needs_no_launchpad():
    """The whole way of one process: loops, tables, learner, launchers, checkpoints."""
    run = run_hidden(
        '-m',
        'not slow and not learning and not launchpad',
        *(f'tests/{part}' for part in ('environment_loops', 'launchers', 'integration')),
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert re.search(r'\d+ passed', run.stdout)


def test_what_is_hidden_is_missing():
    """The test above hides what it says, submodules too."""
    for name in ('reverb', 'launchpad.nodes', 'tensorflow'):
        run = run_python(f'{HIDE}\nimport {name}')
        assert run.returncode == 1
        assert 'hidden by a test' in run.stderr
