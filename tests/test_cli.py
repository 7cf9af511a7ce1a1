"The command: what it says of itself, what it makes of errors, and that it loads nothing to say so."
import errno, sys, types
import pytest
from conftest import run
from seem_nbdev import cli, data, masks
from seem_nbdev.core import SeemError

each_command = pytest.mark.parametrize('name', cli.COMMANDS)


def command(monkeypatch, function):
    "`seem try`: a command that does what `function` does."
    module = types.ModuleType('try_module')
    module.try_it = function
    monkeypatch.setitem(sys.modules, 'try_module', module)
    monkeypatch.setitem(cli.COMMANDS, 'try', 'try_module:try_it')
    monkeypatch.setattr(cli, 'described', lambda target: (function.__doc__ or '', {}))


@each_command
def test_help(name):
    status, out, err = cli.run(f'{name} --help')
    assert (status, err) == (0, '') and out.startswith(f'Usage: seem {name}')
    assert not any(len(line) > 80 for line in out.splitlines())


@each_command
def test_every_parameter_has_a_comment(name):
    _, parameters = cli.described(cli.COMMANDS[name])
    assert [k for k, p in parameters.items() if not p.comment] == []


def test_help_names_what_there_is():
    text = cli.run('masks --help')[1]
    assert [k for k in masks.PRIORS if f'{k}' not in text] == []
    for name in ('data check', 'data prepare'):
        text = cli.run(f'{name} --help')[1]
        assert [k for k in data.DATASETS if ' ' not in k and k != 'embedded' and k not in text] == []


@pytest.mark.parametrize('error,status,said', [
    (SeemError('found 1, expected 2'), 1, 'seem: found 1, expected 2\n'),
    (OSError(errno.ENOSPC, 'No space left on device', 'x/y'), 1, 'seem: x/y: No space left on device; what is already stored stays valid\n'),
    (KeyboardInterrupt(), 130, 'seem: stopped; the same command goes on from here\n')])
def test_errors_are_one_line(monkeypatch, error, status, said):
    def fail(): raise error
    command(monkeypatch, fail)
    assert cli.run('try') == (status, '', said)


def test_a_fault_of_ours_is_a_traceback(monkeypatch):
    def fail(): return 1/0
    command(monkeypatch, fail)
    with pytest.raises(ZeroDivisionError): cli.run('try')


@pytest.mark.parametrize('result,status', [(None, 0), (0, 0), (1, 1), (130, 130)])
def test_exit_status(monkeypatch, result, status):
    command(monkeypatch, lambda: result)
    assert cli.run('try') == (status, '', '')


@pytest.mark.parametrize('line,near', [('mask a b', 'masks'), ('evaluat', 'evaluate'), ('data prepar x y', 'prepare'),
                                       ('fetch --lits', '--list'), ('train --confg x', '--config')])
def test_the_nearest_is_named(line, near):
    status, out, err = cli.run(line)
    assert (status, out, err.count('\n')) == (2, '', 1) and f'Did you mean' in err and near in err
    assert err.startswith('seem: ') and '; see seem ' in err


def test_a_mistyped_option_of_a_prior(tmp_path):
    status, out, err = cli.run(f'masks {tmp_path} {tmp_path}/x.zarr --prior superpixel --num-segment 9')
    assert (status, out, err.count('\n')) == (1, '', 1) and "did you mean '--num-segments'" in err


def test_as_a_module():
    done = run(sys.executable, '-m', 'seem_nbdev.cli', '--version')
    assert done.stdout.startswith('seem_nbdev ')


PRICE = """import sys, time
from seem_nbdev.cli import main
main({})
print('loaded', round(time.process_time(), 2), *({{*sys.modules}} & {{'torch', 'pandas', 'numpy', 'skimage', 'accelerate', 'torchvision'}}))"""


@pytest.mark.parametrize('name', ['', *cli.COMMANDS])
def test_help_is_cheap(name):
    "0.3 and 0.6 s of CPU, and nothing heavy in them; of several tries the best, since others use the machine too."
    best = 9
    for _ in range(4):
        said = run(sys.executable, '-c', PRICE.format([*name.split(), '--help']), OMP_NUM_THREADS=1).stdout
        seconds, *heavy = said.rpartition('loaded')[2].split()
        assert heavy == []
        best = min(best, float(seconds))
        if best < (.6 if name else .3): break
    assert best < (.6 if name else .3)
