"What must hold for notebooks: format, size, order; modules and README are what they export."
import ast, re, sys
import nbformat, pytest
from conftest import BIN, ROOT, git, notebooks, run

every = pytest.mark.parametrize('path', notebooks(), ids=lambda p: p.stem)
library = pytest.mark.parametrize('path', notebooks('[0-9][0-9]_*.ipynb'), ids=lambda p: f'{p.parent.name}/{p.stem}')
reproduce = pytest.mark.parametrize('path', notebooks('reproduce_*.ipynb'), ids=lambda p: p.stem)


NO_NOTEBOOK_YET = {'evaluation.__init__', 'tables.__init__'}


def read(path): return nbformat.read(path, as_version=nbformat.NO_CONVERT)
def code(nb): return [c for c in nb.cells if c.cell_type == 'code']
def export_cells(nb): return [c.source for c in code(nb) if re.match(r'#\|\s*exports?\b', c.source)]
def markdown(nb): return '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown')
def headings(nb): return re.findall(r'(?m)^#+ .*', markdown(nb))
def parts(source, *kinds): return [o for o in ast.walk(ast.parse(source)) if isinstance(o, kinds)]


def texts(nb):
    "Everything in a notebook that a reader reads: sources and the text of outputs."
    for c in nb.cells:
        yield c.source
        for o in c.get('outputs', []):
            if 'text' in o: yield o.text
            yield from (v for k, v in o.get('data', {}).items() if k.startswith('text/'))


# Every notebook

@every
def test_format(path):
    nb = read(path)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    ids = [c.id for c in nb.cells]
    assert len(set(ids)) == len(ids)
    kernel = nb.metadata.kernelspec
    assert (kernel.name, kernel.get('language')) == ('python3', 'python'), "papermill needs both"


@every
def test_size(path): assert path.stat().st_size <= 300_000


@every
def test_line_length(path):
    found = [o for c in code(read(path)) for o in c.source.splitlines() if len(o) > 100]
    assert found == []


@every
def test_no_machine_paths(path):
    machine = r'(?<![\w.])/(?:root|home|work|Users|tmp)/\S*'
    assert [m for t in texts(read(path)) for m in re.findall(machine, t)] == []


@every
def test_no_errors_kept(path):
    assert [o.ename for c in code(read(path)) for o in c.outputs if o.output_type == 'error'] == []


# Library notebooks

@library
def test_title(path):
    nb = read(path)
    assert re.match(r'# \S.*\n\s*\n?> \S', nb.cells[0].source), "expected `# title`, `> one line`"
    names = re.findall(r'(?m)^#\|\s*default_exp\s+([\w.]+)', '\n'.join(c.source for c in code(nb)))
    chapter, leaf = path.parent.name[2:], path.stem[3:]
    package = '' if chapter == 'use' else f'{chapter}.'
    assert names in ([f'{package}{leaf}'], [f'{package}__init__'])


def test_every_package_has_one_notebook():
    "What `import seem_nbdev.models` gives is exported, too."
    exported = [n for p in notebooks('[0-9][0-9]_*.ipynb') for n in re.findall(r'#\|\s*default_exp\s+([\w.]+)', p.read_text())]
    assert len(exported) == len(set(exported))
    packages = {'.'.join(p.relative_to(ROOT/'seem_nbdev').with_suffix('').parts) for p in (ROOT/'seem_nbdev').rglob('__init__.py')}
    assert packages - set(exported) - NO_NOTEBOOK_YET == set()


@library
def test_imports_come_first_and_alone(path):
    first, *rest = [ast.parse(s).body for s in export_cells(read(path))]
    assert all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in first)
    assert not any(isinstance(o, (ast.Import, ast.ImportFrom)) for body in rest for o in body)


@library
def test_last_heading(path):
    assert headings(read(path))[-1] == '## Limits and differences from the paper'


@library
def test_outputs_are_kept(path): assert any(c.outputs for c in code(read(path)))


# Reproduce notebooks

@reproduce
def test_parameters(path):
    "One cell of parameters, the profile first; what papermill passes beyond them is refused next."
    cells = code(read(path))
    at, = [i for i, c in enumerate(cells) if 'parameters' in c.metadata.get('tags', [])]
    assert re.match(r'profile = ["\']demo["\']', cells[at].source)
    assert at == 0 and 'check_parameters(In)' in cells[1].source
    assert not any('injected-parameters' in c.metadata.get('tags', []) for c in cells)


@reproduce
def test_reproduce_defines_nothing(path):
    assert [o.name for c in code(read(path)) for o in parts(c.source, ast.FunctionDef, ast.ClassDef)] == []


@reproduce
def test_reproduce_prints_root(path): assert re.search(r'root\(\)|experiment\(', code(read(path))[1].source)


@reproduce
def test_no_outputs(path): assert not any(c.outputs for c in code(read(path)))


# The working tree, in a copy of it

def test_export_leaves_no_difference(copy_of_tree):
    "No module is missing, stale or edited by hand, and the build requirements survive."
    run('rm', '-rf', 'seem_nbdev', cwd=copy_of_tree)
    run(BIN/'nbdev_export', cwd=copy_of_tree, IN_TEST=None)
    assert git('status', '--porcelain', cwd=copy_of_tree) + git('diff', cwd=copy_of_tree) == ''


def test_a_difference_is_seen(copy_of_tree):
    (copy_of_tree/'seem_nbdev'/'stale.py').write_text('x = 1\n')
    with (copy_of_tree/'seem_nbdev'/'core.py').open('a') as f: f.write('x = 1\n')
    git('add', '-A', cwd=copy_of_tree)
    git('commit', '-qm', 'edited by hand', cwd=copy_of_tree)
    run('rm', '-rf', 'seem_nbdev', cwd=copy_of_tree)
    run(BIN/'nbdev_export', cwd=copy_of_tree, IN_TEST=None)
    changed = git('status', '--porcelain', cwd=copy_of_tree)
    assert ' D seem_nbdev/stale.py' in changed and ' M seem_nbdev/core.py' in changed


def test_notebooks_are_clean(copy_of_tree):
    run(BIN/'nbdev_clean', cwd=copy_of_tree)
    assert git('status', '--porcelain', cwd=copy_of_tree) == ''


def test_cleaning_keeps_the_parameters_tag(copy_of_tree):
    kernel = dict(name='python3', language='python', display_name='python3')
    nb = nbformat.v4.new_notebook(metadata=dict(kernelspec=kernel))
    metadata = dict(tags=['parameters'], scrolled=True)
    nb.cells = [nbformat.v4.new_code_cell('profile = "demo"', metadata=metadata)]
    path = copy_of_tree/'nbs'/'reproduce_nothing.ipynb'
    nbformat.write(nb, path)
    run(BIN/'nbdev_clean', cwd=copy_of_tree)
    assert dict(read(path).cells[0].metadata) == dict(tags=['parameters'])


def test_readme_is_the_index(copy_of_tree):
    if not (copy_of_tree/'nbs'/'index.ipynb').exists(): pytest.skip("not written yet")
    run('make', '-B', 'README.md', f'VENV={sys.prefix}', cwd=copy_of_tree)
    assert git('diff', cwd=copy_of_tree) == ''
