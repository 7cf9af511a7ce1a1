"What the test files share: the checkout, the tools beside this Python, a copy of the tree, a small disk."
import importlib.util, os, re, shutil, subprocess, sys
from contextlib import contextmanager
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
# any owner will do: containers often mount a checkout that belongs to somebody else
GIT = ['git', '-c', 'safe.directory=*', '-c', 'user.name=test', '-c', 'user.email=test@localhost',
       '-c', 'commit.gpgsign=false']


def run(*args, cwd=ROOT, check=True, timeout=600, **env):
    "Run a command and return what it printed and its exit status."
    env = {k: str(v) for k, v in {**os.environ, **env}.items() if v is not None}
    args = [str(a) for a in args]
    done = subprocess.run(args, cwd=cwd, env=env, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
    if check: assert done.returncode == 0, f"{args} ended with {done.returncode}:\n{done.stdout}"
    return done


def git(*args, cwd=ROOT): return run(*GIT, *args, cwd=cwd).stdout


def notebooks(pattern='*.ipynb'):
    "The notebooks of the project; those whose names begin with `_` are scratch."
    return sorted(p for p in (ROOT/'nbs').rglob(pattern) if not re.search(r'/[_.]', p.relative_to(ROOT).as_posix()))


@pytest.fixture(scope='session')
def clone(tmp_path_factory):
    "The working tree as a clean git clone would have it, made once: what git does not ignore, committed."
    if not shutil.which('git') or not (ROOT/'.git').exists(): pytest.skip("this is no git checkout")
    copy = tmp_path_factory.mktemp('clone')/'checkout'
    for name in git('ls-files', '-coz', '--exclude-standard').split('\0'):
        if name and (ROOT/name).is_file():
            (copy/name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT/name, copy/name)
    git('init', '-q', cwd=copy)
    git('add', '-A', cwd=copy)
    git('commit', '-qm', 'the working tree', cwd=copy)
    return copy, git('rev-parse', 'HEAD', cwd=copy).strip()


@pytest.fixture
def copy_of_tree(clone):
    "That clone, as it was made; a test may do with it what it likes."
    copy, commit = clone
    git('reset', '-q', '--hard', commit, cwd=copy)
    git('clean', '-qfdx', cwd=copy)
    return copy


@contextmanager
def small_disk(path, size):
    "A real disk of that size at `path`, where the machine lets us make one."
    path.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'none', path], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try: yield path
    finally: subprocess.run(['umount', path], check=True)


def script(name):
    "A file of scripts/ as a module."
    spec = importlib.util.spec_from_file_location(name, ROOT/'scripts'/f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
