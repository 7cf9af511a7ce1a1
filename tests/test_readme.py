"What the README says a user can type works, and its links lead somewhere."
import re, shlex
import nbformat, pytest
from conftest import ROOT, notebooks
from PIL import Image
from seem_nbdev import cli

README = (ROOT/'README.md').read_text()
COMMANDS = [c for c in re.findall(r'`(seem [^`]+)`', README) if ' ' in c.strip()]


def test_it_is_short(): assert len(README.splitlines()) < 200


def test_the_snippet_runs_as_it_stands(tmp_path, monkeypatch):
    code, = re.findall(r'(?s)```python\n(.*?)```', README)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    picture, = tmp_path.iterdir()
    assert picture.name == 'restored.png' and Image.open(picture).size[0] > 400


@pytest.mark.parametrize('line', COMMANDS)
def test_every_command_is_understood(line):
    argv = shlex.split(line)[1:]
    name = cli.command_of(argv)
    assert name
    if len(argv) == name.count(' ') + 1: return # named, not typed
    function, bound, rest = cli.make_app(name).parse_args(argv, exit_on_error=False, print_error=False)
    assert callable(function)


def test_commands_are_found(): assert {cli.command_of(c.split()[1:]) for c in COMMANDS} == {*cli.COMMANDS}


def test_evaluation_names_the_control():
    "SEEM against its backbone alone would show the gain of more training."
    for line in COMMANDS:
        if line.startswith('seem evaluate') and '_seem' in line: assert '_control' in line


def links(text): return re.findall(r'\]\((?!https?:|#)([^)#\s]+)', text)


@pytest.mark.parametrize('path', [ROOT/'README.md', ROOT/'CONTRIBUTING.md', ROOT/'CHANGELOG.md', ROOT/'assets/weights/demo/README.md'],
                         ids=lambda p: p.parent.name + '/' + p.name)
def test_links(path): assert [o for o in links(path.read_text()) if not (path.parent/o).exists()] == []


@pytest.mark.parametrize('path', notebooks(), ids=lambda p: f'{p.parent.name}/{p.stem}')
def test_links_of_notebooks(path):
    text = '\n'.join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == 'markdown')
    assert [o for o in links(text) if not (path.parent/o).exists()] == []
